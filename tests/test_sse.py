"""Server-sent events: what ends a line and an event, what is a record, and what the end of a stream is."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import assert_type

from chatcodec import (
    ChatCompletionResponse,
    Envelope,
    RecordError,
    ValidationError,
    json,
    ndjson,
    sse,
)

from .test_sources import achunks, check_iterators
from .test_stream import COSTS, TYPES, cut, outcome, outcome_of_callback, plain, sorted_out, work
from .wire import CASES, hostile, records

if TYPE_CHECKING:
    from collections import Counter

ONE, TWO = ChatCompletionResponse(cost=1.0), ChatCompletionResponse(cost=2.0)
BAD = b'data: {"cost":"x"}\n\n'
NO_DONE = "stream ended without [DONE]"
LINE_ENDS = [b"\n", b"\r\n", b"\r"]

# What is not bytes has to be copied, and goes another way.
buffers = pytest.mark.parametrize("buffer", [bytes, bytearray])


def event(*lines: bytes, end: bytes = b"\n") -> bytes:
    """Return an event of these lines."""
    return b"".join(line + end for line in (*lines, b""))


def done(*pieces: bytes) -> bytes:
    """Return a stream with a clean end."""
    return b"".join(pieces) + sse.END


def reference(data: bytes) -> list[Any]:
    """Interpret a stream as the standard has it, byte by byte: data, and (index, offset, data) of what is bad."""
    at = 3 * data.startswith(b"\xef\xbb\xbf")
    seen: list[Any] = []
    owes_done, index = False, 0
    while at < len(data):
        start, index = at, index + 1
        kind, values = b"", []
        while at < len(data):
            stop = next((place for place in range(at, len(data)) if data[place] in b"\r\n"), len(data))
            line, at = data[at:stop], stop + (2 if data[stop : stop + 2] == b"\r\n" else 1)
            if not line:
                break
            name, value = (*line.split(b":", 1), b"")[:2]
            value = value[1:] if value[:1] == b" " else value
            if name == b"data":
                values.append(value)
            elif name == b"event":
                kind = value
        text = b"\n".join(values)
        if kind == b"error":
            seen.append((index, start, text))
            owes_done = False
        elif text == b"[DONE]":
            owes_done = False
        elif text.strip(b" \t\r\n"):
            seen.append(text)
            owes_done = True
    return [*seen, (index + 1, len(data), b"")] if owes_done else seen


PIECES = [
    *(b"data: {}", b"data:{}", b"data: ", b"data", b"data: {", b"data: }", b'data: {"cost":"x"}', b"data: [DONE]"),
    *(b"event: error", b"event: message", b"id: 1", b": comment", b"x", b"\xef\xbb\xbf", b"\0"),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r"),
]

OTHERS = st.lists(st.sampled_from([b"event: message", b"id: 1", b": data: {}", b"xdata: {}", b"retry"]), max_size=2)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Draw a stream of good, bad and odd events, or of anything."""
    end = draw(st.sampled_from(LINE_ENDS))
    whole = b""
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            whole += b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=8)))
        elif kind == 1:
            whole += draw(st.binary(max_size=12))
        else:
            message = draw(hostile(json)) if kind == 2 else json.encode(draw(records))
            before, behind = draw(st.tuples(OTHERS, OTHERS)) if kind == 3 else ((), ())
            whole += event(*before, b"data: " + message, *behind, end=end)
    whole = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + whole[: draw(st.integers(0, len(whole) + 5))]
    return whole + draw(st.sampled_from([b"", sse.END]))


# The first promise: how a stream is cut never matters.


@pytest.mark.parametrize("type", TYPES)
@settings(max_examples=150)
@given(data=st.data(), limit=st.one_of(st.none(), st.integers(1, 60)))
def test_any_cut_gives_the_same_records_and_errors(type: Any, data: Any, limit: int | None) -> None:
    whole = data.draw(streams())
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=8))
    options = {"type": type, "max_record_bytes": limit}
    expected = outcome(sse, [whole], **options)
    assert outcome(sse, cut(whole, places), **options) == expected
    assert outcome(sse, [whole[at : at + 1] for at in range(len(whole))], **options) == expected
    assert outcome_of_callback(sse, cut(whole, places), **options) == sorted_out(expected)


@settings(max_examples=300)
@given(whole=streams() | st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
@example(b"\r\ndata: {}\r\r\ndata: {}\n\r\n")
def test_events_are_those_of_the_standard(whole: bytes) -> None:
    seen = outcome(sse, [whole], type=bytes)
    assert [(item[2], item[3], item[5]) if isinstance(item, tuple) else item for item in seen] == reference(whole)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_record_of_the_table_streams_whatever_the_cut(case: Any) -> None:
    whole = done(sse.encode([case.record, case.record]))
    assert whole == (b"data: " + case.json + b"\n\n") * 2 + b"data: [DONE]\n\n"
    for place in range(len(whole) + 1):
        assert outcome(sse, cut(whole, [place])) == [case.record] * 2


@buffers
@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_stream_longer_than_a_batch_is_decoded_whole(buffer: Any, end: bytes) -> None:
    many = [ChatCompletionResponse(cost=float(number), session_id="x" * (number % 50)) for number in range(2000)]
    many.append(ChatCompletionResponse(session_id="x" * 100_000))
    whole = done(sse.encode(many)).replace(b"\n", end)
    for size in (len(whole), 65536, 1400, 100):
        assert outcome(sse, [buffer(whole[at : at + size]) for at in range(0, len(whole), size)]) == many


# Lines and fields


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("type", TYPES)
def test_any_of_the_three_line_ends_ends_a_line_also_cut_in_the_middle(end: bytes, type: Any) -> None:
    whole = done(event(b'data: {"cost":1.0}', end=end), event(b": x", b'data: {"cost":2.0}', end=end))
    expected = outcome(ndjson, [b'{"cost":1.0}\n{"cost":2.0}\n'], type=type)
    for place in range(len(whole) + 1):
        assert outcome(sse, cut(whole, [place]), type=type) == expected


@buffers
@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r", b"\n\r"])
def test_a_record_comes_as_soon_as_its_blank_line_is_there(buffer: Any, end: bytes) -> None:
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder()
    whole = b'data: {"cost":1}' + end
    for place in range(1, len(whole)):
        assert decoder.feed(buffer(whole[:place])) == []
        assert decoder.feed(buffer(whole[place:])) == [ONE]
        assert decoder.buffered == 0
        if end.endswith(b"\r"):
            assert decoder.feed(buffer(b"\n")) == []  # belongs to the carriage return before it
        assert decoder.feed(buffer(whole[:-1])) == []
        assert decoder.feed(buffer(whole[-1:] + b"data: {\r")) == [ONE]
        assert decoder.feed(buffer(b"data:}" + end)) == [ChatCompletionResponse()]
        if end.endswith(b"\r"):
            assert decoder.feed(buffer(b"\n")) == []


@buffers
def test_one_line_feed_belongs_to_a_carriage_return(buffer: Any) -> None:
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder()
    assert decoder.feed(buffer(b'data: {"cost":1}\r\r')) == [ONE]
    assert decoder.feed(buffer(b"\n")) == decoder.feed(buffer(b"\n")) == []
    with pytest.raises(RecordError) as caught:
        decoder.feed(buffer(BAD))
    assert (caught.value.index, caught.value.offset) == (3, 20)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_nothing_else_ends_a_line(separator: str) -> None:
    message = b'{"a":"' + separator.encode() + b'"}'
    assert (
        outcome(sse, [done(event(b"data: " + message), event(b": x", b"data: " + message))], type=bytes)
        == [message] * 2
    )


def test_several_data_lines_are_joined_with_a_newline() -> None:
    assert outcome(sse, [done(event(b"data: {", b'data: "cost":', b": x", b"data:1}"))]) == [ONE]
    assert outcome(sse, [done(event(b"data: a", b"data", b"data:  b"))], type=bytes) == [b"a\n\n b"]


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_line_that_is_no_field_is_not_part_of_the_data(end: bytes) -> None:
    whole = done(b'data: {"cost":1.0' + end + b"}\n\n")
    ((_, *place, _, data, _),) = outcome(sse, [done(sse.encode([ONE]), whole)])[1:]
    assert (place[:3], data) == (["event", 2, 20], b'{"cost":1.0')


def test_comments_and_other_fields_are_skipped() -> None:
    odd = event(b": x", b"id: 7", b"retry: 10", b"event: message", b"Data: no", b"data : no", b'data: {"cost":1.0}')
    assert outcome(sse, [done(odd, sse.encode([TWO]))]) == [ONE, TWO]


@pytest.mark.parametrize("alive", [b"\n", b": ping\n\n", b"id: 1\r\n\r\n", b"data\n\n", b"data:  \t\ndata:\n\n", b"\r"])
@pytest.mark.parametrize("type", TYPES)
def test_events_without_data_are_keep_alives_and_counted(alive: bytes, type: Any) -> None:
    whole = done(alive * 2, sse.encode([ONE]), alive, event(b"event: error", b"data: {}"))
    good, bad = outcome(sse, [whole], type=type)
    assert good == plain(sse.StreamDecoder(type).feed(sse.encode([ONE]))[0])
    assert (bad[2], bad[3]) == (5, len(whole) - len(sse.END) - 23)


@pytest.mark.parametrize("type", TYPES)
def test_a_byte_order_mark_at_the_very_start_is_skipped(type: Any) -> None:
    whole = done(b'\xef\xbb\xbfdata: {"cost":1.0}\n\n')
    for place in range(len(whole)):
        assert outcome(sse, cut(whole, [place]), type=type) == outcome(sse, [whole[3:]], type=type)
        assert outcome(sse, cut(whole[:15], [place]), type=bytes) == outcome(sse, [whole[:15]], type=bytes)
    assert outcome(sse, [whole[:15]], type=bytes)[0] == b'{"cost'
    assert outcome(sse, [b"\xef\xbb\xbfevent: error\n\n"])[0][3] == 3
    assert outcome(sse, [b"\xef\xbb"]) == []
    assert outcome(sse, [done(b'\n\xef\xbb\xbfdata: {"cost":1.0}\n\n')]) == []


# Types


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_ordinary_chunk_takes_a_fixed_number_of_calls_and_so_does_a_piece(type: Any, end: bytes) -> None:
    for count in (4, 400):
        chunk = sse.encode(COSTS[:1] * count).replace(b"\n\n", end)
        shifted = chunk[9:] + chunk[:9]
        decoder = sse.StreamDecoder(type)
        decoder.feed(chunk + chunk[:9])
        assert len(decoder.feed(shifted)) == count
        # feed() and two that decode; where there is a carriage return, one that looks for the end.
        assert work(lambda: decoder.feed(shifted))["call"] - 1 == 3 + (b"\r" in end)
        assert work(lambda: decoder.feed(chunk[9:12]))["call"] - 1 == 2
        assert decoder.buffered == 12


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("end", LINE_ENDS[:2])
@pytest.mark.parametrize(
    ("before", "behind", "calls"),
    [
        ([b"event: message"], [], 2),
        ([b"id: 1", b"event: message"], [b"retry: 9"], 4),
        ([b": ping", b""], [], 3),
        ([], [b": [DONE]"], 3),
    ],
)
def test_other_fields_that_repeat_take_no_call_an_event(
    type: Any, end: bytes, before: list[bytes], behind: list[bytes], calls: int
) -> None:
    for count in (4, 40):
        chunk = b"".join(event(*before, b"data:" + json.encode(cost), *behind, end=end) for cost in COSTS[:1] * count)
        decoder = sse.StreamDecoder(type)
        decoder.feed(sse.END)
        seen = work(lambda: decoder.feed(chunk))["call"]
        assert (seen - 1, decoder.buffered) == (3 + (b"\r" in end) + calls, 0)
        with pytest.raises(RecordError) as caught:
            decoder.feed(b"event: error\n\n")
        assert caught.value.index == 2 + count * (1 + (b"" in before))


@pytest.mark.parametrize("type", TYPES)
def test_so_does_the_chunk_that_ends_the_stream(type: Any) -> None:
    chunk = done(sse.encode(COSTS))
    decoder = sse.StreamDecoder(type)
    decoder.feed(chunk)
    assert work(lambda: decoder.feed(chunk))["call"] - 1 == 3
    assert decoder.finish() == []


@pytest.mark.parametrize("odd", [sse.END, b"data:  \n\n", b"data:\n\n"])
def test_what_is_no_record_is_none_in_an_ordinary_chunk_of_bytes_either(odd: bytes) -> None:
    one, two = sse.encode([b"1"]), sse.encode([b"2"])
    for chunk in (odd + one + two, one + odd + two, one + two + odd):
        decoder = sse.StreamDecoder(bytes)
        decoder.feed(one)
        assert decoder.feed(chunk) == [b"1", b"2"]
        with pytest.raises(RecordError) as caught:
            decoder.feed(b"event: error\n\n")
        assert caught.value.index == 5


@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_chunks_of_any_buffer_are_taken_behind_ordinary_ones(buffer: Any) -> None:
    chunk = sse.encode(COSTS)
    decoder = sse.StreamDecoder()
    decoder.feed(chunk)
    assert decoder.feed(buffer(chunk)) == COSTS


def test_a_type_of_the_users_is_decoded_into() -> None:
    class Cost(msgspec.Struct):
        cost: float

    assert sse.StreamDecoder(Cost).feed(sse.encode(COSTS)) == [Cost(float(number)) for number in range(1, 6)]


def test_bytes_are_the_data_as_it_came() -> None:
    decoder = sse.StreamDecoder(bytes)
    for _ in range(2):
        assert decoder.feed(done(sse.encode([b"no json"]), b"data:  \n\n", sse.encode([b" a "]))) == [
            b"no json",
            b" a ",
        ]


def test_an_envelopes_view_holds_its_own_data_alone() -> None:
    envelopes = sse.StreamDecoder(Envelope).feed(sse.encode([b'{"choices":[1]}'] * 9))
    assert [bytes(envelope.choices) for envelope in envelopes] == [b"[1]"] * 9
    assert len({id(memoryview(envelope.choices).obj) for envelope in envelopes}) == 9


def test_a_view_never_changes_under_its_reader() -> None:
    chunk = bytearray(sse.encode([b'{"choices":[1]}']))
    (envelope,) = sse.StreamDecoder(Envelope).feed(chunk)
    chunk[:] = b"x" * len(chunk)
    assert bytes(envelope.choices) == b"[1]"


# Errors


def test_without_on_error_a_bad_record_raises_and_the_stream_goes_on() -> None:
    good = [sse.encode([record]) for record in COSTS]
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder()
    with pytest.raises(RecordError) as first:
        decoder.feed(good[0] + good[1] + BAD + good[2] + BAD + good[3])
    assert (first.value.unit, first.value.index, first.value.offset) == ("event", 3, len(good[0] + good[1]))
    assert (first.value.data, first.value.records) == (b'{"cost":"x"}', COSTS[:2])
    assert decoder.buffered == len(good[2] + BAD + good[3])
    with pytest.raises(RecordError) as second:
        decoder.feed(good[4])
    assert (second.value.index, second.value.records) == (5, COSTS[2:3])
    assert decoder.feed(b"") == COSTS[3:]
    assert decoder.feed(sse.END) == decoder.finish() == []


def test_an_event_of_the_type_error_is_a_bad_record_whatever_it_holds() -> None:
    for lines, data in [((b"data: {}",), b"{}"), ((), b""), ((b"data: [DONE]",), b"[DONE]")]:
        seen = outcome(sse, [sse.encode([ONE]), event(b"event: error", *lines), event(b"event:error", *lines)])
        assert seen[0] == ONE
        assert [item[2:6] for item in seen[1:]] == [
            (2, 20, "an event of the type error", data),
            (3, 20 + len(event(b"event: error", *lines)), "an event of the type error", data),
        ]


def test_the_last_type_of_an_event_counts() -> None:
    assert outcome(sse, [done(event(b"event: error", b"event: message", b'data: {"cost":1.0}'))]) == [ONE]


def test_the_text_of_an_error_names_place_and_reason() -> None:
    ((*_, text),) = outcome(sse, [b": x\n\n" + BAD])
    assert text == "event 2 at offset 5: Expected `float | null`, got `str` - at `$.cost`"


# The end


@pytest.mark.parametrize("type", TYPES)
def test_a_stream_whose_last_event_is_a_record_ends_in_an_error(type: Any) -> None:
    whole = sse.encode([ONE, TWO]) + b": x\n\n"
    for place in range(len(whole) + 1):
        *good, error = outcome(sse, cut(whole, [place]), type=type)
        assert len(good) == 2
        assert error[1:6] == ("event", 4, len(whole), NO_DONE, b"")


def test_so_it_does_in_an_iterator_and_with_on_error() -> None:
    iterator = sse.iter_decode([sse.encode([ONE])])
    assert next(iterator) == ONE
    with pytest.raises(RecordError, match="without"):
        next(iterator)
    assert list(iterator) == []
    errors: list[RecordError] = []
    assert list(sse.iter_decode([sse.encode([ONE])], on_error=errors.append)) == [ONE]
    assert [error.reason for error in errors] == [NO_DONE]


def test_the_record_that_the_end_of_the_stream_ends_comes_before_the_error() -> None:
    iterator = sse.iter_decode([b'data: {"cost":1}'])
    assert next(iterator) == ONE
    with pytest.raises(RecordError, match="without") as caught:
        next(iterator)
    assert caught.value.records == list(iterator) == []


def test_a_clean_end_can_be_added_for_a_provider_that_sends_none() -> None:
    assert list(sse.iter_decode(itertools.chain([sse.encode(COSTS)], [sse.END]))) == COSTS
    # That does not hide a record that was cut.
    assert outcome(sse, [sse.encode([ONE]) + b'data: {"cost"', sse.END])[1][2] == 2


@pytest.mark.parametrize("bad", [BAD, b"event: error\n\n", b"data: {", b'data: {"cost":1}' + b" " * 90 + b"\n"])
def test_behind_an_event_that_was_told_as_bad_the_end_is_not_asked_for(bad: bytes) -> None:
    good, error = outcome(sse, [sse.encode([ONE]) + bad], max_record_bytes=80)
    assert (good, error[2]) == (ONE, 2)
    assert NO_DONE not in error[6]


@pytest.mark.parametrize("whole", [b"", b"\n", b": ping\n\n", b": ping", b"\xef\xbb\xbf", sse.END * 2])
def test_a_stream_without_records_may_end_anyhow(whole: bytes) -> None:
    assert outcome(sse, [whole]) == []


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n", b"\n\n"])
def test_the_last_event_needs_no_blank_line(end: bytes) -> None:
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder()
    assert decoder.feed(sse.encode([ONE]) + b"data: [DONE]" + end) == [ONE]
    assert decoder.finish() == []
    assert outcome(sse, [b'data: {"cost":1.0}' + end])[0] == ONE


def test_streams_one_behind_the_other_read_as_one() -> None:
    whole = done(sse.encode([ONE])) * 3
    for place in range(len(whole) + 1):
        assert outcome(sse, cut(whole, [place])) == [ONE] * 3
    for chunks in ([whole, sse.encode([TWO])], [done(sse.encode([ONE]))] * 3 + [sse.encode([TWO])]):
        assert outcome(sse, chunks)[-1][2:5] == (8, len(whole) + 20, NO_DONE)


def test_finish_makes_the_decoder_new() -> None:
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder()
    for _ in range(2):
        assert decoder.feed(b"\xef\xbb\xbf" + sse.encode(COSTS)) == COSTS
        with pytest.raises(RecordError) as caught:
            decoder.finish()
        assert (caught.value.index, caught.value.offset) == (6, 3 + len(sse.encode(COSTS)))
        assert decoder.finish() == []


def test_finish_behind_an_error_that_was_not_drained_loses_no_record() -> None:
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder()
    with pytest.raises(RecordError):
        decoder.feed(BAD + sse.encode(COSTS[:2]) + BAD + sse.encode(COSTS[2:]) + b'data: {"cost":')
    with pytest.raises(RecordError) as caught:
        decoder.finish()
    assert (caught.value.index, caught.value.records) == (4, COSTS)


# Bounds


@given(place=st.integers(0, 200), over=st.integers(-1, 1), filler=st.booleans(), end=st.sampled_from(LINE_ENDS))
def test_whether_an_event_is_too_long_never_depends_on_the_cut(place: int, over: int, filler: bool, end: bytes) -> None:
    lines = b": comment", b"data: " + json.encode(ChatCompletionResponse(session_id="x" * 60))
    small = event(b'data: {"cost":1.0}', end=end)
    whole = done(small * filler, event(*lines, end=end), small)
    limit = len(end.join((*lines, b""))) - over
    seen = outcome(sse, cut(whole, [place]), max_record_bytes=limit)
    assert len(seen) == 2 + filler
    assert isinstance(seen[filler], tuple) is (over == 1)
    if over == 1:
        assert seen[filler][2:6] == (
            1 + filler,
            len(small) * filler,
            f"longer than the limit of {limit} bytes",
            event(*lines, end=end)[:limit],
        )


def test_a_long_event_is_told_as_soon_as_it_is_known_and_never_held() -> None:
    decoder: sse.StreamDecoder[ChatCompletionResponse] = sse.StreamDecoder(max_record_bytes=1000)
    decoder.feed(sse.encode([ONE]))
    with pytest.raises(RecordError, match="limit of 1000"):
        decoder.feed(sse.encode([TWO]) + b"data: " + b"x" * 1000)
    for piece in (b"x", b"\n", b"x" * 5000, b"\r", b"\n", b"x\r"):
        assert decoder.feed(piece) == []
        assert decoder.buffered <= 1  # a line end, whose blank line may come
    assert decoder.feed(b"\r") == []
    assert decoder.feed(b"\n" + done(sse.encode(COSTS))) == COSTS


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_rest_of_a_long_event_is_no_event_of_its_own(type: Any, end: bytes) -> None:
    errors: list[RecordError] = []
    decoder = sse.StreamDecoder(type, max_record_bytes=20, on_error=errors.append)
    assert decoder.feed(b"data: " + b"x" * 30 + end) == []
    assert decoder.feed(b"data: {}\n\n") == []
    assert len(decoder.feed(b"data: {}\n\n")) == 1
    assert len(errors) == 1


@buffers
@pytest.mark.parametrize("limit", [9, 20_000])
def test_an_event_may_be_as_long_as_the_limit_its_line_end_counted(buffer: Any, limit: int) -> None:
    data = b"{}".ljust(limit - 7)
    event = sse.encode([data])
    decoder = sse.StreamDecoder(bytes, max_record_bytes=limit)
    assert decoder.feed(buffer(event)) == [data]
    assert decoder.feed(buffer(event[:limit])) == []
    assert decoder.feed(buffer(event[limit:])) == [data]
    assert decoder.feed(buffer(b"\n" + event)) == [data]
    with pytest.raises(RecordError, match=f"longer than the limit of {limit - 1} bytes"):
        sse.StreamDecoder(bytes, max_record_bytes=limit - 1).feed(buffer(event))


@buffers
def test_a_long_event_is_told_with_the_piece_that_makes_it_too_long(buffer: Any) -> None:
    for pieces in ([b"data: 123456789", b"123456789"], [b"data: {}\n\ndata: 123456789123456789"]):
        decoder = sse.StreamDecoder(bytes, max_record_bytes=20)
        decoder.feed(b"data: {}\n\n")
        *first, last = map(buffer, pieces)
        assert [decoder.feed(piece) for piece in first] == [[] for _ in first]
        with pytest.raises(RecordError, match="limit of 20"):
            decoder.feed(last)


@buffers
def test_what_is_behind_it_comes_with_the_same_chunk(buffer: Any) -> None:
    good, long = b"data: {}\n\n", b"data: " + b"x" * 30 + b"\n\n"
    decoder = sse.StreamDecoder(bytes, max_record_bytes=20, on_error=lambda _: None)
    for alive in (b"", b"\n", b"\n\r\n\r"):
        assert decoder.feed(buffer(alive + good)) == [b"{}"]
        assert decoder.feed(buffer(long + alive + good)) == [b"{}"]


@buffers
def test_an_event_longer_than_a_batch_comes_as_soon_as_it_ends(buffer: Any) -> None:
    decoder = sse.StreamDecoder(bytes)
    event = b"data: " + b"x" * 40_000 + b"\n\n"
    for _ in range(2):
        assert decoder.feed(buffer(event)) == [b"x" * 40_000]


@buffers
@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_blank_line_cut_off_its_event_ends_it_at_once(buffer: Any, end: bytes) -> None:
    decoder = sse.StreamDecoder(bytes)
    for _ in range(2):
        assert decoder.feed(buffer(b"data: {}" + end)) == []
        assert decoder.feed(buffer(end)) == [b"{}"]


@buffers
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize(("first", "told"), [(b"data: {}", [5]), (b"data: " + b"x" * 30, [1, 5])])
def test_blank_lines_are_counted_wherever_they_are_cut(buffer: Any, end: bytes, first: bytes, told: list[int]) -> None:
    whole = first + end * 5 + b"event: error" + end * 2
    for place in range(len(whole) + 1):
        errors: list[RecordError] = []
        decoder = sse.StreamDecoder(max_record_bytes=20, on_error=errors.append)
        for piece in (whole[:place], whole[place:]):
            decoder.feed(buffer(piece))
        decoder.finish()
        assert [error.index for error in errors] == told
        assert errors[-1].offset == len(first + end * 5)


@pytest.mark.parametrize("blank", [b"\n", b"\n\n", b"\r\n\r"])
def test_so_they_are_between_events_of_other_fields(blank: bytes) -> None:
    chunk = event(b"id: 1", b"data: 1") + blank + event(b"id: 2", b"data: 2")
    seen = outcome(sse, [sse.END, chunk, b"event: error\n\n"], type=bytes)
    assert seen[:2] == [b"1", b"2"]
    assert seen[2][2] == 4 + len(blank.replace(b"\r\n", b"\n"))


@buffers
def test_the_cause_of_a_bad_event_is_chained(buffer: Any) -> None:
    with pytest.raises(RecordError) as caught:
        sse.StreamDecoder().feed(buffer(b'data: {"cost":"x"}\n\n'))
    assert isinstance(caught.value.__cause__, ValidationError)


@pytest.mark.parametrize("data", [b"\x0b", b"\x0c", b"\xc2\xa0", b"X"])
def test_other_space_is_data(data: bytes) -> None:
    event = sse.encode([data])
    decoder = sse.StreamDecoder(bytes)
    for _ in range(2):
        assert decoder.feed(event) == [data]


def test_a_long_event_that_the_stream_ends_in_is_one_bad_record() -> None:
    for end in (b"", b"\n", b"\r"):
        assert len(outcome(sse, [b"data: " + b"x" * 50 + end], max_record_bytes=10)) == 1


@buffers
@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("line", [b"data: {}", b"data: " + b"x" * 90])
def test_work_grows_linearly_when_an_event_arrives_in_pieces(buffer: Any, size: int, line: bytes) -> None:
    def take(lines: int) -> Counter[str]:
        whole = event(*[line] * lines)
        decoder = sse.StreamDecoder(bytes)
        decoder.feed(sse.END)
        pieces = [buffer(whole[at : at + size]) for at in range(0, len(whole), size)]
        return work(lambda: [decoder.feed(piece) for piece in pieces])

    one, two = take(400), take(800)
    assert sum(two.values()) < 2.1 * sum(one.values())
    # The pieces are put together when the last one is there, and its data is.
    assert one["join"] == two["join"] <= 3


# Iterators


@given(data=st.data())
def test_an_iterator_gives_what_feeding_gives(data: Any) -> None:
    check_iterators(sse, data.draw(streams()), data)


def test_it_has_the_names_and_signatures_of_the_other_streams() -> None:
    assert sse.__all__ == ndjson.__all__
    for name in filter(str.islower, ndjson.__all__):
        assert inspect.signature(getattr(sse, name)) == inspect.signature(getattr(ndjson, name))
        assert getattr(sse, name).__doc__


def test_types() -> None:
    assert_type(sse.StreamDecoder(), sse.StreamDecoder[ChatCompletionResponse])
    assert_type(sse.StreamDecoder(Envelope).feed(b""), list[Envelope])
    assert_type(sse.iter_decode([b""]), Iterator[ChatCompletionResponse])
    assert_type(sse.aiter_decode(achunks([]), bytes), AsyncIterator[bytes])
    assert_type(sse.END, bytes)


def test_the_error_of_an_event_in_an_ordinary_chunk_has_no_context() -> None:
    decoder = sse.StreamDecoder()
    decoder.feed(b'data: {"cost":1}\n\n')
    with pytest.raises(RecordError) as caught:
        decoder.feed(b'data: {"sessionId":"\xff"}\n\n')
    assert caught.value.index == 2
    assert caught.value.__context__ is None
