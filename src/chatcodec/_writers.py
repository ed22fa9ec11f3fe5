"""What the writers of the three framings share: input checks, the two paths to encoded messages, and iteration.

The fast path encodes all records in one call, if they are plain. The exact path has the codec encode each record that
is not encoded yet, and an error gives its number.
"""

from __future__ import annotations

from contextlib import aclosing, nullcontext
from datetime import datetime
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, Union, cast, get_args

import msgspec

from . import json
from ._errors import WRITE_FAILURES, decode_error
from ._iterate import expect
from ._record import UTC, ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

    OneOrMany = Union[msgspec.Struct, "Message", list[Any]]
    Encode = Callable[[list[Any], int], bytes]

# A message that is already encoded.
Message = bytes | bytearray | memoryview | msgspec.Raw
Item = TypeVar("Item", bound=msgspec.Struct | Message)

# JSON's white space: readers skip a line or event that holds nothing else as a keep-alive.
BLANK = b" \t\r\n"
# Why a message with this content, apart from white space around it, cannot be written.
NO_RECORDS = {b"": "a blank message is no record"}

_LF, _CR = b"\n\r"
_ENCODED = frozenset(get_args(Message))

encode_lines = msgspec.json.Encoder().encode_lines
_encode_message = msgspec.msgpack.Encoder().encode


def encode_messages(records: list[Any]) -> list[bytes]:
    """Encode each record as MessagePack."""
    return [*map(_encode_message, records)]


def listed(records: Iterable[Any]) -> list[Any]:
    """Return `records` as a list. Raises `TypeError` if it is not an iterable of records or messages."""
    _check(records, "an iterable of records or messages")
    return [*records]


def encode_plain(items: list[Any], encode: Callable[[list[Any]], Any]) -> Any:
    """Return what `encode` returns, or None if an item is not plain or cannot be encoded.

    A plain item is a `ChatCompletionResponse` that msgspec encodes as the codecs do: with no time, or with one in UTC.
    """
    try:
        for record in items:
            if record.__class__ is not ChatCompletionResponse or (
                (timestamp := record.timestamp) is not None
                and (timestamp.__class__ is not datetime or timestamp.tzinfo is not UTC)
            ):
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
    try:
        if isinstance(item, msgspec.Struct):
            return encode(item)
        expect(item, "a record or an encoded message", isinstance(item, Message))
        return bytes(item)
    except (msgspec.EncodeError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else msgspec.EncodeError
        raise not_encoded(number, str(error), kind) from error.__cause__


def not_encoded(number: int, reason: str, kind: type[Exception] = msgspec.EncodeError) -> Exception:
    """Return the error for the record with that number, from 1."""
    return kind(f"record {number}: {reason}")


def json_messages(
    items: list[Any], first: int, no_records: dict[bytes, str], fit: Callable[[bytes, int], bytes]
) -> list[bytes]:
    """Return the message of each item. If one may have line breaks, each is what `fit` returns for it and its number.

    Raises `EncodeError` for a message that readers would not take for a record; the reason is in `no_records`.
    """
    messages = encoded(items, json.encode, first)
    text = b"".join(messages)
    # JSON objects are always records, and other messages are rare.
    if _LF in text or _CR in text or min(messages) < b"{":
        for number, message in enumerate(messages, first):
            if reason := no_records.get(message.strip(BLANK)):
                raise not_encoded(number, reason)
        messages = [*map(fit, messages, count(first))]
    return messages


def encode_json_lines(items: list[Any], first: int) -> bytes:
    """Encode records and messages as lines of JSON; `first` is the number of the first."""
    lines: bytes | None = encode_plain(items, encode_lines)
    # A view in a record's choices can hold line breaks. BytesIO finds them three times faster than count().
    if lines is None or len([*BytesIO(lines)]) != len(items):
        lines = b"\n".join([*json_messages(items, first, NO_RECORDS, _one_line), b""])
    return lines


def _one_line(message: bytes, number: int) -> bytes:
    """Return `message` without line breaks, as a reader of lines sees them: a lone carriage return is none."""
    try:
        return msgspec.json.format(message, indent=-1) if _LF in message else message
    except Exception as error:
        cause = decode_error(error.with_traceback(None), message)
        raise not_encoded(number, f"line breaks in what is not JSON: {cause}") from cause


def on_one_line(messages: list[bytes]) -> list[bytes]:
    """Return JSON messages without line breaks, which can only be white space between tokens."""
    return [message.replace(b"\n", b" ").replace(b"\r", b" ") for message in messages]


def iterate(items: Iterable[Any], encode: Encode, end: bytes) -> Iterator[bytes]:
    """Return an iterator over one chunk per item, then `end`."""
    _check(items, "an iterable of records, messages, or lists of them")
    return _chunks(items, encode, end)


def _chunks(items: Iterable[OneOrMany], encode: Encode, end: bytes) -> Iterator[bytes]:
    number = 1
    for item in items:
        batch: list[Any] = item if isinstance(item, list) else [item]
        chunk = encode(batch, number)
        number += len(batch)  # before the caller can change the list
        if chunk:
            yield chunk
    if end:
        yield end


def aiterate(items: AsyncIterable[Any], encode: Encode, end: bytes) -> AsyncIterator[bytes]:
    """Return an async iterator over one chunk per item, then `end`."""
    expected = "an async iterable of records, messages, or lists of them"
    expect(items, expected, hasattr(items, "__aiter__"), ": iter_encode takes others")
    return _achunks(items.__aiter__(), encode, end)


async def _achunks(source: Any, encode: Encode, end: bytes) -> AsyncIterator[bytes]:
    number = 1
    # The garbage collector would close a generator later, and in another task.
    async with aclosing(source) if hasattr(source, "aclose") else nullcontext():
        async for item in cast("AsyncIterator[OneOrMany]", source):
            batch: list[Any] = item if isinstance(item, list) else [item]
            chunk = encode(batch, number)
            number += len(batch)
            if chunk:
                yield chunk
    if end:
        yield end


def _check(values: Any, expected: str) -> None:
    """Raise `TypeError` if `values` cannot be iterated over, or not as records."""
    expect(values, expected, not isinstance(values, msgspec.Struct | Message), ": put a single one in a list")
    expect(values, expected, not hasattr(values, "__aiter__"), ": aiter_encode takes async ones")
    expect(values, expected, hasattr(values, "__iter__") and not isinstance(values, str | dict))
