"""The errors that this package raises.

msgspec's own errors pass through unchanged, unless their text quotes the data or gives the wrong reason. Anything else
that its C code raises (`UnicodeDecodeError`, `RecursionError` and others) is replaced here with a documented error.

An error's traceback holds the frames that it passed through. If a variable of such a frame still held the error, the
cycle would keep both, and the input, alive until a garbage collection. So code that raises an error from a variable
deletes the variable: ``finally: del error``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import msgspec
from msgspec import DecodeError, EncodeError, MsgspecError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

# msgspec's messages that quote a value; types with enums, literals, tags or `forbid_unknown_fields` cause them.
_QUOTING = r"(Invalid enum value|Invalid value|Object contains unknown field) "
# The path at the end of a message. It holds indices and the type's field names, never a key from the data.
_PATH = r" - at `[^`]*`(?: in `[^`]*`)?\Z"
# msgspec's messages for half a surrogate pair. `_TRUNCATED` is one too, and also its message for truncated data.
_HALF_PAIR = ("utf-16 surrogate pair", "unexpected end of hex escape")
_REJECTED = "rejected by the type's own check (%s)"
_TRUNCATED = "Input data was truncated"
# The first half of a pair near the end of the data, with no second half after it.
_FIRST_HALF_LAST = re.compile(rb"(\\+)u[dD][89abAB][0-9a-fA-F]{2}(?:[^\\]|\\[^u]).{0,4}\Z", re.DOTALL)

# An error holds at most this many bytes from the start of a bad record.
DATA_BYTES = 1024

Kind = Literal["malformed", "invalid", "too_long", "incomplete", "upstream"]
Table = list[tuple[type[Exception], type[MsgspecError], str]]

# What msgspec raises besides its own errors, narrower classes first, and what decoding and encoding raise instead.
_UNREADABLE: Table = [
    (UnicodeError, DecodeError, "text is not valid UTF-8"),
    (RecursionError, DecodeError, "nested deeper than the recursion limit"),
    (MemoryError, DecodeError, "a declared length exceeds the available memory"),
    (ValueError, ValidationError, "a value is out of range"),
    (OverflowError, ValidationError, "a value is out of range"),
    (SystemError, ValidationError, "a value is out of range"),  # an integer beyond a float, up to msgspec 0.21
]
_UNWRITABLE: Table = [
    (UnicodeError, EncodeError, "text holds half a surrogate pair"),
    (RecursionError, EncodeError, "a cycle, or nested deeper than the recursion limit"),
    (ValueError, EncodeError, "a value is beyond what the format can hold"),
    (OverflowError, EncodeError, "a value is beyond what the format can hold"),
    (AttributeError, EncodeError, "a field has been deleted"),
]

# What the data can make msgspec raise. Anything else, such as an exception from a signal handler, passes through.
READ_FAILURES: tuple[type[Exception], ...] = (MsgspecError, TypeError, BufferError, *(row[0] for row in _UNREADABLE))
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


def raise_decode_error(error: Exception, buf: Buffer) -> NoReturn:
    """Raise `error`, from decoding `buf`, or the documented error that replaces it."""
    try:
        _raise(decode_error(error, buf), error)
    finally:
        del error


def decode_error(error: BaseException, buf: Buffer) -> BaseException:
    """Return `error` if it may be raised as it is, else an error that gives the true reason without quoting data.

    `buf` is what was decoded. If it cannot be read, the result is what `contiguous` raises; if its content is bad, a
    `DecodeError`.
    """
    if isinstance(error, MsgspecError) and _is_foreign(error):
        # Raised by the type's own __post_init__: it may quote values, or be about other data.
        return ValidationError(_REJECTED % type(error).__name__)
    if isinstance(error, ValidationError):
        return _without_quotes(error)
    if isinstance(error, DecodeError):
        return DecodeError("a string holds half a surrogate pair") if _is_half_pair(str(error), buf) else error
    if isinstance(error, TypeError) and str(error).startswith("unhashable"):
        return DecodeError("a map is a key of a map")  # MessagePack, up to msgspec 0.21
    if isinstance(error, (ValueError, BufferError)) and (failure := _buffer_error(buf)) is not None:
        return failure
    return _replaced(error, _UNREADABLE)


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
        text = "the type's __post_init__ or a default factory raised StopIteration"
        failure = RuntimeError(text).with_traceback(failure.__traceback__)
    cause = decode_error(failure, message)
    # A decoder that also converts messages may find one that the other format cannot hold.
    if isinstance(cause, (DecodeError, EncodeError)):
        return "invalid" if isinstance(cause, ValidationError) else "malformed", cause
    try:
        raise cause
    finally:
        del cause, failure


def report(error: RecordError, cause: Exception | None, on_error: Callable[[RecordError], object] | None) -> None:
    """Pass `error`, with its `cause`, to `on_error`; raise it if there is none."""
    error.__cause__ = cause
    try:
        if on_error is None:
            raise error
        on_error(error)
    finally:
        del error


def _is_half_pair(reason: str, buf: Buffer) -> bool:
    if any(words in reason for words in _HALF_PAIR):
        return True
    if reason != _TRUNCATED or isinstance(buf, str):
        return False
    data = memoryview(buf).cast("B")
    last = _FIRST_HALF_LAST.search(data[-64:])
    # After an even number of backslashes the `u` is plain text. So is all of it in MessagePack, whose first byte is not
    # ASCII.
    return last is not None and len(last[1]) % 2 == 1 and bytes(data[:1]).isascii()


def _buffer_error(buf: Buffer) -> Exception | None:
    try:
        contiguous(buf)
    except (ValueError, BufferError) as error:
        return error.with_traceback(None)
    return None


def _without_quotes(error: ValidationError) -> ValidationError:
    text = str(error)
    path = re.search(_PATH, text)
    if error.__cause__ is not None:
        # Raised by the type's own __post_init__, whose message may quote values.
        reason = _REJECTED % type(error.__cause__).__name__
    elif quoting := re.match(_QUOTING, text):
        reason = quoting[1]
        if quoting[1].endswith("field"):
            path = None  # the unknown field's own name could look like a path
    else:
        return error
    return ValidationError(reason + (path[0] if path else ""))


def raise_encode_error(error: Exception) -> NoReturn:
    """Raise `error`, from encoding, or the documented error that replaces it."""
    try:
        _raise(_replaced(error, _UNWRITABLE), error)
    finally:
        del error


def _raise(result: BaseException, error: BaseException) -> NoReturn:
    try:
        if result is error:
            raise error
        raise result from None
    finally:
        if result is not error:
            # Otherwise it is `error`, which can hold the data: a UnicodeDecodeError has all of it.
            result.__context__ = None
        del result, error


def unsupported(value: object) -> Any:
    """Raise the error for a value that JSON cannot represent (an `enc_hook` for msgspec)."""
    if isinstance(value, msgspec.msgpack.Ext):
        message = "JSON cannot hold a MessagePack extension"
        raise EncodeError(message)
    message = f"Encoding objects of type {type(value).__name__} is unsupported"
    raise TypeError(message)


def offset_error(offset: object, size: int) -> Exception:
    """Return the error for an `offset` outside a buffer of `size` bytes.

    msgspec 0.22 accepts an offset beyond the end, and leaves uninitialised memory in the gap.
    """
    if not isinstance(offset, int):
        return TypeError(f"offset: Expected `int`, got `{type(offset).__name__}`")
    return ValueError(f"offset {offset} is outside the buffer of {size} bytes")


def _replaced(error: BaseException, table: Table) -> BaseException:
    if _is_foreign(error):
        return error
    for kind, result, text in table:
        if isinstance(error, kind):
            return result(text)
    return error
