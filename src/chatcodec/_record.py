"""The record in its two forms: fully decoded, and as an envelope around undecoded choices."""

from datetime import datetime, timezone
from typing import Annotated, Any, cast

from msgspec import EncodeError, Meta, Raw, Struct, structs

# Absent, and null in JSON and in MessagePack.
ABSENT_OR_NULL = (b"", b"null", b"\xc0")

# The only datetime class that msgspec encodes. In a tuple, because freezegun rebinds the name `datetime` in modules.
DATETIME = (datetime,)

# The `tzinfo` of a decoded time in UTC.
UTC = timezone.utc

# At the other end this field is a JavaScript Date, an instant; a time without an offset does not identify one.
Instant = Annotated[datetime, Meta(tz=True)]
Choices = list[dict[str, Any]]


class ChatCompletionResponse(Struct, rename="camel", kw_only=True, omit_defaults=True):
    """One chat-completion response, or one chunk of a streamed one.

    Absent and ``null`` both read as ``None``, and ``None`` is never written. Subclasses may add fields.

    >>> ChatCompletionResponse(generation_id="g-1", cost=0.25).cost
    0.25
    """

    timestamp: Instant | None = None
    """When the response was made, with an offset."""
    generation_id: str | None = None
    """The generation's id (``generationId`` on the wire)."""
    session_id: str | None = None
    """The session's id (``sessionId`` on the wire)."""
    choices: Choices | None = None
    """The completions, as the provider sent them."""
    stream: bool | None = None
    """Whether it belongs to a streamed response."""
    cost: float | None = None
    """What the generation cost, in the provider's currency."""
    latency: float | None = None
    """How long it took, in milliseconds."""


# No field of an envelope can refer back to it, so it is never part of a cycle and the garbage collector can ignore it.
class Envelope(Struct, rename="camel", kw_only=True, omit_defaults=True, gc=False):
    """A response whose ``choices`` and ``error`` are left as they were received.

    Both are views: they keep the received buffer alive, and later writes to it show in them. Call ``.copy()`` on a view
    to detach it. The view of an absent field is empty, that of a null field is the encoded null. Decode ``choices``
    with the ``decode_choices`` of the format it came in. `encode` rejects an envelope, and you should not encode an
    object that holds one either: a view of one format could end up in a message of the other.

    Providers report failures in ``error``, often with status 200 and in the middle of a stream.
    `ChatCompletionResponse`, whose fields are all optional, reads such a message as an empty record. The other fields
    are those of `ChatCompletionResponse`.

    The garbage collector ignores envelopes. Declare a subclass with ``gc=True`` if one of its fields can hold a
    reference back to it.

    >>> from chatcodec import json
    >>> envelope = json.peek(b'{"cost":0.25,"choices":[{"index":0}]}')
    >>> envelope.cost, bytes(envelope.choices), envelope.failed
    (0.25, b'[{"index":0}]', False)
    >>> json.peek(b'{"error":{"message":"overloaded"}}').failed
    True
    """

    timestamp: Instant | None = None
    """When the response was made, with an offset."""
    generation_id: str | None = None
    """The generation's id (``generationId`` on the wire)."""
    session_id: str | None = None
    """The session's id (``sessionId`` on the wire)."""
    choices: Raw = Raw()
    """The completions, undecoded: a view of the received bytes."""
    stream: bool | None = None
    """Whether it belongs to a streamed response."""
    cost: float | None = None
    """What the generation cost, in the provider's currency."""
    latency: float | None = None
    """How long it took, in milliseconds."""
    error: Raw = Raw()
    """What a provider reported in place of a completion, undecoded: a view of the received bytes."""

    @property
    def failed(self) -> bool:
        """Whether the message has a top-level ``error`` that is not null."""
        error: Any = self.error  # a subclass may have given it another type
        return bytes(error) not in ABSENT_OR_NULL if isinstance(error, Raw) else error is not None


def writable(response: Struct) -> Struct:
    """Return `response`, or an equal record that can be encoded.

    Raises `TypeError` for an envelope or a record whose timestamp is not a datetime, and `EncodeError` for a timestamp
    without an offset.
    """
    if isinstance(response, Envelope):
        message = "an Envelope is for reading: its choices are a view of one format, so decode it whole to encode it"
        raise TypeError(message)
    timestamp = getattr(response, "timestamp", None)
    # A Struct that is not a record may have a `timestamp` of any type.
    if timestamp is None or not (isinstance(response, ChatCompletionResponse) or isinstance(timestamp, datetime)):
        return response
    instant = writable_time(timestamp)
    if instant is not timestamp:
        # structs.replace() would run the type's __post_init__ again, and importing `copy` would slow down every start.
        response = cast("Any", response).__copy__()
        structs.force_setattr(response, "timestamp", instant)
    return response


def writable_time(timestamp: object) -> datetime:
    """Return `timestamp`, or the same time in a form that msgspec and RFC 3339 can represent.

    Raises `TypeError` if it is not a datetime, and `EncodeError` if it has no offset.
    """
    # pandas.NaT is a datetime whose year is NaN.
    if not isinstance(timestamp, datetime) or type(timestamp.year) is not int:
        message = f"timestamp: Expected `datetime`, got `{type(timestamp).__name__}`"
        raise TypeError(message)
    offset = timestamp.utcoffset()
    if offset is None:
        message = "timestamp has no offset"
        raise EncodeError(message)
    # RFC 3339, section 5.6: an offset is hours and minutes. Before about 1930, many zones have seconds too.
    if offset.seconds % 60 or offset.microseconds:
        timestamp = timestamp.astimezone(UTC)
    if timestamp.__class__ not in DATETIME:  # a subclass (pandas, pendulum, freezegun), which msgspec does not encode
        timestamp = DATETIME[0].combine(timestamp.date(), timestamp.timetz())
    return timestamp
