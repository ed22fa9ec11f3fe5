"""The errors that this package raises.

msgspec's own errors pass through unchanged, unless their text quotes the data or gives the wrong reason. Anything else
that its C code raises (`UnicodeDecodeError`, `RecursionError` and others) is replaced here with a documented error.

`decode_error` and `encode_error` return an error, and their callers raise it. A traceback holds the frames that it
passed through; if a variable of such a frame still held the error, the cycle would keep both, and the input, alive
until a garbage collection. So code that does raise an error from a variable deletes it: ``finally: del error``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from msgspec import DecodeError, EncodeError, MsgspecError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

# The path at the end of a message. It holds indices and the type's field names, never a key from the data.
_PATH = r" - at `[^`]*`(?: in `[^`]*`)?\Z"
# msgspec's messages that quote a value; types with enums, literals, tags or `forbid_unknown_fields` cause them.
# The name of an unknown field could look like a path.
_QUOTING = re.compile(
    rf"\A(?:(Invalid enum value|Invalid value) .*?({_PATH}|\Z)|(Object contains unknown field) .*)", re.DOTALL
)
_REJECTED = "rejected by the type's own check (%s)"
_HALF_PAIR = "a string holds half a surrogate pair"
# The first half of a pair near the end of the data, with no second half after it.
_FIRST_HALF_LAST = re.compile(rb"(\\+)u[dD][89abAB][0-9a-fA-F]{2}(?:[^\\]|\\[^u]).{0,4}\Z", re.DOTALL)

# An error holds at most this many bytes from the start of a bad record.
DATA_BYTES = 1024

Kind = Literal["malformed", "invalid", "too_long", "incomplete", "upstream"]
Table = list[tuple[type[Exception], str, type[MsgspecError], str]]

# What msgspec raises besides its own errors, narrower classes first, with the start of its text; and what is raised
# instead.
_UNREADABLE: Table = [
    (TypeError, "unhashable", DecodeError, "a map is a key of a map"),  # MessagePack, up to msgspec 0.21
    (UnicodeError, "", DecodeError, "text is not valid UTF-8"),
    (RecursionError, "", DecodeError, "nested deeper than the recursion limit"),
    (MemoryError, "", DecodeError, "a declared length exceeds the available memory"),
    (ValueError, "", ValidationError, "a value is out of range"),
    (OverflowError, "", ValidationError, "a value is out of range"),
    (SystemError, "", ValidationError, "a value is out of range"),  # an integer beyond a float, up to msgspec 0.21
]
_UNWRITABLE: Table = [
    (UnicodeError, "", EncodeError, "text holds half a surrogate pair"),
    (RecursionError, "", EncodeError, "a cycle, or nested deeper than the recursion limit"),
    (ValueError, "", EncodeError, "a value is beyond what the format can hold"),
    (OverflowError, "", EncodeError, "a value is beyond what the format can hold"),
    (AttributeError, "", EncodeError, "a field has been deleted"),
]

# What the data can make msgspec raise. Anything else, such as an exception from a signal handler, passes through.
READ_FAILURES: tuple[type[Exception], ...] = (MsgspecError, BufferError, *(row[0] for row in _UNREADABLE))
WRITE_FAILURES: tuple[type[Exception], ...] = (MsgspecError, TypeError, *(row[0] for row in _UNWRITABLE))


class RecordError(DecodeError):
    r"""A bad record in a stream. The records decoded before it are in `records`; the stream continues after it.

    The text gives the position and the reason. If a codec rejected the record, its error is the ``__cause__``.
    The error can be pickled, without its cause.

    >>> from chatcodec import ndjson
    >>> ndjson.StreamDecoder().feed(b'{"cost":1}\n{"cost":"x"}\n')
    Traceback (most recent call last):
    chatcodec.RecordError: line 2 at offset 11: Expected `float | null`, got `str` - at `$.cost`
    """

    kind: Kind
    """``"malformed"``, ``"invalid"`` (well-formed data of the wrong type) or ``"too_long"``; for a `StreamError`,
    ``"incomplete"`` or ``"upstream"``. Usable as a metrics label."""
    unit: str
    """``"line"``, ``"frame"`` or ``"event"``; ``"message"`` from `stamp`."""
    index: int
    """The number of the line, frame, event or message, from 1; keep-alives count."""
    offset: int
    """Where it starts in the stream, in bytes from 0; for a frame, where its header starts."""
    reason: str
    """What is wrong with it, without a byte of its data."""
    data: bytes
    """Its first bytes, 1 KiB at most; empty for a frame rejected from its header."""
    records: list[Any]
    """The records before it that no call has returned and no earlier error has carried."""
    path: str | None
    """The file it is in, if `chatcodec.dask` read it; `index` then counts within its partition."""

    def __init__(
        self,
        kind: Kind,
        unit: str,
        index: int,
        offset: int,
        reason: str,
        data: bytes = b"",
        records: list[Any] | None = None,
        path: str | None = None,
    ) -> None:
        place = f"{unit} {index} at offset {offset}"
        if path is not None:
            place = f"{path} at offset {offset}, {unit} {index} of its partition"
        super().__init__(f"{place}: {reason}")
        self.kind = kind
        self.unit = unit
        self.index = index
        self.offset = offset
        self.reason = reason
        self.data = data
        self.records = [] if records is None else records
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes: the error cannot be rebuilt from its text."""
        place = self.kind, self.unit, self.index, self.offset
        return type(self), (*place, self.reason, self.data, self.records, self.path)


class StreamError(RecordError):
    """The stream itself failed: it was cut, it is not the expected kind of stream, or the provider reported an error.

    It is always raised, never passed to `on_error`. If you catch `RecordError` to skip bad records, catch this first,
    and remember it: once `feed` has raised it, `finish` does not raise it again. Its `records` are good and still have
    to be forwarded; iterators have already yielded them. `kind` is ``"incomplete"`` or ``"upstream"`` (an event of type
    ``error``; `data` is the first KiB of its data).
    """


# Where users import them from, and what a traceback shows.
RecordError.__module__ = StreamError.__module__ = "chatcodec"


def contiguous(buf: Buffer) -> bytes:
    """Return a copy of the bytes in `buf`.

    Raises `TypeError` if it is not a buffer, `ValueError` if it is closed or released, and `BufferError` if it is not
    C-contiguous.
    """
    view = memoryview(buf)
    if not view.c_contiguous:
        message = "the buffer is not C-contiguous"
        raise BufferError(message)
    return view.tobytes()


def detached(error: BaseException) -> BaseException:
    """Return `error` without the frame that caught it, which would keep the chunk alive."""
    return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)


def decode_error(error: BaseException, buf: Buffer) -> BaseException:
    """Return the error to raise for `error`, from decoding `buf`: one with the true reason that quotes no data.

    If the buffer itself cannot be read, raises what `contiguous` raises.
    """
    if _is_foreign(error):
        # One of msgspec's own, raised by the type's own __post_init__, may quote values, or be about other data.
        reason = _REJECTED % type(error).__name__
        return _replacement(ValidationError, reason) if isinstance(error, MsgspecError) else error
    if isinstance(error, ValidationError):
        text = _without_quotes(error)
        return error if text == str(error) else _replacement(ValidationError, text)
    if isinstance(error, MsgspecError):
        return _replacement(DecodeError, _HALF_PAIR) if _is_half_pair(str(error), buf) else error
    if isinstance(error, ValueError):
        contiguous(buf)
    return _replaced(error, _UNREADABLE)


def encode_error(error: BaseException) -> BaseException:
    """Return the error to raise for `error`, from encoding."""
    return error if isinstance(error, MsgspecError) or _is_foreign(error) else _replaced(error, _UNWRITABLE)


def _is_foreign(error: BaseException) -> bool:
    """Return whether Python code outside this package raised `error`, such as a type's ``__post_init__``."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and not last.tb_frame.f_globals.get("__name__", "").startswith("chatcodec.")


def rejection(failure: BaseException, message: Buffer) -> tuple[Kind, Exception]:
    """Return the kind of the bad record and its error, for the `failure` that decoding `message` has raised.

    If the message is not to blame, raises the failure instead.
    """
    if isinstance(failure, StopIteration):  # it would end an iterator as if all were well (PEP 479)
        failure = RuntimeError("the type's __post_init__ or a default factory raised StopIteration").with_traceback(
            failure.__traceback__
        )
    cause = decode_error(failure, message)
    # A decoder that also converts messages may find one that the other format cannot hold.
    if isinstance(cause, (DecodeError, EncodeError)):
        return "invalid" if isinstance(cause, ValidationError) else "malformed", cause
    try:
        raise cause
    finally:
        del cause, failure


def report(
    on_error: Callable[[RecordError], object] | None,
    cause: Exception | None,
    kind: Kind,
    unit: str,
    index: int,
    offset: int,
    reason: str,
    data: bytes,
) -> None:
    """Pass a `RecordError` with these attributes to `on_error`; raise it if there is none, or if the stream failed."""
    is_failure = kind in ("incomplete", "upstream")
    error = (StreamError if is_failure else RecordError)(kind, unit, index, offset, reason, data[:DATA_BYTES])
    error.__cause__ = cause
    try:
        if is_failure or on_error is None:
            raise error
        on_error(error)
    finally:
        del error


def _without_quotes(error: ValidationError) -> str:
    """Return the text of `error` without the values that it quotes."""
    text = str(error)
    if error.__cause__ is None:
        return _QUOTING.sub(r"\1\2\3", text)
    # Raised by the type's own __post_init__, whose message may quote values.
    path = re.search(_PATH, text)
    return _REJECTED % type(error.__cause__).__name__ + (path[0] if path else "")


def _is_half_pair(reason: str, buf: Buffer) -> bool:
    if "utf-16 surrogate pair" in reason or "unexpected end of hex escape" in reason:
        return True
    if reason != "Input data was truncated" or isinstance(buf, str):
        return False
    data = memoryview(buf).cast("B")
    last = _FIRST_HALF_LAST.search(data[-64:])
    # After an even number of backslashes the `u` is plain text. So is all of it in MessagePack, whose first byte is not
    # ASCII.
    return last is not None and len(last[1]) % 2 == 1 and bytes(data[:1]).isascii()


def _replaced(error: BaseException, table: Table) -> BaseException:
    for kind, text, result, reason in table:
        if isinstance(error, kind) and str(error).startswith(text):
            return _replacement(result, reason)
    return error


def _replacement(kind: type[MsgspecError], reason: str) -> MsgspecError:
    """Return a new error, whose traceback does not show the one it replaces: that one can quote data."""
    error = kind(reason)
    error.__suppress_context__ = True
    return error
