"""Chat-completion responses on the wire: a typed record, two codecs, two stream framings, on msgspec alone.

The record is `ChatCompletionResponse`, or `Envelope` while its choices need not be decoded.

- `chatcodec.json`, `chatcodec.msgpack`: one message at a time, the same functions in both.
- `chatcodec.transcode`: from one format to the other.
- `chatcodec.ndjson`, `chatcodec.frames`: streams of JSON lines and of MessagePack frames, the same names in both.

Bad input raises `DecodeError`, `ValidationError` or `RecordError`; what cannot be written raises `EncodeError`.
"""

from msgspec import DecodeError, EncodeError, ValidationError

from . import frames, json, msgpack, ndjson, transcode
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
    "transcode",
]
