"""JSON (RFC 8259): decode, peek at, encode, patch and stamp single messages.

Every function raises only `msgspec.DecodeError` (`msgspec.ValidationError` where well-formed data has the wrong type)
for bad input, and `msgspec.EncodeError` or `TypeError` for a value that cannot be encoded. A caller's mistakes raise
`TypeError` (an argument of the wrong type), `ValueError` (a closed or released buffer) or `BufferError` (one that is
not C-contiguous). No error quotes the data. All functions are safe to call from many threads.

What is kept of a message, and what is not (each row has a test):

| what | becomes |
|---|---|
| `null` and absent | both read as `None`; `None` is never written |
| unknown fields | ignored by `decode` and `peek`, kept by `patch`, `stamp` and transcoding |
| order, numbers and escapes | kept by `patch` and `stamp`, byte for byte; white space between values may be dropped |
| duplicate keys | the last one wins; `patch` and `stamp` keep one, in the first one's place |
| a top-level `error` | `decode` reads an empty record; `peek` shows it as `Envelope.error` and `.failed` |
| a time without an offset | rejected, reading and writing |
| a time's offset | kept; an offset with seconds, as before about 1930, is written as UTC |
| digits below the microsecond | rounded |
| a time that rounds beyond the year 9999 | rejected: `9999-12-31T23:59:59.9999999Z` |
| times inside `choices` | written as text, and read as text |
| NaN and infinities | written as `null` |
| integers beyond 64 bits | kept inside `choices` |
| binary | written as base64 text |
| keys that are numbers | written as text; from MessagePack, of keys with the same text the last one wins |
| extensions | `EncodeError` |
| half a surrogate pair | rejected, reading and writing; a stream of `bytes` forwards an emoji cut into two deltas |
| text that is not UTF-8 | rejected where it is decoded, else passed on unchanged |
| a byte order mark | an error; streams skip it at their start |
| a record beyond the reader's limit | written; a stream decoder's `max_record_bytes` rejects it |
| nesting | limited by Python's recursion limit; from 3.12, by the limit for C code; from 3.14, by the stack size |

On Python 3.13, JSON nested up to that limit needs a thread stack of 3 MiB; the default is usually 8 MiB on Linux.

`chatcodec.msgpack` has the same functions for MessagePack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from ._errors import offset_error, raise_decode_error, raise_encode_error, unsupported
from ._patch import JSON, LONG_JSON, set_fields
from ._record import DATETIME, UTC, ChatCompletionResponse, Choices, Envelope, writable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Buffer, TypeVar, Unpack

    from ._patch import Changes, E

    T = TypeVar("T", default=ChatCompletionResponse)

__all__ = ["decode", "decode_choices", "encode", "encode_into", "patch", "peek", "stamp"]


_decode: Any = msgspec.json.Decoder(ChatCompletionResponse).decode
_peek: Any = msgspec.json.Decoder(Envelope).decode
_decode_choices: Callable[[Buffer], Choices | None] = msgspec.json.Decoder(Choices | None).decode
_encoder = msgspec.json.Encoder(enc_hook=unsupported)
_encode = _encoder.encode
_encode_into = _encoder.encode_into
_decode_fields = JSON.decode_fields


def decode(buf: Buffer, type: type[T] = ChatCompletionResponse) -> T:  # type: ignore[assignment]
    """Decode one message, and check all of it against `type`.

    Unknown fields are ignored; the last of duplicate keys wins.

    Args:
        buf: the message, in any C-contiguous buffer.
        type: `ChatCompletionResponse`, a subclass with fields of your own, or any type that msgspec supports.

    Raises:
        msgspec.DecodeError: `buf` is not one JSON text, has text that is not UTF-8, or is too deeply
            nested.
        msgspec.ValidationError: it is JSON, but does not fit `type`.
        TypeError: `buf` is not a buffer, or msgspec does not support `type`.
        ValueError: `buf` is closed or released.
        BufferError: `buf` is not C-contiguous.

    >>> decode(b'{"sessionId":"s-1","cost":0.25}').session_id
    's-1'
    """
    try:
        if type is ChatCompletionResponse:
            return _decode(buf)  # type: ignore[no-any-return]
        return msgspec.json.decode(buf, type=type)
    except Exception as error:
        raise_decode_error(error, buf)


def peek(buf: Buffer, type: type[E] = Envelope) -> E:  # type: ignore[assignment]
    """Decode one message in one pass, leaving its choices and its error as views into `buf`.

    The other fields are checked; for the choices and the error, only the syntax is. A view keeps `buf` alive, and later
    writes to `buf` show in it.

    Args:
        buf: the message, in any C-contiguous buffer.
        type: `Envelope`, or a subclass with fields of your own.

    Raises:
        msgspec.DecodeError: `buf` is not one JSON text, or is nested beyond the recursion limit.
        msgspec.ValidationError: it is JSON, but not an object, or a field has the wrong type.
        TypeError: `buf` is not a buffer, or msgspec does not support `type`.
        ValueError: `buf` is closed or released.
        BufferError: `buf` is not C-contiguous.

    >>> envelope = peek(b'{"choices":[{"index":0}],"cost":0.25}')
    >>> envelope.cost, bytes(envelope.choices)
    (0.25, b'[{"index":0}]')
    """
    try:
        return _peek(buf) if type is Envelope else msgspec.json.decode(buf, type=type)
    except Exception as error:
        raise_decode_error(error, buf)


def decode_choices(view: Buffer) -> Choices | None:
    """Decode the choices of an envelope from `peek`; ``None`` if they are absent or null.

    Raises:
        msgspec.DecodeError: text in them is not UTF-8, or they are nested beyond the recursion limit.
        msgspec.ValidationError: they are not a list of objects.
        TypeError: `view` is not a buffer.
        ValueError: `view` is closed or released.
        BufferError: `view` is not C-contiguous.

    >>> decode_choices(peek(b'{"choices":[{"index":0}]}').choices)
    [{'index': 0}]
    """
    try:
        return _decode_choices(view)
    except Exception as error:
        # An absent field. Checking for it first would make small choices a third slower.
        if isinstance(error, msgspec.DecodeError) and not memoryview(view).nbytes:
            return None
        raise_decode_error(error, view)


def encode(response: Struct) -> bytes:
    """Encode `response` as JSON without white space, and without fields that are ``None``.

    NaN and infinities become null, binary becomes base64 text, and a timestamp whose offset has seconds is written
    in UTC.

    Raises:
        msgspec.EncodeError: it holds a cycle, half a surrogate pair, a MessagePack extension, or a timestamp without
            an offset.
        TypeError: it holds an object of a type that cannot be encoded, its timestamp is not a datetime, or it is
            an `Envelope`.

    >>> encode(ChatCompletionResponse(session_id="s-1", cost=0.25))
    b'{"sessionId":"s-1","cost":0.25}'
    """
    try:
        # A record with a time in UTC, as decoding gives it, needs no further check: 60 ns instead of 550.
        if type(response) is not ChatCompletionResponse or (
            (timestamp := response.timestamp) is not None
            and (timestamp.__class__ not in DATETIME or timestamp.tzinfo is not UTC)
        ):
            response = writable(response)
        return _encode(response)
    except Exception as error:
        raise_encode_error(error)


def encode_into(response: Struct, buffer: bytearray, offset: int = 0) -> None:
    """Encode `response` into `buffer` at `offset`, and resize the buffer to end after it.

    Args:
        response: the record.
        buffer: ends with the record afterwards. If an error is raised, the bytes before `offset` are unchanged.
        offset: in bytes; -1 means the end of the buffer.

    Raises:
        msgspec.EncodeError: as in `encode`.
        TypeError: as in `encode`.
        ValueError: `offset` is beyond the buffer's end, or below -1.
        BufferError: `buffer` has to be resized, and a view of it exists. At offset 0 msgspec may shrink it regardless.

    >>> buffer = bytearray(b"data: ")
    >>> encode_into(ChatCompletionResponse(cost=0.25), buffer, 6)
    >>> buffer
    bytearray(b'data: {"cost":0.25}')
    """
    size = len(buffer)
    if not -1 <= offset <= size:
        raise offset_error(offset, size)
    try:
        if type(response) is not ChatCompletionResponse or (
            (timestamp := response.timestamp) is not None
            and (timestamp.__class__ not in DATETIME or timestamp.tzinfo is not UTC)
        ):
            response = writable(response)
        if offset:
            _encode_into(response, buffer, offset)
        else:
            _encode_into(response, buffer)  # an explicit 0 makes msgspec shrink the buffer first: 110 ns
    except Exception as error:
        if len(buffer) > size:  # only a bytearray can have grown
            del buffer[size:]
        raise_encode_error(error)


def patch(buf: Buffer, *, extra: Mapping[str, Any] | None = None, **changes: Unpack[Changes]) -> bytes:
    """Set fields of an encoded message by their Python names, and return the message.

    Unknown fields, the order, and the bytes of every untouched value are kept; white space between values and
    duplicates of untouched fields may be dropped. A field that is set keeps its place, a new field goes last, and
    ``None`` removes a field. If a field that is set has duplicates, one remains, in the place of the first.

    Args:
        buf: the message, in any C-contiguous buffer.
        extra: values by wire name, for fields that the record does not define. They are not checked.
        **changes: values for fields of the record, checked against its types.

    Raises:
        msgspec.DecodeError: `buf` is not one JSON text, or a key that had to be decoded is not UTF-8.
        msgspec.ValidationError: it is JSON, but not an object.
        msgspec.EncodeError: a value cannot be written, as in `encode`.
        TypeError: a value has the wrong type, or one in `extra` cannot be encoded; a keyword is not a field of the
            record, or a name in `extra` is; `buf` is not a buffer.
        ValueError: `buf` is closed or released.
        BufferError: `buf` is not C-contiguous.

    >>> patch(b'{"cost":1.00,"region":"eu","stream":true}', stream=None, session_id="s-1", extra={"region": "us"})
    b'{"cost":1.00,"region":"us","sessionId":"s-1"}'
    """
    try:
        fields = _decode_fields(buf)
    except Exception as error:
        raise_decode_error(error, buf)
    try:
        set_fields(fields, extra, changes)
        return _encode(fields)
    except Exception as error:
        raise_encode_error(error)


def stamp(
    buf: Buffer,
    type: type[E] = Envelope,  # type: ignore[assignment]
    *,
    extra: Mapping[str, Any] | None = None,
    **changes: Unpack[Changes],
) -> tuple[E, bytes]:
    """Do `peek` and `patch` in one call: return the original message's envelope, and the message with fields set.

    Args:
        buf: the message, in any C-contiguous buffer.
        type: `Envelope`, or a subclass with fields of your own.
        extra: values by wire name, as in `patch`.
        **changes: values for fields of the record, as in `patch`.

    Raises:
        msgspec.DecodeError: as in `peek` and `patch`.
        msgspec.ValidationError: as in `peek`.
        msgspec.EncodeError: a value cannot be written, as in `encode`.
        TypeError: as in `peek` and `patch`.
        ValueError: `buf` is closed or released.
        BufferError: `buf` is not C-contiguous.

    >>> envelope, message = stamp(b'{"cost":0.25,"region":"eu"}', session_id="s-1")
    >>> envelope.cost, message
    (0.25, b'{"cost":0.25,"region":"eu","sessionId":"s-1"}')
    """
    try:
        fields = _decode_fields(buf)
        if type is not Envelope:
            # From the whole message: the subclass may have fields and checks of its own.
            envelope = msgspec.json.decode(buf, type=type)
        elif len(fields.get("choices", b"")) < LONG_JSON:
            envelope = _peek(buf)
        else:
            envelope = JSON.envelope(buf, fields)
    except Exception as error:
        raise_decode_error(error, buf)
    try:
        set_fields(fields, extra, changes)
        return envelope, _encode(fields)
    except Exception as error:
        raise_encode_error(error)
