"""Convert single messages between JSON and MessagePack, including the fields that the record does not define.

The known fields are checked as `decode` checks them, of duplicate keys the last; unknown fields and the order are kept.
The message is decoded once. Both functions raise only `msgspec.DecodeError` (`msgspec.ValidationError`) for bad input
and `msgspec.EncodeError` for what the other format cannot hold, never quote data, and are safe to call from many
threads.

To read a field as well, call `chatcodec.msgpack.peek` on the MessagePack side: it costs a fraction of a
`chatcodec.json.peek`, because MessagePack values are skipped by their lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import msgspec

from . import json, msgpack
from ._errors import raise_decode_error, raise_encode_error, unsupported
from ._record import ChatCompletionResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

__all__ = ["json_to_msgpack", "msgpack_to_json"]

_NOT_HELD = "a value or key is of a kind that the format cannot hold"

_decode_json = msgspec.json.Decoder().decode
_decode_msgpack = msgspec.msgpack.Decoder().decode
_encode_json = msgspec.json.Encoder(enc_hook=unsupported).encode
_encode_msgpack = msgspec.msgpack.Encoder().encode


def json_to_msgpack(buf: Buffer) -> bytes:
    r"""Convert a JSON message to MessagePack.

    `timestamp` becomes the timestamp extension. Times elsewhere remain text.

    Raises:
        msgspec.DecodeError: `buf` is not one JSON text, or text in it is not UTF-8.
        msgspec.ValidationError: it is well-formed, but does not fit `ChatCompletionResponse`.
        msgspec.EncodeError: it holds an integer beyond 64 bits.
        TypeError: `buf` is not a buffer.
        ValueError: `buf` is closed or released.
        BufferError: `buf` is not C-contiguous.

    >>> json_to_msgpack(b'{"stream":true,"region":"eu"}')
    b'\x82\xa6stream\xc3\xa6region\xa2eu'
    """
    try:
        fields = _decode_json(buf)
        timestamp = msgspec.convert(fields, ChatCompletionResponse).timestamp
    except Exception as error:
        _raise_not_decoded(error, json.decode, buf)
    if timestamp is not None:
        fields["timestamp"] = timestamp
    try:
        return _encode_msgpack(fields)
    except Exception as error:
        _raise_not_held(error)


def msgpack_to_json(buf: Buffer) -> bytes:
    r"""Convert a MessagePack message to JSON.

    Binary becomes base64 text, times and numeric keys become text, and NaN and infinities become null.

    Raises:
        msgspec.DecodeError: `buf` is not one MessagePack value, or text in it is not UTF-8.
        msgspec.ValidationError: it is well-formed, but does not fit `ChatCompletionResponse`.
        msgspec.EncodeError: it holds an extension, or a key that is not text, binary, a time or a number.
        TypeError: `buf` is not a buffer.
        ValueError: `buf` is closed or released.
        BufferError: `buf` is not C-contiguous.

    >>> msgpack_to_json(b"\x82\xa6stream\xc3\xa6region\xa2eu")
    b'{"stream":true,"region":"eu"}'
    """
    try:
        fields = _decode_msgpack(buf)
        msgspec.convert(fields, ChatCompletionResponse)
    except Exception as error:
        _raise_not_decoded(error, msgpack.decode, buf)
    try:
        return _encode_json(fields)
    except Exception as error:
        _raise_not_held(error)


def _raise_not_decoded(error: Exception, decode: Callable[[Buffer], object], buf: Buffer) -> NoReturn:
    """Raise what is wrong with the record in `buf`, or `EncodeError` if only an unknown field cannot be converted."""
    if isinstance(error, msgspec.ValidationError) or "hashable" in str(error):
        decode(buf)
        raise msgspec.EncodeError(_NOT_HELD) from None
    try:
        raise_decode_error(error, buf)
    finally:
        del error


def _raise_not_held(error: Exception) -> NoReturn:
    """Raise `error` as an `EncodeError`."""
    if isinstance(error, TypeError):
        # It was decoded from one format, so it is the other one that cannot hold it.
        raise msgspec.EncodeError(_NOT_HELD) from None
    try:
        raise_encode_error(error)
    finally:
        del error
