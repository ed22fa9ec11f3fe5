"""What the stream decoders share: chunks are fed and streams are ended here, and `_records` takes the records.

Each framing subclasses `StreamDecoder` and knows where records end. No decoder does I/O: chunks in, records out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Raw

from ._errors import RecordError, StreamError, contiguous
from ._records import Records, T

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer, Unpack

    from ._iterate import Options

    D = TypeVar("D", bound="StreamDecoder[Any]")

# Up to this size, copying an incomplete record for each chunk costs less than growing it in place.
_SHORT = 4096


class StreamDecoder(Records[T]):
    """The part of a stream decoder that does not depend on the framing."""

    @property
    def buffered(self) -> int:
        """The number of bytes received but not yet decoded."""
        return len(self._buffer) - self._pos

    def feed(self, data: Buffer) -> list[T]:
        """Take the next chunk, of any size, and return the records that it completed.

        Raises:
            RecordError: a record is bad, and there is no `on_error`. The good records before it are in its `records`.
                The chunk is consumed; the next call, with ``b""`` if need be, continues after the bad record.
            StreamError: the stream itself reports a failure. `records` and the next call are as above.
            TypeError: `data` is not a buffer.
            ValueError: `data` is closed or released.
            BufferError: `data` is not C-contiguous.
        """
        if type(data) is not bytes:
            data = contiguous(data)  # records can be views of it, so it must not change
        if not self._buffer:
            self._buffer = data
        elif data:
            if self._pos:  # after an error
                self._trim()
            # A buffer shorter than the chunk is copied, a longer one grows in place.
            size = len(self._buffer)
            kind = bytearray if size > _SHORT and size > len(data) else bytes
            if type(self._buffer) is not kind:
                self._buffer = kind(self._buffer)
            self._buffer += data
        try:
            while (not (self._optional or self._skipped) or self._is_at_record()) and self._step():
                pass
        except RecordError as error:
            error.records = self._take_records()
            raise
        if pos := self._pos:  # as in _trim: the call would cost 5 % of a chunk of one record
            self._offset += pos
            self._buffer = self._buffer[pos:]
            self._pos = 0
        self._searched = len(self._buffer)
        return self._take_records()

    def finish(self) -> list[T]:
        """End the stream, return its last records, and get ready for a new stream.

        Raises:
            StreamError: the stream is broken, for example cut short. Its `records` are the last good ones.
            RecordError: the stream is whole, but bad records had not been reported yet. This is the first of them;
                its `records` are the last good ones.
        """
        ended = False
        while not ended:
            try:
                while (not (self._optional or self._skipped) or self._is_at_record()) and self._step():
                    pass
                ended = True
                self._end()
            except RecordError as error:
                if self._error is None or isinstance(error, StreamError) > isinstance(self._error, StreamError):
                    self._error = error
        first, records = self._error, self._records
        self._reset()
        if first is None:
            return records
        first.records = records
        try:
            raise first
        finally:
            del first

    def _take_records(self) -> list[T]:
        """Return the records that no call has returned yet."""
        records, self._records = self._records, []
        return records

    def _trim(self) -> None:
        """Drop the decoded bytes from the buffer."""
        pos = self._pos
        self._offset += pos
        self._pos = self._searched = 0
        if isinstance(self._buffer, bytearray) and len(self._buffer) > pos + _SHORT:
            del self._buffer[:pos]  # without a copy
        else:
            self._buffer = self._buffer[pos:]

    def _end(self) -> None:
        """Handle an incomplete last record, then a missing end."""
        if self._skipped is not None:
            self._index, offset, _, data = self._skipped
            self._report("incomplete", offset - self._offset, "stream ended inside a record that is too long", data)
        if self.buffered:
            self._take(len(self._buffer), len(self._buffer), cut=True)
        if reason := self._cut or self._missing:
            self._index += 1
            self._report("incomplete", self._pos, reason, b"")


def cut_off(decoder: StreamDecoder[Any], reason: str) -> None:
    """Note that the stream will end incomplete, for a `reason` that the decoder cannot know."""
    decoder._cut = reason  # pyright: ignore[reportPrivateUsage]


def converting(decoder: type[D], convert: Callable[[bytes], Any], **options: Unpack[Options]) -> D:
    """Return a stream decoder whose records are what `convert` returns for each message.

    If `convert` raises `DecodeError` or `EncodeError`, the record is a bad one.
    """
    result = decoder(Raw, **options)
    result._decode = convert  # pyright: ignore[reportPrivateUsage]
    return result
