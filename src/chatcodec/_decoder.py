"""What the stream decoders share: the buffer, the limit on a record, and the reporting of errors.

Each framing subclasses `StreamDecoder` and knows where records end. No decoder does I/O: chunks in, records out.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Union

from msgspec import Raw

from ._errors import DATA_BYTES, READ_FAILURES, RecordError, StreamError, contiguous, detached, rejection, report
from ._record import ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer, TypeVar, Unpack

    from ._errors import Kind
    from ._iterate import Options

    T = TypeVar("T", default=ChatCompletionResponse)
    R = TypeVar("R", default=ChatCompletionResponse)
    D = TypeVar("D", bound="StreamDecoder[Any]")
    Failure = Union[BaseException, None]
else:
    from typing import TypeVar  # only type checkers need the default

    T = TypeVar("T")

# A whole response with a long tool result is below 1 MiB. A record of 16 MiB is an attack or a fault, and a gateway
# still has room for a thousand connections that each buffer one.
MAX_RECORD_BYTES = 16 * 1024 * 1024

# How many bytes the fast path takes at a time: at most, after a record that it stopped at, and at least, if it stops
# again and again. Bytes that it had already split after such a record are split again, so it takes fewer of them.
_RUN_BYTES = 64 * 1024
_RUN_BYTES_AFTER_STOP = 1024
_FEWEST_RUN_BYTES = 16

# Up to this size, copying an incomplete record for each chunk costs less than growing it in place.
_SHORT = 4096

# Half of a surrogate pair in JSON, or text after a backslash that looks like one. Either may become another escape.
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

_STREAM_ERRORS = ("incomplete", "upstream")


class StreamDecoder(Generic[T]):
    """The part of a stream decoder that does not depend on the framing.

    `_buffer[_pos:]` has been received but not decoded, and no record ends in it before `_searched`. `_offset` is the
    position of the buffer in the stream, `_index` the number of records so far. While a record that is too long is
    being skipped, `_skipped` is its index, offset and first bytes. `_missing` is empty, or says why a stream that ended
    now would be incomplete even if all its records are whole; so does `_cut`, whatever comes before the end.
    """

    _unit: ClassVar[str]
    _overhead: ClassVar[int]
    _format: Any

    def __init__(
        self,
        type: type[T] = ChatCompletionResponse,  # type: ignore[assignment]
        *,
        max_record_bytes: int | None = MAX_RECORD_BYTES,
        on_error: Callable[[RecordError], object] | None = None,
    ) -> None:
        if max_record_bytes is not None and max_record_bytes < 1:
            message = f"max_record_bytes is {max_record_bytes}, and must be 1 or more, or None for no limit"
            raise ValueError(message)
        self._limit = sys.maxsize if max_record_bytes is None else max_record_bytes
        # A record that ends within this many bytes, including what frames it, is not too long.
        self._most_run_bytes = min(self._limit + self._overhead, _RUN_BYTES)
        self._on_error = on_error
        # bytes() returns a `bytes` object itself, not a copy.
        self._decode: Callable[[bytes], Any] = bytes if type is bytes else self._format.Decoder(type).decode
        self._reset()

    def _reset(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._pos: int = 0
        self._searched = 0
        self._offset = 0
        self._index = 0
        self._run_bytes = self._most_run_bytes
        self._skipped: tuple[int, int, bytes] | None = None
        self._records: list[T] = []
        self._error: RecordError | None = None
        self._missing = ""
        self._cut = ""

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
        buffer = self._buffer
        if not buffer:
            self._buffer = data
        elif data:
            if self._pos:  # after an error
                self._trim()
                buffer = self._buffer
            # A buffer shorter than the chunk is copied, a longer one grows in place.
            if len(buffer) > _SHORT and len(buffer) > len(data) and type(buffer) is bytes:
                buffer = bytearray(buffer)
            buffer += data
            self._buffer = buffer
        try:
            while (self._skipped is None or self._skip()) and self._step():
                pass
        except RecordError as error:
            error.records = self._take_records()
            raise
        if pos := self._pos:
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
        while True:
            try:
                while self._step():
                    pass
                self._end()
                break
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

    def _pass(
        self, records: list[Any], count: int, pos: int, stop: int = sys.maxsize, interrupt: Failure = None
    ) -> bool:
        """Take `records` and advance to `pos`, past `count` records and keep-alives.

        Return whether the buffer reaches `stop`, the end of the run. Raises `interrupt`, which `_decode_all` has
        returned, if there is one.
        """
        # A signal handler can raise at any call. There is none between these, so no record is lost or taken twice.
        self._records += records
        self._index += count
        self._pos = pos
        if interrupt is not None:
            raise interrupt
        if len(self._buffer) < stop:
            return False
        self._run_bytes = min(2 * self._run_bytes, self._most_run_bytes)
        return True

    def _stop(self, records: list[Any], count: int, pos: int, failure: Failure, *, tried: bool) -> Failure:
        """Stop the fast path at the record at `pos`, after `_pass`; return why decoding it failed.

        If it was not `tried`, the failure from `_decode_all` is not the record's, and is raised.
        """
        most = _RUN_BYTES_AFTER_STOP if pos > self._pos else max(self._run_bytes // 4, _FEWEST_RUN_BYTES)
        self._run_bytes = min(most, self._most_run_bytes)
        self._pass(records, count, pos, interrupt=None if tried else failure)
        return StopIteration() if tried and failure is None else failure  # `extend` took it for the end of the messages

    def _decode_all(self, messages: list[Any]) -> tuple[list[Any], Failure]:
        """Decode messages up to the first that fails; return the records, and what that one raised.

        If all were decoded, no message caused the error: a signal handler raised it, such as `KeyboardInterrupt`, and
        it surfaced when the call of C code returned.
        """
        records: list[Any] = []
        decoded = messages if self._decode is bytes else map(self._decode, messages)
        try:
            records.extend(decoded)
        except BaseException as error:
            return records, detached(error)
        return records, None

    def _take_message(self, message: bytes, end: int, failure: Failure, *, cut: bool, data: bytes = b"") -> None:
        """Decode the message of the record at `_pos`, which ends at `end`, or report, with `data`, why that fails.

        `failure` is what decoding it has already raised, if anything. If the record is `cut`, the stream has failed.
        """
        start = self._pos
        try:
            if failure is None and cut and self._decode is bytes:
                # Its syntax shows whether it is whole. Half a surrogate pair is good syntax; msgspec rejects it.
                self._format.decode(_HALF_PAIR.sub(rb"\\u0020", message), type=Raw)
        except READ_FAILURES as error:
            failure = detached(error)
        records, failure = self._decode_all([message]) if failure is None else ([], failure)
        self._pass(records, 1, end, interrupt=failure if records else None)
        if not records:
            kind, cause = rejection(failure or StopIteration(), message)
            self._report("incomplete" if cut else kind, start, str(cause), data or message, cause)

    def _report(self, kind: Kind, start: int, reason: str, data: bytes, cause: Exception | None = None) -> None:
        """Report what is wrong with the record that started at `start`, and that `_pass` has passed."""
        error_type = StreamError if kind in _STREAM_ERRORS else RecordError
        shown = data[: min(DATA_BYTES, self._limit)]
        on_error = None if error_type is StreamError else self._on_error
        report(error_type(kind, self._unit, self._index, self._offset + start, reason, shown), cause, on_error)

    def _report_long(self, reason: str, data: bytes) -> None:
        """Report the record at `_pos` as too long, with its first bytes as `data`, and skip what has arrived of it."""
        start = self._pos
        self._skipped = self._index + 1, self._offset + start, data
        self._index += 1
        self._skip()
        self._report("too_long", start, reason, data)

    def _end(self) -> None:
        """Handle an incomplete last record, then a missing end. Called again after an error, until it raises none."""
        if self._skipped is not None:
            self._index, offset, data = self._skipped
            self._pos = len(self._buffer)
            self._skipped = None
            self._report("incomplete", offset - self._offset, "stream ended inside a record that is too long", data)
        elif self.buffered:
            self._end_record()
        if reason := self._cut or self._missing:
            self._cut = self._missing = ""
            self._index += 1
            self._report("incomplete", self._pos, reason, b"")

    if TYPE_CHECKING:  # a framing implements these
        # Decode whole records from `_pos` on, and then the one that needs the exact path, if any.
        # Return False if only an incomplete record remains.
        def _step(self) -> bool: ...

        # Skip to the end of a record that is too long; return False if the end has not arrived.
        def _skip(self) -> bool: ...

        # Decode or report the record at `_pos`, which the stream ended in.
        def _end_record(self) -> None: ...


def next_index(decoder: StreamDecoder[Any]) -> int:
    """Return the number of the next record, or of the incomplete one."""
    return decoder._index + 1  # pyright: ignore[reportPrivateUsage]


def converting(decoder: type[D], convert: Callable[[bytes], Any], **options: Unpack[Options]) -> D:
    """Return a stream decoder whose records are what `convert` returns for each message.

    If `convert` raises `DecodeError` or `EncodeError`, the record is a bad one.
    """
    result = decoder(Raw, **options)
    result._decode = convert  # pyright: ignore[reportPrivateUsage]
    return result
