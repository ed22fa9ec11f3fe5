"""Server-sent events: what ends a line and an event, what is a record, and what the end of a stream is."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import assert_type

from chatcodec import ChatCompletionResponse, Envelope, json, sse

from .reference import NO_EVENT_STREAM, expected
from .support import BOM, COSTS, EVENTS, TYPES, check_growth, cut, errors_of, outcome, pieces

ONE, TWO = COSTS[:2]
BAD = b'data: {"cost":"x"}\n\n'
DONE = b"data: [DONE]\n\n"
line_ends = pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])


def event(*lines: bytes, end: bytes = b"\n") -> bytes:
    return b"".join(line + end for line in (*lines, b""))


GOOD = event(b'data: {"cost":1.0}')


def test_types() -> None:
    assert_type(sse.StreamDecoder(), sse.StreamDecoder[ChatCompletionResponse])
    assert_type(sse.StreamDecoder(Envelope, require_done=False).feed(b""), list[Envelope])
    assert_type(sse.iter_decode([b""]), Iterator[ChatCompletionResponse])
    assert_type(sse.iter_batches([b""], require_done=False), Iterator[list[ChatCompletionResponse]])
    assert_type(sse.aiter_decode(no_chunks(), bytes), AsyncIterator[bytes])
    assert_type(sse.aiter_batches(no_chunks(), bytes), AsyncIterator[list[bytes]])
    assert_type(sse.END, bytes)


async def no_chunks() -> AsyncIterator[bytes]:
    return
    yield b""


# Lines and fields


@settings(max_examples=200)
@given(whole=st.lists(st.sampled_from(EVENTS.pieces), max_size=16).map(b"".join), data=st.data())
@example(whole=b"\r\ndata: {}\r\r\ndata: {}\n\r\n", data=None)
@example(whole=b"data: 1\r\n\r\r\ndata:  2\r\r\n\n", data=None)
@example(whole=b": x\r\r\n\r\nx\r\n\r\n", data=None)
@example(whole=b"id: 1\r\n\r\n: x\r\r\n\r\ndata: [\r\n\r\n", data=None)
def test_events_are_those_of_the_whatwg_standard(whole: bytes, data: Any) -> None:
    for type in TYPES:
        seen = outcome(EVENTS, [whole], type=type)
        assert seen == expected(EVENTS, whole, type)
        places = data.draw(st.lists(st.integers(0, len(whole)), max_size=6)) if data else range(len(whole))
        assert outcome(EVENTS, cut(whole, places), type=type) == seen


@line_ends
def test_lf_crlf_and_cr_each_end_a_line_at_every_cut(end: bytes) -> None:
    whole = event(b'data: {"cost":1.0}', end=end) + event(b": x", b'data: {"cost":2.0}', end=end) + DONE
    for place in range(len(whole) + 1):
        assert outcome(EVENTS, cut(whole, [place])) == [ONE, TWO]


@pytest.mark.parametrize("buffer", [bytes, bytearray])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r", b"\n\r", b"\r\n\n"])
def test_a_record_comes_as_soon_as_its_blank_line_is_there(buffer: Any, end: bytes) -> None:
    decoder = sse.StreamDecoder()
    whole = b'data: {"cost":1}' + end
    for place in range(1, len(whole)):
        assert decoder.feed(buffer(whole[:place])) == []
        assert decoder.feed(buffer(whole[place:])) == [ONE]
        assert decoder.buffered == 0
        assert decoder.feed(b"\n" * end.endswith(b"\r")) == []  # belongs to the carriage return before it
        assert decoder.feed(buffer(whole[:-1])) == []
        assert decoder.feed(buffer(whole[-1:] + b"data: {\r")) == [ONE]
        assert decoder.feed(buffer(b"data:}" + end)) == [ChatCompletionResponse()]
        assert decoder.feed(b"\n" * end.endswith(b"\r")) == []


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_no_other_separator_ends_a_line(separator: str) -> None:
    message = b'{"a":"' + separator.encode() + b'"}'
    whole = event(b"data: " + message) + event(b": x", b"data: " + message) + DONE
    assert outcome(EVENTS, [whole], type=bytes) == [message] * 2


def test_several_data_lines_are_joined_with_a_newline() -> None:
    assert outcome(EVENTS, [event(b"data: {", b'data: "cost":', b": x", b"data:1}") + DONE]) == [ONE]
    assert outcome(EVENTS, [event(b"data: a", b"data", b"data:  b") + DONE], type=bytes) == [b"a\n\n b"]


def test_comments_and_other_fields_mean_nothing_beside_data() -> None:
    odd = event(b": x", b"id: 7", b"retry: 10", b"event: message", b"Data: no", b"data : no", b'data: {"cost":1.0}')
    assert outcome(EVENTS, [odd, event(b'data: {"cost":2.0}'), DONE]) == [ONE, TWO]


@pytest.mark.parametrize(
    "alive", [b"\n", b": ping\n\n", b"id: 1\r\n\r\n", b"data\n\n", b"data:  \t\ndata:\n\n", b"x\ndata:\n\n", b"\r"]
)
def test_events_without_data_are_keep_alives_and_counted(alive: bytes, type: Any) -> None:
    before = alive * 2 + GOOD + alive
    _, error = outcome(EVENTS, [before + event(b"event: error", b"data: {}")], type=type)
    assert error[:4] == ("upstream", "event", 5, len(before))


def test_a_byte_order_mark_at_the_very_start_is_skipped_and_counted_in_offsets_alone() -> None:
    for place in range(len(BOM + GOOD)):
        (error,) = outcome(EVENTS, [*cut(BOM + GOOD, [place]), b"\n"], max_record_bytes=18)[:1]
        assert error[:4] == ("too_long", "event", 1, 3)
        assert outcome(EVENTS, cut(BOM + GOOD + DONE, [place]), max_record_bytes=19) == [ONE]


def test_other_white_space_is_data() -> None:
    data = [b"\x0b", b"\x0c", b"\xc2\xa0", b"X", b" a "]
    assert outcome(EVENTS, [*(event(b"data: " + one) for one in data), DONE], type=bytes) == data


# What is no event stream


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>\n<h1>502</h1>\n</html>\n", b'{"error":{"message":"x"}}', b'{"cost":1}\n{"cost":2}\n'),
        *(b": x\n" + BOM + b'data: {"cost":1}', b"event: message\ndat"),
        b"\x1f\x8b\x08\0\0\0\0\0\2\xff\xab\xae\5\0",  # gzip
    ],
)
def test_what_is_no_event_stream_is_incomplete_or_with_a_blank_line_malformed(type: Any, body: bytes) -> None:
    for place in range(0, len(body), 7):
        (error,) = outcome(EVENTS, cut(body, [place]), type=type)
        assert error[:5] == ("incomplete", "event", 1, 0, NO_EVENT_STREAM)
        assert body.startswith(error.data)
        assert error.data
    malformed, missing = outcome(EVENTS, [body.rstrip(b"\n") + b"\n\n"], type=type)
    assert malformed[:5] == ("malformed", "event", 1, 0, NO_EVENT_STREAM)
    assert body.startswith(malformed.data.rstrip(b"\n"))
    assert missing[:4] == ("incomplete", "event", 2, len(body.rstrip(b"\n")) + 2)


@line_ends
def test_the_data_of_a_block_without_data_is_its_lines_without_the_blank_one(end: bytes) -> None:
    page = event(b"<html>", b"<p>", end=end)
    for place in range(len(page)):
        (error, *_) = outcome(EVENTS, cut(page, [place]))
        assert error.data == b"<html>" + end + b"<p>" + end


# Events of the type error


@pytest.mark.parametrize(
    ("lines", "data"),
    [([b"data: [DONE]"], b"[DONE]"), ([], b""), ([b"x"], b""), ([b"data: a", b"data: b"], b"a\nb")],
)
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_event_of_the_type_error_is_a_stream_error(lines: list[bytes], data: bytes, type: Any, end: bytes) -> None:
    whole = GOOD + event(b"event: error", *lines) + b"\n" * 3 + event(b"event:error", *lines)[:-1] + end
    for place in range(len(whole) + 1):
        _, first, second = outcome(EVENTS, cut(whole, [place]), type=type)
        assert (first[:4], first.data) == (("upstream", "event", 2, len(GOOD)), data)
        assert (second[:3], second.data) == (("upstream", "event", 6), data)


def test_after_an_error_event_the_end_is_not_missed_but_after_a_record_after_it_again() -> None:
    error = event(b"event: error", b"data: x")
    assert [item.kind for item in outcome(EVENTS, [GOOD + error + b": x\n\n"])[1:]] == ["upstream"]
    assert [item.kind for item in outcome(EVENTS, [error])] == ["upstream"]
    assert [item.kind for item in outcome(EVENTS, [error + GOOD])[::2]] == ["upstream", "incomplete"]


def test_the_last_type_of_an_event_counts() -> None:
    assert outcome(EVENTS, [event(b"event: error", b"event: message", b'data: {"cost":1.0}'), DONE]) == [ONE]


LIKE_DATA = [
    *(b"data: {}", b"data", b"data:", b"x", b"xdata: {}", b": x", b": data: {}", b"id: data: {}"),
    *(b"event: error", b"event: errordata: {}", b"event: errordata:", b"event: data: {}"),
]


def test_what_a_block_is_does_not_depend_on_those_before_it(type: Any) -> None:
    blocks = [event(line) for line in LIKE_DATA]
    blocks += [event(line, b"data: {}") for line in LIKE_DATA] + [event(b"data: {}", line) for line in LIKE_DATA]
    for first, second in itertools.product(blocks, repeat=2):
        whole = first + second + DONE
        assert outcome(EVENTS, [whole], type=type) == outcome(EVENTS, [first, second, DONE], type=type), whole


def test_too_long_comes_before_the_type_error() -> None:
    seen = outcome(EVENTS, [event(b"event: error", b"data: x"), DONE], max_record_bytes=15)
    assert [error.kind for error in seen] == ["too_long"]


# The end


def test_a_stream_without_its_end_mark_is_incomplete_after_all_its_blocks() -> None:
    whole = GOOD * 2 + b": x\n\n\n"
    for place in range(len(whole) + 1):
        *good, error = outcome(EVENTS, cut(whole, [place]))
        assert good == [ONE, ONE]
        assert error[:4] == ("incomplete", "event", 5, len(whole))


@pytest.mark.parametrize("bad", [BAD, event(b"data: {"), event(b"data: " + b"1" * 90), event(b"x")])
def test_the_end_mark_is_missed_after_a_bad_record_too(bad: bytes) -> None:
    for before, index in ((GOOD, 2), (GOOD + DONE, 3)):
        seen = outcome(EVENTS, [before + bad], max_record_bytes=80)
        assert [error[2:4] for error in errors_of(seen)] == [(index, len(before)), (index + 1, len(before + bad))]
        assert len(outcome(EVENTS, [before + bad + DONE], max_record_bytes=80)) == 2


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n", b"\n\n"])
def test_the_last_event_needs_no_blank_line(end: bytes) -> None:
    assert outcome(EVENTS, [GOOD + b"data: [DONE]" + end]) == [ONE]
    assert outcome(EVENTS, [b'data: {"cost":1.0}' + end], require_done=False) == [ONE]


def test_without_require_done_the_end_mark_is_accepted_and_not_missed() -> None:
    whole = b'data: {"cost":1}\n\ndata: {"cost":2}'
    for chunks in ([whole], [whole, b"\n\n"], [whole, b"\n\n" + DONE]):
        assert outcome(EVENTS, chunks, require_done=False) == [ONE, TWO]
        assert list(sse.iter_decode(chunks, require_done=False)) == [ONE, TWO]
    assert [error.kind for error in outcome(EVENTS, [whole[:-1]], require_done=False)[1:]] == ["incomplete"]
    assert [error.kind for error in outcome(EVENTS, [event(b"event: error")], require_done=False)] == ["upstream"]
    assert [error.kind for error in outcome(EVENTS, [b": x\n\n"], require_done=False)] == ["incomplete"]


@pytest.mark.parametrize(
    "mark", [b"data: [DONE] ", b"data:  \t[DONE]", b"data:\ndata: [DONE]\ndata:", b"data:[DONE]\r\ndata"]
)
def test_the_end_mark_may_have_white_space_and_line_breaks_around_it(mark: bytes, type: Any) -> None:
    assert len(outcome(EVENTS, [GOOD + mark + b"\n\n"], type=type)) == 1
    assert len(outcome(EVENTS, [GOOD, mark], type=type)) == 1


def test_a_record_after_the_end_mark_is_read_and_needs_one_again() -> None:
    whole = (GOOD + DONE) * 3
    for place in range(len(whole) + 1):
        assert outcome(EVENTS, cut(whole, [place])) == [ONE] * 3
    for chunks in ([whole + GOOD], [GOOD + DONE] * 3 + [GOOD]):
        assert outcome(EVENTS, chunks)[-1][:4] == ("incomplete", "event", 8, len(whole + GOOD))


# The limit


@line_ends
def test_the_limit_counts_all_lines_with_their_ends_and_not_the_blank_line(end: bytes) -> None:
    small = event(b'data: {"cost":1.0}', end=end)
    lines = b": comment", b"data: " + json.encode(ChatCompletionResponse(session_id="x" * 60))
    whole = small + event(*lines, end=end) + small + DONE
    limit = len(end.join((*lines, b"")))
    for place in range(len(whole)):
        assert errors_of(outcome(EVENTS, cut(whole, [place]), max_record_bytes=limit)) == []
        (error,) = errors_of(outcome(EVENTS, cut(whole, [place]), max_record_bytes=limit - 1))
        assert error[:4] == ("too_long", "event", 2, len(small))
        assert error.data == event(*lines, end=end)[: limit - 1]


@line_ends
def test_events_that_are_too_long_follow_each_other_wherever_they_are_cut(end: bytes) -> None:
    long = event(b"data: 1", end=end) * 3
    whole = outcome(EVENTS, [long + DONE], max_record_bytes=5)
    assert [error[:4] for error in whole[:3]] == [("too_long", "event", n + 1, n * len(long) // 3) for n in range(3)]
    for places in itertools.combinations(range(1, len(long)), 2):
        assert outcome(EVENTS, [*cut(long, places), DONE], max_record_bytes=5) == whole


# Growth


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize(
    "chunks",
    [
        *([b"data: x\r", b"\n"], [b"data: x\r\n"], pieces(b"data: x\r", 1), pieces(b"data: x\n", 3), [b"x\r", b"\n"]),
        *([b"\r", b"\n"], pieces(b": x\r\n", 1), [b"data: {}\r\n\r", b"\n"], pieces(b"id: 1\r\ndata: {}\r\n\r\n", 1)),
    ],
)
def test_cost_grows_linearly_with_the_lines_of_an_event_however_they_are_cut(chunks: list[bytes], limit: Any) -> None:
    def make(size: int) -> Callable[[], object]:
        return lambda: outcome(EVENTS, chunks * size, type=bytes, max_record_bytes=limit)

    check_growth(make, 400)


def test_cost_grows_linearly_with_the_lines_of_an_event_in_one_chunk() -> None:
    check_growth(lambda size: partial(outcome, EVENTS, [b"data: x\r\n" * size], type=bytes), 800)
