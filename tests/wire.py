"""The one table of wire cases, and the strategies for records and hostile input that the tests share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
from hypothesis import strategies as st

import chatcodec
from chatcodec import ChatCompletionResponse

UTC = timezone.utc


class Priced(ChatCompletionResponse):
    """A record with a field of the user's own."""

    currency: str = "EUR"


@dataclass(frozen=True)
class Case:
    """A record, and the bytes that it is in each format."""

    name: str
    record: ChatCompletionResponse
    json: bytes
    msgpack: bytes

    def encoded(self, codec: Any) -> bytes:
        return self.json if codec is chatcodec.json else self.msgpack


CASES = [
    Case("empty", ChatCompletionResponse(), b"{}", b"\x80"),
    Case(
        "all fields, in the order of the wire",
        ChatCompletionResponse(
            timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            generation_id="g",
            session_id="s",
            choices=[{"index": 0}],
            stream=False,
            cost=0.5,
            latency=2.0,
        ),
        b'{"timestamp":"2026-01-02T03:04:05Z","generationId":"g","sessionId":"s","choices":[{"index":0}],'
        b'"stream":false,"cost":0.5,"latency":2.0}',
        b"\x87\xa9timestamp\xd6\xff\x69\x57\x35\xa5\xacgenerationId\xa1g\xa9sessionId\xa1s"
        b"\xa7choices\x91\x81\xa5index\x00\xa6stream\xc2"
        b"\xa4cost\xcb\x3f\xe0\0\0\0\0\0\0\xa7latency\xcb\x40\0\0\0\0\0\0\0",
    ),
    Case(
        "microseconds, before 1970",
        ChatCompletionResponse(timestamp=datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC)),
        b'{"timestamp":"1969-12-31T23:59:59.500000Z"}',
        b"\x81\xa9timestamp\xc7\x0c\xff\x1d\xcd\x65\x00\xff\xff\xff\xff\xff\xff\xff\xff",
    ),
    Case(
        "the last second of the year 9999",
        ChatCompletionResponse(timestamp=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        b'{"timestamp":"9999-12-31T23:59:59Z"}',
        b"\x81\xa9timestamp\xc7\x0c\xff\0\0\0\0\x00\x00\x00\x3a\xff\xf4\x41\x7f",
    ),
    Case(
        "text beyond ASCII, separators of other standards, and controls",
        ChatCompletionResponse(generation_id="é漢😀\u2028\u2029\x85\x0b\x0c\x00\r\n"),
        '{"generationId":"é漢😀\u2028\u2029\x85\\u000b\\f\\u0000\\r\\n"}'.encode(),
        b"\x81\xacgenerationId\xb6" + "é漢😀\u2028\u2029\x85\x0b\x0c\x00\r\n".encode(),
    ),
    Case("no choices", ChatCompletionResponse(choices=[]), b'{"choices":[]}', b"\x81\xa7choices\x90"),
    Case(
        "values of every kind in choices",
        ChatCompletionResponse(choices=[{"a": None, "b": [True, -1, 2**63], "c": {"d": 1.5}}, {}]),
        b'{"choices":[{"a":null,"b":[true,-1,9223372036854775808],"c":{"d":1.5}},{}]}',
        b"\x81\xa7choices\x92\x83\xa1a\xc0\xa1b\x93\xc3\xff\xcf\x80\0\0\0\0\0\0\0\xa1c\x81\xa1d\xcb\x3f\xf8\0\0\0\0\0\0\x80",
    ),
]

CODECS = [chatcodec.json, chatcodec.msgpack]

# From CPython 3.14 on the stack's own size is the limit: 100,000 levels that are only looked through fit into 8 MiB.
DEEP = 1_000_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# Whole minutes: RFC 3339 has no seconds in offsets.
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.one_of(st.just(UTC), offsets))
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
optional_fields: dict[str, st.SearchStrategy[Any]] = {
    "timestamp": instants,
    "generation_id": texts,
    "session_id": texts,
    "choices": st.lists(st.dictionaries(texts, values, max_size=3), max_size=3),
    "stream": st.booleans(),
    "cost": floats,
    "latency": floats,
}
WIRE = ChatCompletionResponse.__struct_encode_fields__
unknown_fields = st.dictionaries(texts.filter(lambda name: name not in WIRE), values, max_size=3)
changes = st.fixed_dictionaries({}, optional={name: st.none() | field for name, field in optional_fields.items()})
records = changes.map(lambda fields: ChatCompletionResponse(**fields))


def bare(codec: Any) -> Any:
    """Return msgspec's own codec of the same format."""
    return msgspec.json if codec is chatcodec.json else msgspec.msgpack


def raw(codec: Any, **fields: Any) -> bytes:
    """Encode fields by their wire names, whatever their types."""
    encoded: bytes = bare(codec).encode(fields)
    return encoded


def without(field: str) -> ChatCompletionResponse:
    record = ChatCompletionResponse()
    delattr(record, field)
    return record


@st.composite
def hostile(draw: st.DrawFn, codec: Any) -> bytes:
    """Draw bytes that are a message of `codec`, a damaged one, or nothing of the kind."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=40))
    message = bytearray(codec.encode(draw(records)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message)))
        message[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(message)


def nested(codec: Any, depth: int) -> bytes:
    """Return a message whose choices are nested that deep."""
    inner = b"[" * depth + b"]" * depth if codec is chatcodec.json else b"\x91" * (depth - 1) + b"\x90"
    key = b'{"choices":[{"a":' if codec is chatcodec.json else b"\x81\xa7choices\x91\x81\xa1a"
    return key + inner + (b"}]}" if codec is chatcodec.json else b"")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type at every level: 1, 1.0 and True are three things."""
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and same(msgspec.structs.asdict(one), msgspec.structs.asdict(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and (one, math.copysign(1, one)) == (other, math.copysign(1, other))
    return type(one) is type(other) and bool(one == other)
