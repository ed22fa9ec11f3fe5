"""Whatever is passed to a codec: only documented exceptions come out, and they give the true reason."""

from __future__ import annotations

import ctypes
import io
import itertools
import math
import mmap
import pickle
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec import DecodeError, EncodeError, ValidationError

from chatcodec import ChatCompletionResponse, Envelope, json, msgpack, transcode

from .hostility import readers
from .support import FRAMINGS_OF, STREAMS, Framing, released_view
from .wire import UTC, Priced, raw


def closed_map() -> mmap.mmap:
    mapped = mmap.mmap(-1, 16)
    mapped.close()
    return mapped


def with_gaps() -> memoryview:
    return memoryview(b"{ } x ")[::2]


def all_readers(codec: Any) -> list[Callable[[Any], Any]]:
    """Return every function of a codec that reads a buffer, with that buffer as its only argument."""
    more = [partial(codec.decode, type=msgspec.Raw), partial(codec.patch, cost=1.0), codec.stamp]
    return [*readers(codec), *more, partial(codec.stamp, session_id="s", extra={"a": None})]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        *((make, ValueError) for make in (closed_map, released_view)),
        *((make, BufferError) for make in (with_gaps, lambda: memoryview(b"}{")[::-1])),
        (lambda: pytest.importorskip("numpy").zeros((2, 3), "u1", order="F"), BufferError),
    ],
)
def test_a_buffer_that_cannot_be_read_is_the_callers_mistake(codec: Any, make: Any, error: Any) -> None:
    bad: list[Any] = []
    stamps = [lambda buffer, of=stream: of.stamp([buffer], on_error=bad.append) for stream in STREAMS[codec]]
    for read in [*all_readers(codec), *stamps]:
        with pytest.raises(error, match=r"closed|released|contiguous") as caught:
            read(make())
        assert not isinstance(caught.value, msgspec.MsgspecError)
    assert bad == []


def test_an_integer_beyond_a_float_is_out_of_range() -> None:
    message = b'{"cost":1' + b"0" * 400 + b"}"
    for read in (json.decode, json.peek, json.stamp, transcode.json_to_msgpack):
        with pytest.raises(ValidationError, match="out of range"):
            read(message)


# Half a surrogate pair

HALVES = [
    *(b'{"sessionId":"\\ud83d"}', b'{"sessionId":"\\uD83D"}', b'{"sessionId":"\\ude00"}', b'{"\\ud83d":1}'),
    *(b'{"sessionId":"a\\ud83d","cost":1}', b'{"sessionId":"\\\\\\ud83d"}', b'{"sessionId":"\\ud83d\\n"}'),
    *(b'{"sessionId":"\\ud83dabcdefgh"}', b'{"sessionId":"\\ud83d\\u0041"}', b'{"sessionId":"\\ud83d\\ud83d"}'),
    *(b'{"unknown":"\\ud83d"}', b'{"unknown":["\\ud83d x"],"cost":1}'),
    b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
]


@pytest.mark.parametrize("message", HALVES)
def test_half_a_surrogate_pair_is_reported_as_such(message: bytes) -> None:
    for read, kind in itertools.product(all_readers(json), (bytes, bytearray, memoryview, msgspec.Raw)):
        with pytest.raises(DecodeError, match=r"^a string holds half a surrogate pair$"):
            read(kind(message))
    for framing in FRAMINGS_OF[json]:
        stream, framed = framing.stream, framing.frame(message)
        for call in (partial(stream.StreamDecoder().feed, framed), partial(stream.stamp, [message], cost=1.0)):
            with pytest.raises(DecodeError, match=r"half a surrogate pair$"):
                call()
        assert stream.StreamDecoder(bytes).feed(framed) == [message]


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        *((json, b'{"sessionId":"' + text) for text in (b"\\ud83d\\ude00", b'\\\\ud83d"', b'\\\\\\\\ud83d"')),
        (msgpack, raw(msgpack, sessionId='\\ud83d"}', generationId='\\ud83d"}')[:-1]),
    ],
)
def test_a_message_that_is_cut_is_reported_as_truncated(codec: Any, message: bytes) -> None:
    for end in range(len(message) + 1):
        for read in all_readers(codec):
            with pytest.raises(DecodeError, match="truncated"):
                read(message[:end])


# Times

NO_TIMES = ["2024-01-02T03:04:05Z", "", 0, 1.5, date(2026, 1, 2), time(1, tzinfo=UTC), b"", [], timedelta(1), object()]
WITH_SECONDS = timezone(timedelta(minutes=19, seconds=32))
Frozen: Any = msgspec.defstruct("Frozen", [], bases=(ChatCompletionResponse,), frozen=True)


def writers(codec: Any, timestamp: Any) -> list[Callable[[], Any]]:
    """Return every way to write a timestamp."""
    return [
        *(lambda of=of: codec.encode(of(timestamp=timestamp)) for of in (ChatCompletionResponse, Priced, Frozen)),
        lambda: codec.encode_into(ChatCompletionResponse(timestamp=timestamp), bytearray()),
        *(partial(set_field, raw(codec), timestamp=timestamp) for set_field in (codec.patch, codec.stamp)),
        *(partial(one.stamp, many, timestamp=timestamp) for one in STREAMS[codec] for many in ([raw(codec)], [])),
        *(partial(one.encode, [ChatCompletionResponse(timestamp=timestamp)]) for one in STREAMS[codec]),
    ]


def check_no_time(codec: Any, timestamp: Any) -> None:
    text = f"^(record 1: )?timestamp: Expected `datetime`, got `{type(timestamp).__name__}`$"
    for write in writers(codec, timestamp):
        with pytest.raises(TypeError, match=text):
            write()


@pytest.mark.parametrize("timestamp", NO_TIMES)
def test_a_timestamp_of_a_wrong_type_is_a_type_error_that_names_the_field(codec: Any, timestamp: Any) -> None:
    check_no_time(codec, timestamp)


def test_the_missing_time_of_pandas_is_a_timestamp_of_a_wrong_type(codec: Any) -> None:
    check_no_time(codec, pytest.importorskip("pandas").NaT)


def test_a_time_without_an_offset_is_an_encode_error(codec: Any) -> None:
    for write in writers(codec, datetime(2026, 1, 2)):
        with pytest.raises(EncodeError, match=r"timestamp has no offset$"):
            write()


Tagged = type("Tagged", (datetime,), {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: datetime(1900, 1, 2, tzinfo=WITH_SECONDS),
        lambda: Tagged(1900, 1, 2, tzinfo=WITH_SECONDS),
        lambda: Tagged(2026, 1, 2, 3, 4, 5, 6, UTC),
        lambda: Tagged(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        lambda: pytest.importorskip("pandas").Timestamp("2026-01-02T03:04:05.000006Z"),
        lambda: pytest.importorskip("pandas").Timestamp("2026-01-02T03:04:05", tz="Europe/Berlin"),
        lambda: pytest.importorskip("pendulum").datetime(2026, 1, 2, 3, 4, 5, 6),
        lambda: pytest.importorskip("pendulum").datetime(2026, 1, 2, tz="Europe/Berlin"),
    ],
)
def test_an_instance_of_a_subclass_of_datetime_is_written_as_a_plain_datetime(codec: Any, make: Any) -> None:
    written = make()
    expected = codec.encode(ChatCompletionResponse(timestamp=datetime.fromisoformat(written.isoformat())))
    record = ChatCompletionResponse(timestamp=written)
    codec.encode_into(record, buffer := bytearray())
    assert buffer == codec.encode(record) == codec.encode(Frozen(timestamp=written)) == expected
    assert codec.patch(raw(codec), timestamp=written) == codec.stamp(raw(codec), timestamp=written)[1] == expected
    for stream in STREAMS[codec]:
        assert stream.encode([record]) == stream.encode([expected])


def test_times_are_written_while_freezegun_is_active() -> None:
    freezegun = pytest.importorskip("freezegun")
    real = datetime(2026, 1, 2, tzinfo=UTC)
    with freezegun.freeze_time("2026-01-02"):
        assert datetime is not type(real)  # it is replaced in every module
        for now in (real, datetime.now(UTC), datetime.now(timezone(timedelta(hours=1)))):
            assert json.decode(json.encode(ChatCompletionResponse(timestamp=now))).timestamp == real
            assert json.decode(json.patch(b"{}", timestamp=now)).timestamp == real


def test_a_hook_runs_once_and_what_it_set_is_written(codec: Any) -> None:
    ran = []

    class Hooked(ChatCompletionResponse):
        def __post_init__(self) -> None:
            ran.append(self)
            self.cost = (self.cost or 0) + 1

    record: Any = Hooked(timestamp=datetime(1900, 1, 2, tzinfo=WITH_SECONDS), cost=1.0)
    assert codec.decode(codec.encode(record)).cost == 2.0
    assert len(ran) == 1
    assert record.timestamp.tzinfo is WITH_SECONDS


def test_a_struct_that_is_no_record_may_have_a_timestamp_of_any_type() -> None:
    other = msgspec.defstruct("Other", [("timestamp", int)])
    assert json.encode(other(5)) == b'{"timestamp":5}'


# Anything for any argument


class Falsy:
    def __bool__(self) -> bool:
        raise RuntimeError


Text = type("Text", (str,), {})
Number = type("Number", (float,), {})

CYCLE: list[Any] = [{}]
CYCLE[0]["a"] = CYCLE
DEEP: dict[str, Any] = {}
for _ in range(3000):
    DEEP = {"a": [DEEP]}
# Values of every kind that somebody may pass by mistake.
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**63, 2**64, -(2**70), 10**400, 0.5, math.nan, math.inf, -0.0, 1j),
    *("", "x", "\ud800", "é" * 3, Text("t"), Number(1), b"", b"{}", b"\x80", b"\xff", b"[]", b"null", b"\xc0"),
    *(bytearray(b"{}"), memoryview(b"\x80"), msgspec.Raw(b"{}"), msgspec.Raw(b""), msgspec.Raw(b"{")),
    *([], [1], [{}], [{1: 2}], [[{}]], ({"a": 1},), CYCLE, [DEEP], [{"a": {1, 2}}], [{"a": object()}], {}, DEEP),
    *({"a": 1}, {1: 2}, {"cost": 1}, {"a": Falsy()}, {"\ud800": 1}, {"a": math.nan}, {"a": 10**5000}, set(), {1}),
    *(object(), Falsy(), int, list, json, lambda: None, Envelope(), ChatCompletionResponse(), ValueError("x")),
    *(datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), Tagged(2026, 1, 2, tzinfo=UTC), timedelta(1)),
    *(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), date(2026, 1, 2), UTC),
    *(datetime.min.replace(tzinfo=timezone(timedelta(seconds=1))), msgspec.UNSET, msgspec.NODEFAULT),
    *(msgspec.msgpack.Ext(5, b"x"), pickle.PickleBuffer(b"{}"), ctypes.c_int(5), iter(()), io.BytesIO(b"{}")),
    *(closed_map(), released_view(), with_gaps(), memoryview(b"{}  ").cast("I"), range(3), Exception, type),
]
odd = pytest.mark.parametrize("value", ODD, ids=[f"{at}-{type(value).__name__}" for at, value in enumerate(ODD)])
FIELDS = ChatCompletionResponse.__struct_fields__


def attempt(call: Callable[[], Any], buffer: Any = None) -> Any:
    """Return what `call` returns, or None if it raises a documented error; nothing else may come out."""
    try:
        return call()
    except (DecodeError, EncodeError, TypeError):
        return None
    except (ValueError, BufferError):
        with pytest.raises((ValueError, BufferError)):
            io.BytesIO(buffer)
        return None


@odd
def test_anything_can_be_passed_as_a_buffer_or_type_to_read(codec: Any, value: Any) -> None:
    for read in [*all_readers(codec), codec.decode_choices]:
        attempt(partial(read, value), value)
    for read in (codec.decode, codec.peek, codec.stamp):
        attempt(partial(read, raw(codec), value))


@odd
def test_anything_can_be_passed_as_a_record_buffer_or_offset_to_write(codec: Any, value: Any) -> None:
    attempt(partial(codec.encode, value), value)
    buffer = bytearray(b"kept")
    if attempt(lambda: codec.encode_into(value, buffer, 4) or True, value) is None:
        assert buffer == b"kept"
    attempt(partial(codec.encode_into, ChatCompletionResponse(), value), value)
    for record in (ChatCompletionResponse(**{field: value}) for field in FIELDS):
        attempt(partial(codec.encode, record), value)
        attempt(partial(codec.encode_into, record, bytearray(b"x"), -1), value)
    if not isinstance(value, int):
        attempt(partial(codec.encode_into, ChatCompletionResponse(), bytearray(), value), value)


@odd
@pytest.mark.parametrize("field", FIELDS)
def test_every_value_that_can_be_set_can_be_read(codec: Any, value: Any, field: str) -> None:
    for message in (raw(codec), raw(codec, cost=1, choices=[{"a": 2}])):
        patched = attempt(lambda: codec.patch(message, **{field: value}))
        stamped = attempt(lambda: codec.stamp(message, **{field: value}))
        assert patched == (stamped and stamped[1])
        if patched is not None:
            codec.decode(patched)


@odd
@pytest.mark.parametrize("field", FIELDS[1:])  # as a timestamp, more is accepted than msgspec accepts
def test_a_value_is_rejected_where_msgspec_rejects_it(codec: Any, value: Any, field: str) -> None:
    types = {one.name: one.type for one in msgspec.structs.fields(ChatCompletionResponse)}
    try:
        msgspec.convert(value, types[field])
    except Exception:
        with pytest.raises(TypeError, match=f"^{field}: "):
            codec.patch(raw(codec), **{field: value})


@odd
def test_anything_can_be_passed_as_messages_or_extra(framing: Framing, value: Any) -> None:
    codec, stamp = framing.codec, framing.stream.stamp
    for extra in (value, *({name: value} for name in ("a", "cost", "sessionId", "session_id", 5, None))):
        for set_fields, messages in ((codec.patch, raw(codec)), (codec.stamp, raw(codec)), (stamp, [value])):
            attempt(partial(set_fields, messages, extra=extra), value)
    for messages in (value, [value]):
        attempt(partial(stamp, messages, cost=1.0), value)
