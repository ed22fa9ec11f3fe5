"""Chat-completion responses on the wire: a typed record, two codecs, three stream framings, on msgspec alone.

The record is `ChatCompletionResponse`, or `Envelope` while its choices need not be decoded.

- `chatcodec.json`, `chatcodec.msgpack`: one message at a time, the same functions in both.
- `chatcodec.transcode`: from one format to the other.
- `chatcodec.ndjson`, `chatcodec.frames`, `chatcodec.sse`: streams of JSON lines, of MessagePack frames and of
  server-sent events, the same names in all three.

Bad input raises `DecodeError`, `ValidationError` or `RecordError`; what cannot be written raises `EncodeError`.
"""

from msgspec import DecodeError, EncodeError, ValidationError

from . import frames, json, msgpack, ndjson, sse, transcode
from ._errors import RecordError
from ._record import ChatCompletionResponse, Envelope

__all__ = [
    "ChatCompletionResponse",
    "DecodeError",
    "EncodeError",
    "Envelope",
    "RecordError",
    "ValidationError",
    "frames",
    "json",
    "msgpack",
    "ndjson",
    "sse",
    "transcode",
]
