"""The record, in its two forms: decoded whole, and as an envelope around undecoded choices."""

from datetime import datetime, timezone
from typing import Annotated, Any, cast

from msgspec import EncodeError, Meta, Raw, Struct, structs

# Absent, and null in JSON and in MessagePack.
ABSENT_OR_NULL = (b"", b"null", b"\xc0")

# The only class of times that msgspec writes. In a tuple, because freezegun replaces the name `datetime` in modules.
DATETIME = (datetime,)

# What the time zone of a decoded time in UTC is.
UTC = timezone.utc

# On the other side this field is a JavaScript Date, an instant, which a time without an offset does not name.
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


# Without references back to itself an envelope cannot be part of a cycle, so the garbage collector can ignore it.
class Envelope(Struct, rename="camel", kw_only=True, omit_defaults=True, gc=False):
    """A response whose ``choices`` and ``error`` are left as they were received.

    Both are views: they keep the received buffer alive, and show what is later written into it. Call ``.copy()`` on a
    view to detach it. A view is empty where its field is absent, and the encoded null where it is null. Decode
    ``choices`` with the ``decode_choices`` of the format it came in. An envelope cannot be encoded, nor what holds one:
    a view of one format would be spliced into the other.

    Providers report failures in ``error``, often with status 200 and in the middle of a stream.
    `ChatCompletionResponse`, whose fields are all optional, reads such a message as an empty record. The other fields
    are those of `ChatCompletionResponse`.

    The garbage collector ignores envelopes. A subclass with a field that can hold a reference back to it is declared
    with ``gc=True``.

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
        error: Any = self.error  # of a type of the user's, in a subclass that has one
        return bytes(error) not in ABSENT_OR_NULL if isinstance(error, Raw) else error is not None


def writable(response: Struct) -> Struct:
    """Return `response`, or an equal record that the wire can hold.

    Raises `TypeError` for an envelope and for a record's timestamp that is not a datetime, and `EncodeError` for a
    timestamp without an offset.
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
        # structs.replace() would run the type's __post_init__ again, and to import `copy` would slow every start.
        response = cast("Any", response).__copy__()
        structs.force_setattr(response, "timestamp", instant)
    return response


def writable_time(timestamp: object) -> datetime:
    """Return `timestamp`, or the same time as msgspec and RFC 3339 can hold it.

    Raises `TypeError` for what is not a datetime, and `EncodeError` for a time without an offset.
    """
    # pandas.NaT is a datetime without a year.
    if not isinstance(timestamp, datetime) or type(timestamp.year) is not int:
        message = f"timestamp: Expected `datetime`, got `{type(timestamp).__name__}`"
        raise TypeError(message)
    offset = timestamp.utcoffset()
    if offset is None:
        message = "timestamp has no offset"
        raise EncodeError(message)
    # RFC 3339 section 5.6: an offset is hours and minutes. Zones before about 1930 have seconds in theirs.
    if offset.seconds % 60 or offset.microseconds:
        timestamp = timestamp.astimezone(UTC)
    return timestamp if timestamp.__class__ in DATETIME else _plain(timestamp)


def _plain(time: datetime) -> datetime:
    """Return a time of a subclass (of pandas, pendulum, freezegun), which msgspec does not write, as a datetime."""
    return DATETIME[0](
        time.year, time.month, time.day, time.hour, time.minute, time.second, time.microsecond, time.tzinfo,
        fold=time.fold,
    )  # fmt: skip
