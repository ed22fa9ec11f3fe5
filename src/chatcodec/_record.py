"""The record, in its two forms: decoded whole, and as an envelope around undecoded choices."""

from datetime import datetime, timezone
from typing import Annotated, Any

from msgspec import EncodeError, Meta, Raw, Struct, structs

# JavaScript's Date, which is what stands behind this field on the other side, is an instant:
# a time without an offset does not name one.
Instant = Annotated[datetime, Meta(tz=True)]


class ChatCompletionResponse(Struct, rename="camel", kw_only=True, omit_defaults=True):
    """One chat-completion response, or one chunk of a streamed one.

    Absent and ``null`` both read as ``None``, and ``None`` is never written. Subclasses may add fields.

    Attributes:
        timestamp: when the response was made, with an offset.
        generation_id: the generation's id (``generationId`` on the wire).
        session_id: the session's id (``sessionId`` on the wire).
        choices: the completions, as the provider sent them.
        stream: whether it belongs to a streamed response.
        cost: what the generation cost, in the provider's currency.
        latency: how long it took, in milliseconds.

    >>> ChatCompletionResponse(generation_id="g-1", cost=0.25).cost
    0.25
    """

    timestamp: Instant | None = None
    generation_id: str | None = None
    session_id: str | None = None
    choices: list[dict[str, Any]] | None = None
    stream: bool | None = None
    cost: float | None = None
    latency: float | None = None


# Without references back to itself an envelope cannot be part of a cycle, so the collector need not know it.
class Envelope(Struct, rename="camel", kw_only=True, omit_defaults=True, gc=False):
    """A response whose ``choices`` are left as they were received.

    ``choices`` is a view: it keeps the received buffer alive, and shows what is later written into it.
    ``envelope.choices.copy()`` ends both. It is empty where the field is absent, and the encoded null where
    it is null. Decode it with the ``decode_choices`` of the format it came in. An envelope cannot be encoded.

    The other fields are those of `ChatCompletionResponse`.

    >>> from chatcodec import json
    >>> envelope = json.peek(b'{"cost":0.25,"choices":[{"index":0}]}')
    >>> envelope.cost, bytes(envelope.choices)
    (0.25, b'[{"index":0}]')
    """

    timestamp: Instant | None = None
    generation_id: str | None = None
    session_id: str | None = None
    choices: Raw = Raw()
    stream: bool | None = None
    cost: float | None = None
    latency: float | None = None


def writable(response: Struct) -> Struct:
    """Return `response`, or its equal that the wire can hold.

    Raises `TypeError` for an envelope, and `EncodeError` for a timestamp without an offset.
    """
    if isinstance(response, Envelope):
        message = "an Envelope is for reading: its choices are a view of one format, so decode it whole to encode it"
        raise TypeError(message)
    timestamp = getattr(response, "timestamp", None)
    if isinstance(timestamp, datetime):
        instant = writable_time(timestamp)
        if instant is not timestamp:
            return structs.replace(response, timestamp=instant)
    return response


def writable_time(timestamp: datetime) -> datetime:
    """Return `timestamp`, or the same instant in UTC where RFC 3339 cannot hold its offset.

    Raises `EncodeError` for a time without an offset.
    """
    offset = timestamp.utcoffset()
    if offset is None:
        message = "timestamp has no offset"
        raise EncodeError(message)
    # RFC 3339 section 5.6: an offset is hours and minutes. Zones before about 1930 have seconds in theirs.
    if offset.seconds % 60 or offset.microseconds:
        return timestamp.astimezone(timezone.utc)
    return timestamp
