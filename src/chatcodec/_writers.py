"""What the writers of the three framings share: input checks, the two paths to encoded messages, and iteration.

The fast path encodes all records in one call, if they are plain. The exact path has the codec encode each record that
is not encoded yet, and an error gives its number.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, Union

import msgspec
from msgspec import EncodeError, Raw, Struct

from . import json
from ._errors import WRITE_FAILURES, decode_error
from ._record import UTC, ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

    Encode = Callable[[list[Any], int], bytes]
    OneOrMany = Union[Struct, "Message", list[Any]]

# A message that is already encoded.
Message = Union[bytes, bytearray, memoryview, Raw]
Item = TypeVar("Item", bound=Union[Struct, Message])
R = TypeVar("R")

# JSON's white space: readers skip a line or event that holds nothing else as a keep-alive.
BLANK = b" \t\r\n"

_MESSAGES: tuple[type[Any], ...] = (bytes, bytearray, memoryview, Raw)
_ENCODED = frozenset(_MESSAGES)
_SINGLE: tuple[type[Any], ...] = (*_MESSAGES, Struct)
_OTHER_ITERABLES: tuple[type[Any], ...] = (str, dict)

encode_lines = msgspec.json.Encoder().encode_lines
_encode_message = msgspec.msgpack.Encoder().encode


def encode_messages(records: list[Any]) -> list[bytes]:
    """Encode each record as MessagePack."""
    return [*map(_encode_message, records)]


def listed(records: Iterable[Any]) -> list[Any]:
    """Return `records` as a list. Raises `TypeError` if it is not an iterable of records or messages."""
    _check(records, "an iterable of records or messages")
    return [*records]


def encode_plain(items: list[Any], encode: Callable[[list[Any]], R]) -> R | None:
    """Return what `encode` returns, or None if an item is not plain or cannot be encoded.

    A plain item is a `ChatCompletionResponse` that msgspec encodes as the codecs do: with no time, or with one in UTC.
    """
    try:
        for record in items:
            if record.__class__ is not ChatCompletionResponse:
                return None
            timestamp = record.timestamp
            if timestamp is not None and (timestamp.__class__ is not datetime or timestamp.tzinfo is not UTC):
                return None
        return encode(items)
    except WRITE_FAILURES:
        return None  # reported by the exact path, outside this `except`, so that it does not become `__context__`


def encoded(items: list[Any], encode: Callable[[Any], bytes], first: int) -> list[bytes]:
    """Return the message of each item; `encode` is the codec's, `first` the number of the first item.

    Raises `EncodeError` or `TypeError`, with the item's number, for what cannot be written.
    """
    kinds = {*map(type, items)}
    if kinds <= _ENCODED:
        return items if kinds == {bytes} else [*map(bytes, items)]
    return [_encoded(item, encode, number) for number, item in enumerate(items, first)]


def _encoded(item: Any, encode: Callable[[Any], bytes], number: int) -> bytes:
    if isinstance(item, bytes):
        return item
    if isinstance(item, _MESSAGES):
        return bytes(item)
    if not isinstance(item, Struct):
        raise not_encoded(number, f"expected a record or an encoded message, got {type(item).__name__}", TypeError)
    try:
        return encode(item)
    except (EncodeError, TypeError) as error:
        kind = EncodeError if isinstance(error, EncodeError) else TypeError
        raise not_encoded(number, str(error), kind) from error.__cause__


def not_encoded(number: int, reason: str, kind: type[Exception] = EncodeError) -> Exception:
    """Return the error for the record with that number, from 1."""
    return kind(f"record {number}: {reason}")


def encode_json_lines(items: list[Any], first: int) -> bytes:
    """Encode records and messages as lines of JSON; `first` is the number of the first."""
    lines = encode_plain(items, encode_lines)
    # A view in a record's choices can hold line breaks. BytesIO finds them three times faster than count().
    if lines is not None and len([*BytesIO(lines)]) == len(items):
        return lines
    messages = encoded(items, json.encode, first)
    lines = b"\n".join([*messages, b""])
    # strip() without an argument strips all of BLANK, and more, so it misses no blank message.
    if len([*BytesIO(lines)]) != len(items) or not all(map(bytes.strip, messages)):
        lines = b"\n".join([*map(_one_line, messages, count(first)), b""])
    return lines


def _one_line(message: bytes, number: int) -> bytes:
    if not message.strip(BLANK):
        raise not_encoded(number, "a blank message is no record")
    if b"\n" not in message:
        return message
    try:
        return msgspec.json.format(message, indent=-1)
    except Exception as error:
        failure = error
    # Outside the `except`, so that `failure`, which can hold the data, does not become `__context__`.
    cause = decode_error(failure.with_traceback(None), message)
    raise not_encoded(number, f"line breaks in what is not JSON: {cause}") from cause


def on_one_line(messages: list[bytes]) -> list[bytes]:
    """Return JSON messages without line breaks, which can only be white space between tokens."""
    text = b"".join(messages)
    if b"\n" not in text and b"\r" not in text:
        return messages
    return [message.replace(b"\n", b" ").replace(b"\r", b" ") for message in messages]


def iterate(items: Iterable[Any], encode: Encode, end: bytes) -> Iterator[bytes]:
    """Return an iterator over one chunk per item, then `end`."""
    _check(items, "an iterable of records, messages, or lists of them")
    return _chunks(items, encode, end)


def _chunks(items: Iterable[OneOrMany], encode: Encode, end: bytes) -> Iterator[bytes]:
    number = 1
    for item in items:
        batch = item if isinstance(item, list) else [item]
        chunk = encode(batch, number)
        number += len(batch)
        if chunk:
            yield chunk
    if end:
        yield end


def aiterate(items: AsyncIterable[Any], encode: Encode, end: bytes) -> AsyncIterator[bytes]:
    """Return an async iterator over one chunk per item, then `end`."""
    if not hasattr(items, "__aiter__"):
        _reject(items, "an async iterable of records, messages, or lists of them", "iter_encode takes others")
    return _achunks(items, encode, end)


async def _achunks(items: AsyncIterable[OneOrMany], encode: Encode, end: bytes) -> AsyncIterator[bytes]:
    source = items.__aiter__()
    number = 1
    try:
        async for item in source:
            batch = item if isinstance(item, list) else [item]
            chunk = encode(batch, number)
            number += len(batch)
            if chunk:
                yield chunk
    finally:
        # The garbage collector would close a generator later, and in another task.
        if aclose := getattr(source, "aclose", None):
            await aclose()
    if end:
        yield end


def _check(values: Any, expected: str) -> None:
    """Raise `TypeError` if `values` cannot be iterated over, or not as records."""
    if isinstance(values, _SINGLE):
        _reject(values, expected, "put a single one in a list")
    if hasattr(values, "__aiter__"):
        _reject(values, expected, "aiter_encode takes async ones")
    if isinstance(values, _OTHER_ITERABLES) or not hasattr(values, "__iter__"):
        _reject(values, expected)


def _reject(values: object, expected: str, hint: str = "") -> NoReturn:
    message = f"expected {expected}, got {type(values).__name__}" + (f": {hint}" if hint else "")
    raise TypeError(message)
