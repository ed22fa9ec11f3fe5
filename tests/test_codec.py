"""The two codecs, `chatcodec.json` and `chatcodec.msgpack`: the same names, the same behaviour."""

from __future__ import annotations

import array
import inspect
import mmap
import pickle
import time as clock
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given

from chatcodec import ChatCompletionResponse, DecodeError, EncodeError, Envelope, ValidationError, json, msgpack

from .wire import CASES, CODECS, Case, Priced, bare, raw, records, same, without

cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def test_both_have_the_same_names_and_signatures() -> None:
    assert json.__all__ == msgpack.__all__
    for name in json.__all__:
        assert inspect.signature(getattr(json, name)) == inspect.signature(getattr(msgpack, name))


# decode, encode


@cases
def test_a_record_is_written_and_read_as_the_table_says(codec: Any, case: Case) -> None:
    assert codec.encode(case.record) == case.encoded(codec)
    assert same(codec.decode(case.encoded(codec)), case.record)


@cases
def test_a_message_that_is_cut_or_followed_by_another_is_rejected(codec: Any, case: Case) -> None:
    message = case.encoded(codec)
    for data in [message * 2, *(message[:end] for end in range(len(message)))]:
        with pytest.raises(DecodeError):
            codec.decode(data)


@given(record=records)
def test_a_record_survives_encoding_and_decoding(codec: Any, record: ChatCompletionResponse) -> None:
    decoded = codec.decode(codec.encode(record))
    assert same(decoded.choices, record.choices)
    assert decoded == record


def test_a_message_decodes_as_a_subclass(codec: Any) -> None:
    record = Priced(cost=1.0, currency="USD")
    decoded = codec.decode(codec.encode(record), Priced)
    assert type(decoded) is Priced
    assert decoded == record


@pytest.mark.parametrize("field", ["timestamp", "generationId", "sessionId", "choices", "stream", "cost", "latency"])
def test_a_field_of_the_wrong_type_is_rejected_by_name(codec: Any, field: str) -> None:
    wrong = 1 if field in ("timestamp", "generationId", "sessionId") else "x"
    with pytest.raises(ValidationError, match=rf"\$\.{field}"):
        codec.decode(raw(codec, **{field: wrong}))


@pytest.mark.parametrize("message", [[], None, 1, "x"])
def test_a_message_that_is_not_an_object_is_rejected(codec: Any, message: Any) -> None:
    for read in (codec.decode, codec.peek, codec.patch):
        with pytest.raises(ValidationError):
            read(bare(codec).encode(message))


def test_an_instant_keeps_its_place_in_time_whatever_its_offset(codec: Any) -> None:
    for offset in (timedelta(hours=-9, minutes=-30), timedelta(minutes=19, seconds=32), timedelta(microseconds=1)):
        time = datetime(1930, 6, 1, 12, tzinfo=timezone(offset))
        assert codec.decode(codec.encode(ChatCompletionResponse(timestamp=time))).timestamp == time
        assert codec.decode(codec.patch(raw(codec), timestamp=time)).timestamp == time


def test_an_offset_with_seconds_is_written_in_utc_whatever_the_local_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    time = datetime(1930, 6, 1, 12, tzinfo=timezone(timedelta(minutes=19, seconds=32)))
    monkeypatch.setenv("TZ", "HERE-05:30")
    clock.tzset()
    try:
        assert json.encode(ChatCompletionResponse(timestamp=time)) == b'{"timestamp":"1930-06-01T11:40:28Z"}'
        assert json.patch(b"{}", timestamp=time) == b'{"timestamp":"1930-06-01T11:40:28Z"}'
    finally:
        monkeypatch.undo()
        clock.tzset()


def mapped(data: bytes) -> mmap.mmap:
    buffer = mmap.mmap(-1, len(data))
    buffer.write(data)
    return buffer


@pytest.mark.parametrize(
    "buffer", [bytes, bytearray, memoryview, msgspec.Raw, mapped, lambda data: array.array("B", data)]
)
def test_any_buffer_is_read(codec: Any, buffer: Any) -> None:
    message = codec.encode(ChatCompletionResponse(cost=1.0, choices=[]))
    assert codec.decode(buffer(message)).cost == 1.0
    assert codec.peek(buffer(message)).cost == 1.0
    assert codec.decode_choices(buffer(bytes(codec.peek(message).choices))) == []
    assert codec.patch(buffer(message)) == message


@pytest.mark.parametrize("value", [1, 0, None, []])
def test_an_argument_that_is_not_a_buffer_is_a_type_error(codec: Any, value: Any) -> None:
    for read in (codec.decode, codec.peek, codec.decode_choices, codec.patch):
        with pytest.raises(TypeError):
            read(value)


# peek, decode_choices


@cases
def test_peek_reads_the_six_other_fields_and_choices_are_decoded_on_demand(codec: Any, case: Case) -> None:
    envelope = codec.peek(case.encoded(codec))
    assert type(envelope) is Envelope
    fields = {name: getattr(envelope, name) for name in ChatCompletionResponse.__struct_fields__}
    fields["choices"] = codec.decode_choices(envelope.choices)
    assert same(ChatCompletionResponse(**fields), case.record)


def test_peek_does_not_check_the_types_in_choices(codec: Any) -> None:
    envelope = codec.peek(raw(codec, choices={"a": 1}))
    assert bytes(envelope.choices) == raw(codec, a=1)
    with pytest.raises(ValidationError):
        codec.decode_choices(envelope.choices)


def test_absent_choices_are_an_empty_view_and_null_ones_are_null(codec: Any) -> None:
    absent, null = codec.peek(raw(codec)), codec.peek(raw(codec, choices=None))
    assert len(absent.choices) == 0
    assert bytes(null.choices) == (b"null" if codec is json else b"\xc0")
    assert codec.decode_choices(absent.choices) is codec.decode_choices(null.choices) is None


# encode


def test_an_envelope_is_not_encoded(codec: Any) -> None:
    class Wider(Envelope):
        pass

    message = "^an Envelope is for reading: its choices are a view of one format, so decode it whole to encode it$"
    for envelope in (Envelope(), Wider(), codec.peek(raw(codec, choices=[]))):
        for write in (codec.encode, lambda envelope: codec.encode_into(envelope, bytearray())):
            with pytest.raises(TypeError, match=message):
                write(envelope)


CYCLE: list[dict[str, Any]] = [{}]
CYCLE[0]["self"] = CYCLE
BEYOND = "a value is beyond what the format can hold"
UNWRITABLE = [
    (CODECS, ChatCompletionResponse(session_id="\ud800"), "text holds half a surrogate pair"),
    (CODECS, ChatCompletionResponse(choices=CYCLE), "a cycle, or nested deeper than the recursion limit"),
    (CODECS, without("cost"), "a field has been deleted"),
    ([json], ChatCompletionResponse(choices=[{"a": 10**5000}]), BEYOND),
    ([msgpack], ChatCompletionResponse(choices=[{"a": 2**64}]), BEYOND),
    ([msgpack], ChatCompletionResponse(timestamp=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))), BEYOND),
]


@pytest.mark.parametrize(
    ("codec", "record", "text"),
    [(codec, record, text) for codecs, record, text in UNWRITABLE for codec in codecs],
)
def test_a_record_that_cannot_be_written_is_an_encode_error(codec: Any, record: Any, text: str) -> None:
    buffer = bytearray(b"kept")
    calls = [partial(codec.encode, record), partial(codec.encode_into, record, buffer, 4)]
    for call in [*calls, *[partial(codec.patch, raw(codec), choices=record.choices)] * bool(record.choices)]:
        with pytest.raises(EncodeError, match=f"^{text}$"):
            call()
    assert buffer == b"kept"


def test_an_object_without_an_encoding_is_a_type_error(codec: Any) -> None:
    for unknown in (object(), {}.items()):
        message = f"^Encoding objects of type {type(unknown).__name__} is unsupported$"
        with pytest.raises(TypeError, match=message):
            codec.encode(ChatCompletionResponse(choices=[{"a": unknown}]))


# Processes


def test_a_function_can_be_sent_to_another_process(codec: Any) -> None:
    for name in codec.__all__:
        function = getattr(codec, name)
        assert pickle.loads(pickle.dumps(function)) == function


# encode_into


@cases
def test_encode_into_writes_at_the_offset_and_ends_the_buffer(codec: Any, case: Case) -> None:
    for offset, kept in (((), 0), ((0,), 0), ((3,), 3), ((2000,), 2000), ((-1,), 2000)):
        buffer = bytearray(b"." * 2000)
        codec.encode_into(case.record, buffer, *offset)
        assert buffer == b"." * kept + case.encoded(codec)


@pytest.mark.parametrize("offset", [4, 100, -2])
def test_an_offset_outside_the_buffer_is_rejected(codec: Any, offset: int) -> None:
    buffer = bytearray(b"...")
    with pytest.raises(ValueError, match=rf"\Aoffset {offset} is outside the buffer of 3 bytes"):
        codec.encode_into(ChatCompletionResponse(), buffer, offset)
    assert buffer == b"..."


def test_a_buffer_that_has_a_view_does_not_grow(codec: Any) -> None:
    buffer = bytearray(b"head")
    with memoryview(buffer), pytest.raises(BufferError):
        codec.encode_into(ChatCompletionResponse(session_id="x" * 100), buffer, 4)
    assert buffer == b"head"
