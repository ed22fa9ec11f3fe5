"""Whatever is passed to a codec: only documented exceptions come out, and they give the true reason."""

from __future__ import annotations

import ctypes
import io
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

from .support import STREAMS, Framing, released_view, texts
from .wire import CODECS, UTC, Priced, raw


def closed_map() -> mmap.mmap:
    mapped = mmap.mmap(-1, 16)
    mapped.close()
    return mapped


def with_gaps() -> memoryview:
    return memoryview(b"{ } x ")[::2]


def readers(codec: Any) -> list[Callable[[Any], Any]]:
    """Return every function of a codec that reads a buffer, with that buffer as its only argument."""
    convert = transcode.json_to_msgpack if codec is json else transcode.msgpack_to_json
    return [
        codec.decode,
        partial(codec.decode, type=msgspec.Raw),
        codec.peek,
        codec.patch,
        partial(codec.patch, cost=1.0),
        codec.stamp,
        partial(codec.stamp, session_id="s", extra={"a": None}),
        convert,
    ]


@pytest.mark.parametrize("make", [closed_map, released_view])
def test_a_closed_or_released_buffer_is_a_value_error(codec: Any, make: Any) -> None:
    for read in readers(codec):
        with pytest.raises(ValueError, match=r"closed|released") as caught:
            read(make())
        assert not isinstance(caught.value, msgspec.MsgspecError)
        assert caught.value.__context__ is None


def test_a_buffer_that_is_not_contiguous_is_a_buffer_error(codec: Any) -> None:
    for buffer in (with_gaps(), memoryview(b"}{")[::-1]):
        for read in readers(codec):
            with pytest.raises(BufferError, match="contiguous"):
                read(buffer)


def test_an_array_in_column_major_order_is_a_buffer_error(codec: Any) -> None:
    numpy = pytest.importorskip("numpy")
    for read in readers(codec):
        with pytest.raises(BufferError, match="contiguous"):
            read(numpy.asfortranarray(numpy.zeros((2, 3), "u1")))


def test_stamping_a_dead_buffer_is_no_bad_message(framing: Framing) -> None:
    bad: list[Any] = []
    with pytest.raises(ValueError, match="closed"):
        framing.stream.stamp([closed_map()], on_error=bad.append)
    with pytest.raises(BufferError, match="contiguous"):
        framing.stream.stamp([with_gaps()], on_error=bad.append)
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
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview, msgspec.Raw])
def test_half_a_surrogate_pair_is_called_that(message: bytes, buffer: Any) -> None:
    for read in readers(json):
        with pytest.raises(DecodeError, match=r"^a string holds half a surrogate pair$"):
            read(buffer(message))


@pytest.mark.parametrize("message", HALVES)
@texts
def test_half_a_surrogate_pair_in_a_stream_is_called_that(framing: Framing, message: bytes) -> None:
    framed = framing.frame(message)
    for read in (framing.stream.StreamDecoder().feed, lambda _: framing.stream.stamp([message], cost=1.0)):
        with pytest.raises(DecodeError, match=r"half a surrogate pair$"):
            read(framed)
    assert framing.stream.StreamDecoder(bytes).feed(framed) == [message]


@pytest.mark.parametrize(
    "message", [b'{"sessionId":"\\ud83d\\ude00', b'{"sessionId":"\\\\ud83d"', b'{"sessionId":"\\\\\\\\ud83d"']
)
def test_a_message_that_is_cut_is_called_cut(message: bytes) -> None:
    for end in range(len(message) + 1):
        for read in readers(json):
            with pytest.raises(DecodeError, match="truncated"):
                read(message[:end])


def test_what_only_looks_like_half_a_pair_in_messagepack_is_called_cut() -> None:
    message = msgpack.encode(ChatCompletionResponse(session_id='\\ud83d"}', generation_id='\\ud83d"}'))
    for read in readers(msgpack):
        with pytest.raises(DecodeError, match="truncated"):
            read(message[:-1])


# Times

NO_TIMES = ["2024-01-02T03:04:05Z", "", 0, 1.5, date(2026, 1, 2), time(1, tzinfo=UTC), b"", [], timedelta(1), object()]


Frozen: Any = msgspec.defstruct("Frozen", [], bases=(ChatCompletionResponse,), frozen=True)


def writers(codec: Any, timestamp: Any) -> list[Callable[[], Any]]:
    """Return every way to write a timestamp."""
    return [
        lambda: codec.encode(ChatCompletionResponse(timestamp=timestamp)),
        lambda: codec.encode(Priced(timestamp=timestamp)),
        lambda: codec.encode(Frozen(timestamp=timestamp)),
        lambda: codec.encode_into(ChatCompletionResponse(timestamp=timestamp), bytearray()),
        lambda: codec.patch(raw(codec), timestamp=timestamp),
        lambda: codec.stamp(raw(codec), timestamp=timestamp),
        *(partial(stream.stamp, [raw(codec)], timestamp=timestamp) for stream in STREAMS[codec]),
        *(partial(stream.stamp, [], timestamp=timestamp) for stream in STREAMS[codec]),
        *(partial(stream.encode, [ChatCompletionResponse(timestamp=timestamp)]) for stream in STREAMS[codec]),
    ]


@pytest.mark.parametrize("timestamp", NO_TIMES)
def test_a_timestamp_of_a_wrong_type_is_a_type_error_that_names_the_field(codec: Any, timestamp: Any) -> None:
    text = f"^(record 1: )?timestamp: Expected `datetime`, got `{type(timestamp).__name__}`$"
    for write in writers(codec, timestamp):
        with pytest.raises(TypeError, match=text):
            write()


def test_a_time_without_an_offset_is_an_encode_error(codec: Any) -> None:
    for write in writers(codec, datetime(2026, 1, 2)):
        with pytest.raises(EncodeError, match=r"timestamp has no offset$"):
            write()


class Tagged(datetime):
    """A subclass of the user's own."""


def check_written(written: datetime) -> None:
    plain = datetime.fromisoformat(written.isoformat())
    for codec in CODECS:
        expected = codec.encode(ChatCompletionResponse(timestamp=plain))
        record = ChatCompletionResponse(timestamp=written)
        buffer = bytearray()
        codec.encode_into(record, buffer)
        assert buffer == codec.encode(record) == codec.encode(Frozen(timestamp=written)) == expected
        assert codec.patch(raw(codec), timestamp=written) == codec.stamp(raw(codec), timestamp=written)[1] == expected
        for stream in STREAMS[codec]:
            assert stream.encode([record]) == stream.encode([expected])


@pytest.mark.parametrize(
    "written",
    [
        Tagged(2026, 1, 2, 3, 4, 5, 6, UTC),
        Tagged(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        Tagged(1900, 1, 2, tzinfo=timezone(timedelta(minutes=19, seconds=32))),
        datetime(1900, 1, 2, tzinfo=timezone(timedelta(minutes=19, seconds=32))),
    ],
)
def test_a_subclass_of_datetime_is_written_as_the_datetime_it_is(written: datetime) -> None:
    check_written(written)


def test_the_times_of_pandas_are_written_as_datetimes() -> None:
    pandas = pytest.importorskip("pandas")
    check_written(pandas.Timestamp("2026-01-02T03:04:05.000006Z"))
    check_written(pandas.Timestamp("2026-01-02T03:04:05", tz="Europe/Berlin"))
    for write in writers(json, pandas.NaT):
        with pytest.raises(TypeError, match=r"^(record 1: )?timestamp: Expected `datetime`, got `NaTType`$"):
            write()


def test_the_times_of_pendulum_are_written_as_datetimes() -> None:
    pendulum = pytest.importorskip("pendulum")
    check_written(pendulum.datetime(2026, 1, 2, 3, 4, 5, 6))
    check_written(pendulum.datetime(2026, 1, 2, tz="Europe/Berlin"))


def test_the_times_of_freezegun_and_others_while_it_is_active_are_written_as_datetimes() -> None:
    freezegun = pytest.importorskip("freezegun")
    real = datetime(2026, 1, 2, tzinfo=UTC)
    with freezegun.freeze_time("2026-01-02"):
        import datetime as dt

        for now in (real, dt.datetime.now(UTC), dt.datetime.now(timezone(timedelta(hours=1)))):
            assert json.decode(json.encode(ChatCompletionResponse(timestamp=now))).timestamp == real
            assert json.decode(json.patch(b"{}", timestamp=now)).timestamp == real


def test_a_hook_runs_once_and_what_it_set_is_written(codec: Any) -> None:
    ran = []

    class Hooked(ChatCompletionResponse):
        def __post_init__(self) -> None:
            ran.append(self)
            self.cost = (self.cost or 0) + 1

    record: Any = Hooked(timestamp=datetime(1900, 1, 2, tzinfo=timezone(timedelta(minutes=19, seconds=32))), cost=1.0)
    assert codec.decode(codec.encode(record)).cost == 2.0
    assert len(ran) == 1
    assert record.timestamp.utcoffset() == timedelta(minutes=19, seconds=32)


def test_a_struct_that_is_no_record_may_have_a_timestamp_of_any_type() -> None:
    class Other(msgspec.Struct):
        timestamp: int

    assert json.encode(Other(5)) == b'{"timestamp":5}'


# Anything for any argument


class Falsy:
    def __bool__(self) -> bool:
        message = "asked for its truth"
        raise RuntimeError(message)


Text = type("Text", (str,), {})
Number = type("Number", (float,), {})


def oddities() -> list[Any]:
    """Return values of every kind that somebody may pass by mistake."""
    cycle: list[Any] = [{}]
    cycle[0]["a"] = cycle
    deep: Any = {}
    for _ in range(3000):
        deep = {"a": [deep]}
    return [
        *(None, True, False, 0, 1, -1, 2**63, 2**64, -(2**70), 10**400, 0.5, math.nan, math.inf, -0.0, 1j),
        *("", "x", "\ud800", "é" * 3, Text("t"), Number(1), b"", b"{}", b"\x80", b"\xff", b"[]", b"null", b"\xc0"),
        *(bytearray(b"{}"), memoryview(b"\x80"), msgspec.Raw(b"{}"), msgspec.Raw(b""), msgspec.Raw(b"{")),
        *([], [1], [{}], [{1: 2}], [[{}]], ({"a": 1},), cycle, [deep], [{"a": {1, 2}}], [{"a": object()}], {}, deep),
        *({"a": 1}, {1: 2}, {"cost": 1}, {"a": Falsy()}, {"\ud800": 1}, {"a": math.nan}, {"a": 10**5000}, set(), {1}),
        *(object(), Falsy(), int, list, json, lambda: None, Envelope(), ChatCompletionResponse(), ValueError("x")),
        *(datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), Tagged(2026, 1, 2, tzinfo=UTC), timedelta(1)),
        *(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), date(2026, 1, 2), UTC),
        *(datetime.min.replace(tzinfo=timezone(timedelta(seconds=1))), msgspec.UNSET, msgspec.NODEFAULT),
        *(msgspec.msgpack.Ext(5, b"x"), pickle.PickleBuffer(b"{}"), ctypes.c_int(5), iter(()), io.BytesIO(b"{}")),
        *(closed_map(), released_view(), with_gaps(), memoryview(b"{}  ").cast("I"), range(3), Exception, type),
    ]


ODD = oddities()
odd = pytest.mark.parametrize("value", ODD, ids=[f"{at}-{type(value).__name__}" for at, value in enumerate(ODD)])
FIELDS = ChatCompletionResponse.__struct_fields__


def is_dead(buffer: Any) -> bool:
    try:
        return not memoryview(buffer).c_contiguous
    except ValueError:
        return True
    except TypeError:
        return False


def attempt(call: Callable[[], Any], *buffers: Any) -> Any:
    """Call it, and let nothing through but what is documented; return None where it raised."""
    try:
        return call()
    except (DecodeError, EncodeError, TypeError):
        return None
    except (ValueError, BufferError):
        assert any(map(is_dead, buffers))
        return None


@odd
def test_anything_can_be_passed_as_a_buffer(codec: Any, value: Any) -> None:
    for read in [*readers(codec), codec.decode_choices]:
        attempt(partial(read, value), value)


@odd
def test_anything_can_be_passed_as_a_type(codec: Any, value: Any) -> None:
    for read in (codec.decode, codec.peek, codec.stamp):
        attempt(partial(read, raw(codec), value))


@odd
def test_anything_can_be_passed_as_a_record(codec: Any, value: Any) -> None:
    attempt(lambda: codec.encode(value), value)
    buffer = bytearray(b"kept")
    if attempt(lambda: codec.encode_into(value, buffer, 4) or True, value) is None:
        assert buffer == b"kept"
    for field in FIELDS:
        record = ChatCompletionResponse(**{field: value})
        attempt(partial(codec.encode, record), value)
        attempt(partial(codec.encode_into, record, bytearray(b"x"), -1), value)


@odd
def test_anything_can_be_passed_as_a_buffer_to_write_into(codec: Any, value: Any) -> None:
    attempt(lambda: codec.encode_into(ChatCompletionResponse(), value), value)
    if not isinstance(value, int):
        attempt(lambda: codec.encode_into(ChatCompletionResponse(), bytearray(), value))


@odd
@pytest.mark.parametrize("field", FIELDS)
def test_what_can_be_set_can_be_read(codec: Any, value: Any, field: str) -> None:
    for message in (b"{}", b'{"cost":1,"choices":[{"a":2}]}'):
        encoded = message if codec is json else transcode.json_to_msgpack(message)
        patched = attempt(lambda: codec.patch(encoded, **{field: value}))
        stamped = attempt(lambda: codec.stamp(encoded, **{field: value}))
        assert (patched is None) == (stamped is None)
        if patched is not None:
            assert stamped[1] == patched
            codec.decode(patched)


@odd
@pytest.mark.parametrize("field", FIELDS)
def test_a_value_is_rejected_where_msgspec_rejects_it(codec: Any, value: Any, field: str) -> None:
    if field == "timestamp":
        return  # a subclass of datetime is more than msgspec takes
    types = {one.name: one.type for one in msgspec.structs.fields(ChatCompletionResponse)}
    try:
        msgspec.convert(value, types[field])
    except Exception:
        with pytest.raises(TypeError, match=f"^{field}: "):
            codec.patch(raw(codec), **{field: value})


@odd
@pytest.mark.parametrize("name", ["a", "cost", "sessionId", "session_id", 5, None])
def test_anything_can_be_passed_as_extra(codec: Any, value: Any, name: Any) -> None:
    attempt(lambda: codec.patch(raw(codec), extra=value), value)
    attempt(lambda: codec.patch(raw(codec), extra={name: value}), value)
    attempt(lambda: codec.stamp(raw(codec), extra={name: value}), value)


@odd
def test_anything_can_be_passed_as_messages(framing: Framing, value: Any) -> None:
    attempt(partial(framing.stream.stamp, value, cost=1.0), value)
    attempt(partial(framing.stream.stamp, [value], cost=1.0), value)
    attempt(partial(framing.stream.stamp, [value], extra={"a": value}), value)
