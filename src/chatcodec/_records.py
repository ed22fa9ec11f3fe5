"""How a stream decoder takes records from its buffer: runs of them on the fast path, single ones on the exact path."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from msgspec import Raw

from ._errors import DATA_BYTES, READ_FAILURES, detached, rejection, report
from ._record import ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import typing_extensions

    from ._errors import Kind, RecordError

    T = typing_extensions.TypeVar("T", default=ChatCompletionResponse)
    R = typing_extensions.TypeVar("R", default=ChatCompletionResponse)
else:
    T = TypeVar("T")  # only type checkers need the default

# A whole response with a long tool result is below 1 MiB. A record of 16 MiB is an attack or a fault, and a gateway
# still has room for a thousand connections that each buffer one.
MAX_RECORD_BYTES = 16 * 1024 * 1024

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# How many bytes the fast path takes at a time: at most, and after a record at which it stopped. What it had already
# split after that record is split again, so it takes far less if it stops again and again.
_RUN_BYTES = 64 * 1024
_RUN_BYTES_AFTER_STOP = 512

# Half of a surrogate pair in JSON, or text after a backslash that looks like one. Either may become another escape.
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Records(Generic[T]):
    """What a stream decoder has received, and the records that it has found.

    `_buffer[_pos:]` has been received but not decoded, and no record ends in it before `_searched`. `_offset` is the
    position of the buffer in the stream, `_index` the number of records so far. `_optional` is skipped if it comes
    next: a byte order mark, the second half of a line end. While a record that is too long is being skipped, `_skipped`
    is its index, its offset, the end of its known part and its first bytes. `_missing` is empty, or says why a stream
    that ended now would be incomplete even if all its records are whole; so does `_cut`, whatever comes before the end.
    """

    _unit: ClassVar[str]
    _format: Any
    _header: ClassVar[int] = 0  # bytes before a record
    _too_long = "longer than the limit of {limit} bytes"
    _mark = b""  # what may stand before the first record
    # If they are more than "\n": one at the end of the buffer may be the first half of a record's end.
    _line_ends: ClassVar[tuple[bytes, ...]] = ()
    # Why a stream is incomplete that ends without a record, or after one; empty if it is not.
    _without_record = ""
    _after_record = ""

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
        # A record that ends within this many bytes, with its header or the end of its line, is not too long.
        self._most_run_bytes = min(self._limit + (self._header or 1), _RUN_BYTES)
        self._on_error = on_error
        # bytes() returns a `bytes` object itself, not a copy.
        self._decode: Callable[[bytes], Any] = bytes if type is bytes else self._format.Decoder(type).decode
        self._reset()

    def _reset(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._pos: int = 0
        self._searched = 0
        self._offset: int = 0
        self._index = 0
        self._optional = self._mark
        self._run_bytes = self._most_run_bytes
        self._skipped: tuple[int, int, int, bytes] | None = None
        self._records: list[T] = []
        self._error: RecordError | None = None
        self._missing = self._without_record
        self._cut = ""

    def _is_at_record(self) -> bool:
        """Skip what belongs to no record; return False if more of that may follow."""
        if self._skipped is not None:
            return self._skip()
        found = self._buffer[self._pos : self._pos + len(self._optional)]
        if len(found) < len(self._optional) and self._optional.startswith(found):
            return False
        self._pos += len(found) if found == self._optional else 0
        self._optional = b""
        return True

    def _skip(self) -> bool:
        """Skip to the end of a record that is too long; return False if it has not arrived."""
        _, end = self._find_end()
        if end:
            self._skipped = None
            self._pass([], 0, end)
        else:
            self._pos = max(self._pos, len(self._buffer) - self._buffer.endswith(self._line_ends))
        return end > 0

    def _pass(self, records: list[Any], count: int, pos: int) -> None:
        """Take `records` and advance to `pos`, past `count` records and keep-alives."""
        if records:
            self._missing = self._after_record
        if self._line_ends:
            self._optional = b"\n" if self._buffer[pos - 1] in b"\r" else b""
        # A signal handler can raise at any call. There is none between these, so no record is lost or taken twice.
        self._records += records
        self._index += count
        self._pos = pos

    def _take_all(self, messages: list[bytes], end: int, idle: Sequence[int] = ()) -> BaseException | None:
        """Decode messages, whose last record ends at `end`, and pass them up to the first that fails.

        `idle` is how many messages come before each keep-alive. Return what the message raised that failed. Raises what
        a signal handler raised meanwhile.
        """
        records: list[Any] = []
        failure = None
        decoded = messages if self._decode is bytes else map(self._decode, messages)
        try:
            records.extend(decoded)
        except BaseException as error:
            failure = detached(error)
        if len(records) == len(messages):
            self._pass(records, len(records) + len(idle), end)
            if failure is not None:  # no message caused it: it surfaced when the call of C code returned
                raise failure
            return None
        if records or idle:
            self._pass(records, *self._locate(messages, len(records), end, idle))
        return StopIteration() if failure is None else failure  # `extend` takes that for the end of the messages

    def _take_run(
        self, messages: list[bytes], end: int, stop: int, idle: Sequence[int] = (), *, whole: bool = True
    ) -> bool:
        """Decode the messages of a run of records, which ends at `end`, and return whether the buffer reaches `stop`.

        At the first that fails, and at the end if the run is not `whole`, take the exact path. `idle` is how many
        messages come before each keep-alive.
        """
        start = self._pos
        failure = self._take_all(messages, end, idle) if messages or idle else None
        if failure is not None or not whole:
            self._run_bytes = _RUN_BYTES_AFTER_STOP if self._pos > start else self._run_bytes // 8 + 4
            return self._take_record(failure)
        if len(self._buffer) < stop:
            return False
        self._run_bytes = min(2 * self._run_bytes, self._most_run_bytes)
        return True

    def _take_record(self, failure: BaseException | None = None) -> bool:
        """Decode, report or skip the record at `_pos`; return False if it is incomplete.

        `failure` is what decoding it has already raised, if anything.
        """
        start = self._pos
        self._run_bytes = min(2 * self._run_bytes, self._most_run_bytes)  # the record may be longer than a run
        stop, end = self._find_end()
        if stop - start > self._limit + self._header:
            reason = self._too_long.format(size=stop - start - self._header, limit=self._limit)
            data = b"" if self._header else bytes(self._buffer[start : start + DATA_BYTES])
            self._skipped = self._index + 1, self._offset + start, self._offset + stop, data
            self._index += 1
            self._skip()
            self._report("too_long", start, reason, data)
        elif end:
            self._take(stop, end, failure)
        return end > 0

    def _take_message(
        self, message: bytes, end: int, failure: BaseException | None, *, cut: bool = False, data: bytes = b""
    ) -> None:
        """Decode the message of the record at `_pos`, which ends at `end`, or report, with `data`, why that fails.

        If the record is `cut`, the stream has failed.
        """
        start = self._pos
        try:
            if failure is None and cut and self._decode is bytes:
                # Its syntax shows whether it is whole. Half a surrogate pair is good syntax; msgspec rejects it.
                self._format.decode(_HALF_PAIR.sub(rb"\\u0020", message), type=Raw)
        except READ_FAILURES as error:
            failure = detached(error)
        if failure is None:
            failure = self._take_all([message], end)
        if failure is not None:
            self._pass([], 1, end)
            self._missing = self._after_record  # also if it is not to blame
            kind, cause = rejection(failure, message)
            self._report("incomplete" if cut else kind, start, str(cause), data or message, cause)

    def _report(self, kind: Kind, start: int, reason: str, data: bytes, cause: Exception | None = None) -> None:
        """Report what is wrong with the record that started at `start`, and that `_pass` has passed."""
        self._missing = "" if kind == "upstream" else self._after_record
        report(self._on_error, cause, kind, self._unit, self._index, self._offset + start, reason, data[: self._limit])

    def _locate(self, messages: list[bytes], count: int, end: int, idle: Sequence[int]) -> tuple[int, int]:
        """Return how many records and keep-alives come before a message of a run, and where its record starts.

        `count` is the number of messages before it; the others are those of `_take_all`.
        """
        return count, end - sum(map(len, messages[count:])) - self._header * (len(messages) - count)

    if TYPE_CHECKING:
        # Decode a run of whole records from `_pos` on, or the one record that needs the exact path.
        # Return False if only an incomplete record remains.
        def _step(self) -> bool: ...

        # Return where the content of the record at `_pos` ends, as far as it is known, and where the record ends, which
        # is 0 if that has not arrived.
        def _find_end(self) -> tuple[int, int]: ...

        # Decode, report or skip the record at `_pos` with that content and that end, or what has arrived of it if it is
        # `cut`. `failure` is what decoding it has already raised, if anything.
        def _take(self, stop: int, end: int, failure: BaseException | None = None, *, cut: bool = False) -> None: ...
