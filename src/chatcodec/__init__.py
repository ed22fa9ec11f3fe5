"""Chat-completion responses on the wire: a typed record, two codecs, three stream framings, on msgspec alone.

The record is `ChatCompletionResponse`, or `Envelope` if its choices need not be decoded.

- `chatcodec.json`, `chatcodec.msgpack`: one message at a time, the same functions in both.
- `chatcodec.transcode`: conversion from one format to the other.
- `chatcodec.ndjson`, `chatcodec.frames`, `chatcodec.sse`: streams of JSON lines, MessagePack frames and server-sent
  events, with the same names in all three. `chatcodec.Framing` is the protocol they implement.
- `chatcodec.media_types`: values for `Content-Type`.

Bad input raises `DecodeError`, `ValidationError` or `RecordError`, and a broken stream `StreamError`; a value that
cannot be encoded raises `EncodeError` or `TypeError`.
"""

from msgspec import DecodeError, EncodeError, ValidationError

from . import frames, json, media_types, msgpack, ndjson, sse, transcode
from ._errors import RecordError, StreamError
from ._framing import Framing
from ._record import ChatCompletionResponse, Envelope

__all__ = [
    "ChatCompletionResponse",
    "DecodeError",
    "EncodeError",
    "Envelope",
    "Framing",
    "RecordError",
    "StreamError",
    "ValidationError",
    "frames",
    "json",
    "media_types",
    "msgpack",
    "ndjson",
    "sse",
    "transcode",
]

__version__ = "0.2.0"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
