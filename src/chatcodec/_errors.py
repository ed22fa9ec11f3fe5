"""What comes out of this package when input is bad, and the one place where it is made so.

msgspec's own errors pass as they are, unless their text quotes the data. What else its C code lets out
(`UnicodeDecodeError`, `RecursionError` and others) becomes one of the three errors of the contract here.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NoReturn

from msgspec import DecodeError, EncodeError, MsgspecError, ValidationError

# The messages of msgspec that quote a value, which types with enums, literals, tags and closed fields can raise.
_QUOTING = r"(Invalid enum value|Invalid value|Object contains unknown field) "
# The path at a message's end. It holds names of the type's fields and indices, never a key of the data.
_PATH = r" - at `[^`]*`(?: in `[^`]*`)?\Z"

Kind = Literal["malformed", "invalid", "too_long", "incomplete", "upstream"]
Table = list[tuple[type[Exception], type[MsgspecError], str]]

# What msgspec lets out beside its own errors, the narrower kinds first, and what it is to readers and to writers.
_UNREADABLE: Table = [
    (UnicodeError, DecodeError, "text is not valid UTF-8"),
    (RecursionError, DecodeError, "nested deeper than the recursion limit"),
    (MemoryError, DecodeError, "a declared length is beyond the memory"),
    (ValueError, ValidationError, "a value is out of range"),
    (OverflowError, ValidationError, "a value is out of range"),
]
_UNWRITABLE: Table = [
    (UnicodeError, EncodeError, "text holds a lone surrogate"),
    (RecursionError, EncodeError, "a cycle, or nested deeper than the recursion limit"),
    (ValueError, EncodeError, "a value is beyond what the format can hold"),
    (OverflowError, EncodeError, "a value is beyond what the format can hold"),
    (AttributeError, EncodeError, "a field has been deleted"),
]


class RecordError(DecodeError):
    r"""A bad record in a stream. The records decoded before it are in `records`; the stream continues after it.

    Attributes:
        kind: ``"malformed"``, ``"invalid"`` (well-formed data of the wrong type) or ``"too_long"``; of a `StreamError`
            ``"incomplete"`` or ``"upstream"``. Labels for metrics.
        unit: ``"line"``, ``"frame"`` or ``"event"``; ``"message"`` where messages are stamped.
        index: the number of the line, frame, event or message, from 1, keep-alives counted.
        offset: where it starts in the stream, in bytes from 0; for a frame, where its header starts.
        reason: what is wrong with it, without a byte of its data.
        data: its first bytes, 1 KiB at most; empty for a frame rejected from its header.
        records: the records before it that no call has returned yet, and no error has carried.

    The text names the place and the reason. The error of the codec that rejected the record is its ``__cause__``.
    The error pickles, without its cause.

    >>> from chatcodec import ndjson
    >>> ndjson.StreamDecoder().feed(b'{"cost":1}\n{"cost":"x"}\n')
    Traceback (most recent call last):
    chatcodec.RecordError: line 2 at offset 11: Expected `float | null`, got `str` - at `$.cost`
    """

    def __init__(
        self,
        kind: Kind,
        unit: str,
        index: int,
        offset: int,
        reason: str,
        data: bytes = b"",
        records: list[Any] | None = None,
    ) -> None:
        super().__init__(f"{unit} {index} at offset {offset}: {reason}")
        self.kind: Kind = kind
        self.unit = unit
        self.index = index
        self.offset = offset
        self.reason = reason
        self.data = data
        self.records: list[Any] = [] if records is None else records

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes: the text alone would not make the error again."""
        return type(self), (self.kind, self.unit, self.index, self.offset, self.reason, self.data, self.records)


class StreamError(RecordError):
    """The stream itself failed: it was cut, it is not what it should be, or the provider reported an error in it.

    It is always raised, and never passed to `on_error`. Its `records` are good, and still have to be forwarded. `kind`
    is ``"incomplete"`` or ``"upstream"`` (an event of the type ``error``; `data` is what it said).
    """


# Where users import them from, and what a traceback shows.
RecordError.__module__ = StreamError.__module__ = "chatcodec"


def raise_decode_error(error: Exception, number: int = 0) -> NoReturn:
    """Raise what a reader of bad input is to see in place of `error`, or `error` itself.

    A `number` is that of the bad record among many.
    """
    result = decode_error(error)
    if number and isinstance(result, DecodeError):
        result = type(result)(f"record {number}: {result}")
    _raise(result, error)


def decode_error(error: Exception) -> Exception:
    """Return `error` if it may leave the package, else the `DecodeError` that says the same without the data."""
    if isinstance(error, ValidationError):
        return _without_quotes(error)
    if isinstance(error, TypeError) and str(error).startswith("unhashable"):
        return DecodeError("a map is a key of a map")  # MessagePack, up to msgspec 0.21
    return error if isinstance(error, DecodeError) else _replaced(error, _UNREADABLE)


def _without_quotes(error: ValidationError) -> ValidationError:
    text = str(error)
    path = re.search(_PATH, text)
    if error.__cause__ is not None:
        # Raised by the type's own __post_init__, whose words may hold values.
        reason = f"refused by the type's own check ({type(error.__cause__).__name__})"
    elif quoting := re.match(_QUOTING, text):
        reason = quoting[1]
        if quoting[1].endswith("field"):
            path = None  # the field's name itself could end like a path
    else:
        return error
    return ValidationError(reason + (path[0] if path else ""))


def raise_encode_error(error: Exception) -> NoReturn:
    """Raise what a writer is to see in place of `error`, or `error` itself."""
    _raise(encode_error(error), error)


def _raise(result: Exception, error: Exception) -> NoReturn:
    if result is error:
        raise error
    try:
        raise result from None
    finally:
        # It would be `error`, which can hold the data: a UnicodeDecodeError has all of it.
        result.__context__ = None


def encode_error(error: Exception) -> Exception:
    """Return `error` if it may leave the package, else the `EncodeError` that says the same without the data."""
    return _replaced(error, _UNWRITABLE)


def _replaced(error: Exception, table: Table) -> Exception:
    for kind, result, text in table:
        if isinstance(error, kind):
            return result(text)
    return error
