"""What lines, frames and events share: the chunks that came, the record that is not whole yet, errors, iteration.

A framing is a subclass of `StreamDecoder` that knows where records end. It does no I/O: chunks in, records out.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Generic, overload

import msgspec
from msgspec import DecodeError

from . import _sources
from ._errors import RecordError, decode_error
from ._record import ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from typing_extensions import Buffer, TypeVar

    T = TypeVar("T", default=ChatCompletionResponse)
else:
    from typing import TypeVar  # whose default the type checkers alone need

    T = TypeVar("T")

R = TypeVar("R")

# A whole answer with a long tool result is below 1 MiB. Sixteen of that is no record of ours any more, and
# still little enough that a thousand connections in the middle of one fit a gateway.
MAX_RECORD_BYTES = 16 * 1024 * 1024

# How much of a chunk that is out of the ordinary is decoded in one go.
BATCH_BYTES = 16 * 1024

_DATA_BYTES = 1024
_BOM = b"\xef\xbb\xbf"
_BOM_START = (b"", _BOM[:1])

# Up to here it costs less to copy an unfinished record than to make it grow.
SHORT_TAIL = 4096


class StreamDecoder(Generic[T]):
    """The part of a stream decoder that does not know how records are framed.

    `_tail` is the unfinished record. `_data[_pos:]` is what is left of the chunk at work, in front of it the record
    that it completes, and `_chunks` wait behind.

    The framings put a short way in front of `feed` for ordinary chunks, which end some good records and hold
    little else. It gives the same records, or changes nothing and leaves the chunk to the long way here.
    `_ordinary` is set where it may be tried: nothing waits, nothing is skipped, the start is over.
    """

    _unit: ClassVar[str]
    _format: Any

    @overload
    def __init__(
        self,
        *,
        max_record_bytes: int | None = ...,
        on_error: Callable[[RecordError], object] | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        type: type[T],
        *,
        max_record_bytes: int | None = ...,
        on_error: Callable[[RecordError], object] | None = ...,
    ) -> None: ...
    def __init__(
        self,
        type: Any = ChatCompletionResponse,
        *,
        max_record_bytes: int | None = MAX_RECORD_BYTES,
        on_error: Callable[[RecordError], object] | None = None,
    ) -> None:
        if max_record_bytes is not None and max_record_bytes < 1:
            message = f"max_record_bytes is {max_record_bytes}, and must be 1 or more, or None for no limit"
            raise ValueError(message)
        self._limit = sys.maxsize if max_record_bytes is None else max_record_bytes
        self._on_error = on_error
        self._decoder = self._format.Decoder(type)
        # bytes() returns exact bytes as they are, without a copy.
        self._decode: Callable[[Buffer], Any] = bytes if type is bytes else self._decoder.decode
        self._reset()

    def _reset(self) -> None:
        self._chunks: deque[bytes | None] = deque()
        self._data = b""
        self._pos = 0
        self._tail: bytes | bytearray = b""
        self._offset = 0
        self._index = 0
        self._records: list[T] = []
        self._ordinary = True

    @property
    def buffered(self) -> int:
        """How many bytes are held: of an unfinished record, and of what is behind a bad one and not drained."""
        waiting = sum(len(chunk) for chunk in self._chunks if chunk)
        return len(self._tail) + len(self._data) - self._pos + waiting

    def feed(self, data: Buffer) -> list[T]:
        """Take the next chunk, of any size, and return the records that it completed.

        Raises:
            RecordError: a record is bad, and there is no `on_error`. The records before it are in its
                `records`. The chunk has been taken; the next call, with ``b""`` if need be, goes on behind it.
            TypeError: `data` has no buffer.
        """
        if type(data) is not bytes:
            # Views are made of what is kept here, so it must not change.
            return self.feed(memoryview(data).tobytes())
        self._chunks.append(data)
        self._ordinary = False
        try:
            self._drain()
        except RecordError as error:
            error.records = self._take_records()
            raise
        self._ordinary = self._can_be_ordinary()
        return self._take_records()

    def finish(self) -> list[T]:
        """End the stream, return the records that were left, and be ready for a new stream.

        Raises:
            RecordError: the stream ended inside a record, or a bad one was left, and there is no `on_error`.
                It is the first such; its `records` are all the good ones that were left, behind it too.
        """
        self._chunks.append(None)
        first = None
        try:
            while True:
                try:
                    self._drain()
                    break
                except RecordError as error:
                    first = first or error
            if first is None:
                return self._records
            first.records = self._records
            raise first
        finally:
            self._reset()

    def _take_records(self) -> list[T]:
        records, self._records = self._records, []
        return records

    def _drain(self) -> None:
        """Decode what there is into `_records`."""
        while self._data or self._next_data():
            while self._decode_batch():
                pass
            self._offset += self._pos
            self._tail = self._data[self._pos :]
            self._data, self._pos = b"", 0

    def _next_data(self) -> bool:
        """Put the next chunk to work, behind the record that it completes; return False if there is none."""
        while self._chunks:
            chunk = self._chunks.popleft()
            if chunk is None:
                self._end()
            elif not self._tail:
                self._data = chunk
            elif self._completes(chunk):
                self._data = b"".join((self._tail, chunk))
                self._tail = b""
            else:
                self._hold(chunk)
            if self._data:
                return True
        return False

    def _hold(self, chunk: bytes) -> None:
        # A long one grows in place, and takes its own size: a list of two-byte pieces would take 28 times theirs.
        if type(self._tail) is bytes and len(self._tail) > SHORT_TAIL:
            self._tail = bytearray(self._tail)
        self._tail += chunk

    def _decode_message(self, begin: int, message: bytes) -> None:
        """Decode the message of the record at `_data[begin]`; what is behind it must be next already."""
        try:
            self._records.append(self._decode(message))
        except Exception as error:
            # Its frames would keep the chunk alive as long as somebody keeps the error.
            failure = error.with_traceback(None)
        else:
            return
        # Out of the except clause, or the failure with the data in it would be the context of what is raised.
        cause = decode_error(failure)
        if not isinstance(cause, DecodeError):
            raise cause
        self._refuse(begin, str(cause), message, cause)

    def _refuse(self, begin: int, reason: str, data: bytes, cause: Exception | None = None) -> None:
        """Tell of the bad record at `_data[begin]`; what is behind it must be next already."""
        data = data[: min(_DATA_BYTES, self._limit)]
        error = RecordError("malformed", self._unit, self._index, self._offset + begin, reason, data)
        error.__cause__ = cause
        if self._on_error is None:
            raise error
        self._on_error(error)

    @overload
    @classmethod
    def iter_decode(
        cls,
        source: _sources.Source,
        *,
        max_record_bytes: int | None = ...,
        on_error: Callable[[RecordError], object] | None = ...,
    ) -> Iterator[ChatCompletionResponse]: ...
    @overload
    @classmethod
    def iter_decode(
        cls,
        source: _sources.Source,
        type: type[R],
        *,
        max_record_bytes: int | None = ...,
        on_error: Callable[[RecordError], object] | None = ...,
    ) -> Iterator[R]: ...
    @classmethod
    def iter_decode(cls, source: _sources.Source, type: Any = ChatCompletionResponse, **options: Any) -> Any:
        """Iterate over the records of a binary file, or of an iterable of chunks.

        The options are those of `StreamDecoder`. A file is read with its ``read1`` where it has one, so that a
        live pipe is not held up. The records that a chunk completes come before the next chunk is asked for.

        The iterator raises what reading raises, and `RecordError` for a bad record where there is no `on_error`;
        after either, it goes on behind it.
        """
        return _sources.iterate(cls(type, **options), source)

    @overload
    @classmethod
    def aiter_decode(
        cls,
        source: _sources.AsyncSource,
        *,
        max_record_bytes: int | None = ...,
        on_error: Callable[[RecordError], object] | None = ...,
    ) -> AsyncIterator[ChatCompletionResponse]: ...
    @overload
    @classmethod
    def aiter_decode(
        cls,
        source: _sources.AsyncSource,
        type: type[R],
        *,
        max_record_bytes: int | None = ...,
        on_error: Callable[[RecordError], object] | None = ...,
    ) -> AsyncIterator[R]: ...
    @classmethod
    def aiter_decode(cls, source: _sources.AsyncSource, type: Any = ChatCompletionResponse, **options: Any) -> Any:
        """Iterate over the records of an object with ``async read(n)``, or of an async iterable of chunks.

        As `iter_decode` otherwise.
        """
        return _sources.aiterate(cls(type, **options), source)

    # What a framing brings:

    def _can_be_ordinary(self) -> bool:
        """Whether nothing is skipped, and the start is over."""
        raise NotImplementedError

    def _completes(self, chunk: bytes) -> bool:
        """Whether `chunk` brings something to decide about the record in `_tail`."""
        raise NotImplementedError

    def _decode_batch(self) -> bool:
        """Decode some whole records at `_data[_pos:]`, and go behind them; return False if there is none."""
        raise NotImplementedError

    def _end(self) -> None:
        """Decide about `_tail` at the end of the stream."""
        raise NotImplementedError


class TextDecoder(StreamDecoder[T]):
    """The part that lines and events share: JSON in text, which may start with a byte order mark.

    `_skipping` says that the rest of a record which is too long is passed over.
    """

    _format = msgspec.json

    def _reset(self) -> None:
        super()._reset()
        self._ordinary = False
        self._at_start = True
        self._skipping = False

    def feed(self, data: Buffer) -> list[T]:
        # A first chunk that cannot begin with the mark, as most cannot, is as ordinary as any.
        if self._at_start and type(data) is bytes and not self._tail and data[:1] not in _BOM_START:
            self._at_start = False
            self._ordinary = True
            return self.feed(data)
        return super().feed(data)

    def _pass_bom(self) -> bool:
        """Go behind a byte order mark; return False if one may still be to come."""
        if len(self._data) < len(_BOM) and _BOM.startswith(self._data):
            return False
        self._at_start = False
        if self._data.startswith(_BOM):
            self._pos = len(_BOM)
        return True

    def _refuse_long(self, start: int, end: int) -> None:
        """Tell of the record at `start` that is too long, and go behind it; its `end` is 0 if still to come."""
        self._index += 1
        self._skip_to(end)
        self._refuse(start, f"longer than the limit of {self._limit} bytes", self._data[start : self._pos])

    def _skip_to(self, end: int) -> None:
        """Go to `end`, or as far as it cannot have begun."""
        self._skipping = not end
        self._pos = end or len(self._data)
