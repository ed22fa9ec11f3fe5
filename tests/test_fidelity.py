"""The fidelity table of the codecs: a test for each row, and no row without one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from msgspec import DecodeError, EncodeError, ValidationError

from chatcodec import ChatCompletionResponse, frames, json, msgpack, ndjson, transcode

from .wire import CODECS, DEEP, UTC, nested


def rows(codec: Any) -> list[str]:
    """Return the first column of the codec's table, without its head."""
    return re.findall(r"^\| ([^|]*?) \|", codec.__doc__, re.MULTILINE)[1:]


TESTED: list[str] = []


def row(name: str) -> Callable[[Any], Any]:
    """Say which row of the table a function tests."""
    TESTED.append(name)
    return lambda test: test


def test_both_codecs_have_the_same_rows_and_each_has_a_test() -> None:
    assert rows(json) == rows(msgpack)
    assert sorted(TESTED) == sorted(rows(json))


def both(**fields: Any) -> list[tuple[Any, bytes]]:
    """Return both codecs, each with those fields encoded."""
    return [(json, msgspec.json.encode(fields)), (msgpack, msgspec.msgpack.encode(fields))]


def inside(value: Any) -> ChatCompletionResponse:
    """Return a record with `value` inside its choices."""
    return ChatCompletionResponse(choices=[{"a": value}])


@row("unknown fields")
def test_unknown_fields() -> None:
    for codec, message in both(x=1, cost=2.0):
        assert codec.decode(message) == ChatCompletionResponse(cost=2.0)
        assert codec.patch(message) == message
    there = transcode.json_to_msgpack(b'{"x":1}')
    assert transcode.msgpack_to_json(there) == b'{"x":1}'


@row("`null` and absent")
def test_null_and_absent() -> None:
    for codec, message in both(**dict.fromkeys(ChatCompletionResponse.__struct_encode_fields__)):
        assert codec.decode(message) == ChatCompletionResponse()
        assert codec.decode(codec.encode(ChatCompletionResponse())).cost is None
        assert b"cost" not in codec.encode(ChatCompletionResponse(cost=None))


@row("order, numbers and escapes")
def test_bytes_that_patch_keeps() -> None:
    assert json.patch(b'{"b": 1.00, "a":"\\u00e9", "cost":1}', cost=2.0) == b'{"b":1.00,"a":"\\u00e9","cost":2.0}'
    assert msgpack.patch(b"\x82\xa1b\xcd\0\1\xa6stream\xc2", stream=True) == b"\x82\xa1b\xcd\0\1\xa6stream\xc3"


@row("duplicate keys")
def test_duplicate_keys() -> None:
    for codec, message in [(json, b'{"cost":1,"a":0,"cost":2}'), (msgpack, b"\x83\xa4cost\1\xa1a\0\xa4cost\2")]:
        assert codec.decode(message).cost == codec.peek(message).cost == 2.0
    assert json.patch(b'{"cost":1,"a":0,"cost":2}') == b'{"cost":2,"a":0}'
    assert msgpack.patch(b"\x83\xa4cost\1\xa1a\0\xa4cost\2") == b"\x82\xa4cost\2\xa1a\0"


@row("a time without an offset")
def test_naive_time() -> None:
    for codec, message in both(timestamp="2026-01-02T03:04:05"):
        with pytest.raises(ValidationError, match="timezone"):
            codec.decode(message)
        with pytest.raises(EncodeError):
            codec.encode(ChatCompletionResponse(timestamp=datetime(2026, 1, 2)))


@row("a time's offset")
def test_offset_of_a_time() -> None:
    hours = ChatCompletionResponse(timestamp=datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))))
    seconds = ChatCompletionResponse(timestamp=datetime(1900, 1, 2, tzinfo=timezone(timedelta(minutes=19, seconds=32))))
    assert json.encode(hours) == b'{"timestamp":"2026-01-02T00:00:00+05:30"}'
    assert json.encode(seconds) == b'{"timestamp":"1900-01-01T23:40:28Z"}'
    for record in (hours, seconds):
        read: Any = msgpack.decode(msgpack.encode(record)).timestamp
        assert (read, read.tzinfo) == (record.timestamp, UTC)


@row("digits below the microsecond")
def test_nanoseconds() -> None:
    for codec, message in both(timestamp="2026-01-02T03:04:05.1234565Z"):
        assert codec.decode(message).timestamp == datetime(2026, 1, 2, 3, 4, 5, 123457, tzinfo=UTC)


@row("times inside `choices`")
def test_inner_time() -> None:
    record = inside(datetime(2026, 1, 2, tzinfo=UTC))
    assert json.decode(json.encode(record)) == inside("2026-01-02T00:00:00Z")
    assert msgpack.decode(msgpack.encode(record)) == record
    assert json.decode(transcode.msgpack_to_json(msgpack.encode(record))) == inside("2026-01-02T00:00:00Z")


@row("NaN and infinities")
def test_not_finite() -> None:
    for number in (float("inf"), float("-inf"), float("nan")):
        assert json.encode(ChatCompletionResponse(cost=number)) == b'{"cost":null}'
        assert json.patch(b"{}", cost=number) == b'{"cost":null}'
        assert repr(msgpack.decode(msgpack.encode(ChatCompletionResponse(cost=number))).cost) == repr(number)


@row("integers beyond 64 bits")
def test_big_integers() -> None:
    assert json.decode(json.encode(inside(2**64))) == inside(2**64)
    with pytest.raises(EncodeError):
        msgpack.encode(inside(2**64))


@row("binary")
def test_binary() -> None:
    assert json.decode(json.encode(inside(b"\0\xff"))) == inside("AP8=")
    assert msgpack.decode(msgpack.encode(inside(b"\0\xff"))) == inside(b"\0\xff")


@row("keys that are numbers")
def test_number_keys() -> None:
    assert json.decode(json.encode(inside({1: 2}))) == inside({"1": 2})
    assert msgpack.decode(msgpack.encode(inside({1: 2}))) == inside({1: 2})
    both = msgspec.msgpack.encode({"a": {1: 2, "1": 3}})
    assert msgspec.json.decode(transcode.msgpack_to_json(both)) == {"a": {"1": 3}}


@row("extensions")
def test_extensions() -> None:
    record = inside(msgspec.msgpack.Ext(5, b"x"))
    with pytest.raises(TypeError):
        json.encode(record)
    with pytest.raises(EncodeError):
        transcode.msgpack_to_json(msgpack.encode(record))
    (choice,) = msgpack.decode(msgpack.encode(record)).choices or []
    assert (choice["a"].code, bytes(choice["a"].data)) == (5, b"x")
    assert msgpack.patch(b"\x81\xa1x\xc7\0\5") == b"\x81\xa1x\xc7\0\5"


@row("a top-level `error`")
def test_error_field() -> None:
    for codec, message in both(error={"message": "overloaded"}):
        assert codec.decode(message) == ChatCompletionResponse()
        assert codec.peek(message).failed
        assert bytes(codec.peek(message).error) == codec.encode({"message": "overloaded"})


@row("a time that rounds beyond the year 9999")
def test_end_of_time() -> None:
    for codec, message in both(timestamp="9999-12-31T23:59:59.9999999Z"):
        for read in (codec.decode, codec.peek, codec.stamp):
            with pytest.raises(DecodeError):
                read(message)
    for codec, message in both(timestamp="9999-12-31T23:59:59.999999Z"):
        assert codec.decode(message).timestamp == datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@row("half a surrogate pair")
def test_half_a_pair() -> None:
    half = b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'
    with pytest.raises(DecodeError, match="half a surrogate pair"):
        json.decode(half)
    assert ndjson.StreamDecoder(bytes).feed(half + b"\n") == list(ndjson.iter_decode([half], bytes)) == [half]
    with pytest.raises(DecodeError):
        msgpack.decode(b"\x81\xa9sessionId\xa3\xed\xa0\xbd")
    for codec in CODECS:
        with pytest.raises(EncodeError, match="half a surrogate pair"):
            codec.encode(ChatCompletionResponse(session_id="\ud83d"))


@row("text that is not UTF-8")
def test_no_text() -> None:
    for codec, message in both(x="?", choices=[{"a": "?"}]):
        odd = message.replace(b"?", b"\xff")
        assert codec.peek(odd).cost is None
        assert codec.patch(odd) == codec.stamp(odd)[1] == odd
        for read, data in ((codec.decode, odd), (codec.decode_choices, codec.peek(odd).choices)):
            with pytest.raises(DecodeError, match="UTF-8"):
                read(data)


@row("a byte order mark")
def test_byte_order_mark() -> None:
    assert ndjson.StreamDecoder().feed(b"\xef\xbb\xbf{}\n") == [ChatCompletionResponse()]
    for codec, message in both():
        with pytest.raises(DecodeError):
            codec.decode(b"\xef\xbb\xbf" + message)


@row("nesting")
def test_nesting() -> None:
    for codec in CODECS:
        assert codec.decode(nested(codec, 100)).choices
        with pytest.raises(DecodeError):
            codec.decode(nested(codec, DEEP))


@row("a record beyond the reader's limit")
def test_beyond_the_limit() -> None:
    for stream in (ndjson, frames):
        written = stream.encode([ChatCompletionResponse(session_id="x" * 100)])
        with pytest.raises(DecodeError):
            stream.StreamDecoder(max_record_bytes=100).feed(written)
