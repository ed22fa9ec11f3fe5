"""From one format to the other, with the fields that the record does not know."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given

from chatcodec import ChatCompletionResponse, EncodeError, ValidationError, json, msgpack
from chatcodec.transcode import json_to_msgpack, msgpack_to_json

from .wire import CASES, UTC, Case, records, same, unknown_fields

WAYS = [(json, json_to_msgpack), (msgpack, msgpack_to_json)]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_message_becomes_the_same_record_in_the_other_format(case: Case) -> None:
    assert json_to_msgpack(case.json) == case.msgpack
    assert msgpack_to_json(case.msgpack) == case.json


@given(record=records)
def test_a_record_survives_both_conversions(record: ChatCompletionResponse) -> None:
    there = json_to_msgpack(json.encode(record))
    assert there == msgpack.encode(record)
    back = json.decode(msgpack_to_json(there))
    assert back == record
    assert same(back.choices, record.choices)


@given(extra=unknown_fields)
def test_unknown_fields_and_the_order_are_kept(extra: dict[str, Any]) -> None:
    fields = {**extra, "cost": 1.5, "a": 1}
    there = json_to_msgpack(msgspec.json.encode(fields))
    assert list(msgspec.msgpack.decode(there).items()) == list(fields.items())
    assert same(msgspec.json.decode(msgpack_to_json(there)), fields)


def test_a_known_time_becomes_a_time_and_others_stay_text() -> None:
    text, time = "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    fields = {"sent": text, "choices": [{"at": text}], "cost": None}
    there = json_to_msgpack(msgspec.json.encode({"timestamp": text, **fields}))
    assert msgspec.msgpack.decode(there) == {"timestamp": time, **fields}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((b"\x00\xff", b'"AP8="'), (datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00Z"')),
        *(({1: "a", 2.5: "b"}, b'{"1":"a","2.5":"b"}'), (float("nan"), b"null"), (float("inf"), b"null")),
    ],
)
def test_a_value_that_only_messagepack_has_becomes_the_nearest_in_json(value: Any, text: bytes) -> None:
    assert msgpack_to_json(msgspec.msgpack.encode({"x": value})) == b'{"x":' + text + b"}"
    assert msgpack_to_json(msgspec.msgpack.encode({"choices": [{"x": value}]})) == b'{"choices":[{"x":' + text + b"}]}"


@pytest.mark.parametrize(("codec", "transcode"), WAYS)
@pytest.mark.parametrize("fields", [{"cost": "x"}, {"timestamp": "today"}, {"choices": [1]}, {"choices": {}}, [], 1])
def test_known_fields_are_checked(codec: Any, transcode: Any, fields: Any) -> None:
    with pytest.raises(ValidationError):
        transcode(codec.encode(fields))


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_an_integer_beyond_64_bits_is_an_encode_error(digits: int) -> None:
    with pytest.raises(EncodeError):
        json_to_msgpack(b'{"x":%b}' % (b"9" * digits))


@pytest.mark.parametrize("value", [b"\x81\x80\x01", b"\x81\xc0\x01", b"\xd4\x05a"])
def test_a_value_that_json_cannot_hold_is_an_encode_error_that_does_not_show_it(value: bytes) -> None:
    with pytest.raises(EncodeError, match=r"^a value or key is of a kind that the format cannot hold$") as caught:
        msgpack_to_json(b"\x81\xa1x" + value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
