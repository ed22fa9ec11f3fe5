"""JSON (RFC 8259): decode, peek at, encode and patch single messages.

Every function raises only `msgspec.DecodeError` (`msgspec.ValidationError` where well-formed data has the wrong
type) for input it refuses, and `msgspec.EncodeError` or `TypeError` for what cannot be written; anything else
is a bug. None quotes the data. All are safe to call from many threads.

What is not decoded is checked for its syntax alone: text inside fields that the record does not know, inside
the choices of `peek` and inside what `patch` leaves alone may be no UTF-8.

`chatcodec.msgpack` has the same functions for MessagePack. The short ones are written out in both, where one class
could serve, because a call to a method costs 14 ns more than one to a function (CPython 3.11), 3 % of a decode.
"""

from __future__ import annotations

from datetime import timezone
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec
from msgspec import EncodeError, Raw, Struct

from ._codec import Choices, make_patch, offset_error
from ._errors import raise_decode_error, raise_encode_error
from ._record import ChatCompletionResponse, Envelope, writable

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")

__all__ = ["decode", "decode_choices", "encode", "encode_into", "patch", "peek"]


def _refuse(value: object) -> Any:
    """Say what is wrong with a value that JSON has no form for."""
    if isinstance(value, msgspec.msgpack.Ext):
        message = "JSON cannot hold a MessagePack extension"
        raise EncodeError(message)
    message = f"Encoding objects of type {type(value).__name__} is unsupported"
    raise TypeError(message)


_decode = msgspec.json.Decoder(ChatCompletionResponse).decode
_peek = msgspec.json.Decoder(Envelope).decode
_decode_choices = msgspec.json.Decoder(Choices | None).decode
_fields_decoder = msgspec.json.Decoder(dict[str, Raw])
_decode_fields = _fields_decoder.decode
_encoder = msgspec.json.Encoder(enc_hook=_refuse)
_encode = _encoder.encode
_encode_into = _encoder.encode_into
_UTC = timezone.utc


@overload
def decode(buf: Buffer) -> ChatCompletionResponse: ...
@overload
def decode(buf: Buffer, type: type[T]) -> T: ...
def decode(buf: Buffer, type: Any = ChatCompletionResponse) -> Any:
    """Decode one message, all of it checked against `type`.

    Fields that the type does not know are ignored; the last of duplicate keys wins.

    Raises:
        msgspec.DecodeError: `buf` is not one JSON text; nesting beyond Python's recursion limit included.
        msgspec.ValidationError: it is, and does not fit `type`.

    >>> decode(b'{"sessionId":"s-1","cost":0.25}').session_id
    's-1'
    """
    try:
        if type is ChatCompletionResponse:
            return _decode(buf)
        return msgspec.json.decode(buf, type=type)
    except Exception as error:
        raise_decode_error(error)


def peek(buf: Buffer) -> Envelope:
    """Decode one message but its choices, which are left as a view into `buf`.

    The six other fields are checked; of the choices the syntax alone. The view keeps `buf` alive and shows
    what its owner writes there later.

    Raises:
        msgspec.DecodeError: `buf` is not one JSON text.
        msgspec.ValidationError: it is, and one of the six fields has the wrong type.

    >>> peek(b'{"choices":[{"index":0}],"cost":0.25}').cost
    0.25
    """
    try:
        return _peek(buf)
    except Exception as error:
        raise_decode_error(error)


def decode_choices(view: Buffer) -> Choices | None:
    """Decode the choices of an envelope from `peek`; ``None`` where they are absent or null.

    Raises:
        msgspec.DecodeError: the text in them is no UTF-8, or they are nested beyond Python's recursion limit.
        msgspec.ValidationError: they are not a list of objects.

    >>> decode_choices(peek(b'{"choices":[{"index":0}]}').choices)
    [{'index': 0}]
    """
    try:
        return _decode_choices(view) if view else None
    except Exception as error:
        raise_decode_error(error)


def encode(response: Struct) -> bytes:
    """Encode `response` as one line of JSON, without fields that are ``None``.

    NaN and infinities become null, binary becomes base64 text, and a timestamp whose offset has seconds in it
    is written in UTC.

    Raises:
        msgspec.EncodeError: it holds a cycle, a lone surrogate, a MessagePack extension, or a timestamp without
            an offset.
        TypeError: it holds an object of a type that has no encoding, or is an `Envelope`.

    >>> encode(ChatCompletionResponse(session_id="s-1", cost=0.25))
    b'{"sessionId":"s-1","cost":0.25}'
    """
    try:
        # A record in UTC, as decoded ones are, needs no look by writable(): 28 ns against 250.
        if response.__class__ is not ChatCompletionResponse or (
            (timestamp := response.timestamp) is not None  # pyright: ignore[reportAttributeAccessIssue]
            and timestamp.tzinfo is not _UTC
        ):
            response = writable(response)
        return _encode(response)
    except Exception as error:
        raise_encode_error(error)


def encode_into(response: Struct, buffer: bytearray, offset: int = 0) -> None:
    """Encode `response` into `buffer` from `offset` on, and cut the buffer behind it.

    An offset of -1 is the buffer's end. When it raises, nothing before `offset` has changed.

    Raises:
        msgspec.EncodeError: as in `encode`.
        TypeError: as in `encode`.
        ValueError: `offset` is beyond the buffer's end, or below -1.

    >>> buffer = bytearray(b"data: ")
    >>> encode_into(ChatCompletionResponse(cost=0.25), buffer, 6)
    >>> buffer
    bytearray(b'data: {"cost":0.25}')
    """
    size = len(buffer)
    if not -1 <= offset <= size:
        raise offset_error(offset, size)
    try:
        if response.__class__ is not ChatCompletionResponse or (
            (timestamp := response.timestamp) is not None  # pyright: ignore[reportAttributeAccessIssue]
            and timestamp.tzinfo is not _UTC
        ):
            response = writable(response)
        if offset:
            _encode_into(response, buffer, offset)
        else:
            _encode_into(response, buffer)  # with an offset of 0 it makes the buffer short first: 110 ns
    except Exception as error:
        del buffer[size:]
        raise_encode_error(error)


patch = make_patch(_decode_fields, _encode)
