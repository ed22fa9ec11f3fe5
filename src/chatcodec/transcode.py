"""Convert single messages between JSON and MessagePack, including the fields that the record does not define.

The known fields are checked as `decode` checks them, of duplicate keys the last; unknown fields and the order are kept.
The message is decoded once. Both functions raise only `msgspec.DecodeError` (`msgspec.ValidationError`) for bad input
and `msgspec.EncodeError` for what the other format cannot hold, never quote data, and are safe to call from many
threads.

To read a field as well, call `chatcodec.msgpack.peek` on the MessagePack side: it costs a fraction of a
`chatcodec.json.peek`, because MessagePack values are skipped by their lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ._errors import decode_error, encode_error
from ._patch import JSON, MSGPACK
from ._record import ChatCompletionResponse

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ._codec import Codec

__all__ = ["json_to_msgpack", "msgpack_to_json"]

_NOT_HELD = "a value or key is of a kind that the format cannot hold"


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
    return _transcoded(buf, msgspec.json, JSON, msgspec.msgpack)


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
    return _transcoded(buf, msgspec.msgpack, MSGPACK, msgspec.json)


def _transcoded(buf: Buffer, source: Any, codec: Codec, target: Any) -> bytes:
    """Convert a message from the format `source`, whose codec is `codec`, to the format `target`."""
    try:
        fields = source.decode(buf)
        timestamp = msgspec.convert(fields, ChatCompletionResponse).timestamp
    except Exception as error:
        if not (isinstance(error, msgspec.ValidationError) or "hashable" in str(error)):
            raise decode_error(error, buf)
        codec.decode(buf)  # raises what is wrong with the record, with the path to it
        raise msgspec.EncodeError(_NOT_HELD) from None
    if timestamp is not None:
        fields["timestamp"] = timestamp
    try:
        return target.encode(fields)  # type: ignore[no-any-return]
    except TypeError:
        # It was decoded from one format, so it is the other one that cannot hold it.
        raise msgspec.EncodeError(_NOT_HELD) from None
    except Exception as error:
        raise encode_error(error)
