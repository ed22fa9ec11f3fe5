"""Server-sent events: what ends a line and an event, what is a record, and what the end of a stream is."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import assert_type

from chatcodec import ChatCompletionResponse, Envelope, StreamError, json, sse

from .reference import NO_EVENT_STREAM, expected
from .support import BOM, COSTS, EVENTS, SEPARATORS, TYPES, check_growth, cut, each, errors_of, outcome, pieces

ONE, TWO = COSTS[:2]
LONG = ChatCompletionResponse(session_id="x" * 60)
GOOD, BAD, DONE = EVENTS.good, EVENTS.bad, EVENTS.end
line_ends = pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])


def event(*lines: bytes, end: bytes = b"\n") -> bytes:
    return b"".join(line + end for line in (*lines, b""))


def test_types() -> None:
    assert_type(sse.StreamDecoder(Envelope, require_done=False).feed(b""), list[Envelope])
    assert_type(sse.iter_decode([b""]), Iterator[ChatCompletionResponse])
    assert_type(sse.iter_batches([b""], require_done=False), Iterator[list[ChatCompletionResponse]])
    assert_type(sse.aiter_decode(each([b""]), bytes), AsyncIterator[bytes])
    assert_type(sse.aiter_batches(each([b""]), bytes), AsyncIterator[list[bytes]])


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


@pytest.mark.parametrize(
    ("lines", "data"),
    [
        ([b"data: {", b'data: "cost":', b": x", b"data:1}"], b'{\n"cost":\n1}'),
        ([b"data: a", b"data", b"data:  b"], b"a\n\n b"),
        ([b": x", b"id: 7", b"retry: 10", b"event: message", b"Data: no", b"data : no", b"data: {}"], b"{}"),
        ([b"event: error", b"event: message", b"data: {}"], b"{}"),
        *(([b"data: " + data], data) for data in (b"X", b" a ", b"\x0b", b"\x0c", b"\xc2\xa0")),
        *(([b"data: [%b]" % separator.encode()], b"[%b]" % separator.encode()) for separator in SEPARATORS),
    ],
)
def test_an_event_is_its_lines_of_data_whatever_fields_it_has_besides(lines: list[bytes], data: bytes) -> None:
    assert outcome(EVENTS, [event(*lines), event(b": x", *lines), DONE], type=bytes) == [data] * 2


@pytest.mark.parametrize(
    "alive", [b"\n", b": ping\n\n", b"id: 1\r\n\r\n", b"data\n\n", b"data:  \t\ndata:\n\n", b"x\ndata:\n\n", b"\r"]
)
def test_events_without_data_are_keep_alives_and_counted(alive: bytes, type: Any) -> None:
    before = alive * 2 + GOOD + alive
    _, error = outcome(EVENTS, [before + event(b"event: error", b"data: {}")], type=type)
    assert error[:4] == ("upstream", "event", 5, len(before))


# What is no event stream


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>\n<h1>502</h1>\n</html>\n", b'{"error":{"message":"x"}}', b'{"cost":1}\n{"cost":2}\n'),
        *(b": x\n" + BOM + b'data: {"cost":1}', b"event: message\ndat"),
        b"\x1f\x8b\x08\0\0\0\0\0\2\xff\xab\xae\5\0",  # gzip
    ],
)
def test_a_body_that_is_no_event_stream_is_incomplete_or_malformed(type: Any, body: bytes) -> None:
    for whole, kind in ((body, "incomplete"), (body.rstrip(b"\n") + b"\n\n", "malformed")):
        wanted = expected(EVENTS, whole, type)
        assert wanted[0][:5] == (kind, "event", 1, 0, NO_EVENT_STREAM)
        for place in range(len(whole)):
            assert outcome(EVENTS, cut(whole, [place]), type=type) == wanted


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


LIKE_DATA = [
    *(b"data: {}", b"data", b"data:", b"x", b"xdata: {}", b": x", b": data: {}", b"id: data: {}"),
    *(b"event: error", b"event: errordata: {}", b"event: errordata:", b"event: data: {}"),
]


def test_an_event_does_not_depend_on_the_ones_before_it(type: Any) -> None:
    blocks = [event(line) for line in LIKE_DATA]
    blocks += [event(line, b"data: {}") for line in LIKE_DATA] + [event(b"data: {}", line) for line in LIKE_DATA]
    for first, second in itertools.product(blocks, repeat=2):
        whole = first + second + DONE
        assert outcome(EVENTS, [whole], type=type) == outcome(EVENTS, [first, second, DONE], type=type), whole


# The end


@pytest.mark.parametrize(
    "last", [GOOD, BAD, event(b"data: {"), event(b"data: " + b"1" * 90), event(b"x"), GOOD + b": x\n\n\n"]
)
def test_the_end_mark_has_to_follow_the_last_record_good_or_bad(last: bytes) -> None:
    for before, end in itertools.product((GOOD, (GOOD + DONE) * 3), (b"", DONE)):
        whole = before + last + end
        wanted = expected(EVENTS, whole, ChatCompletionResponse, 80)
        assert [error.kind for error in errors_of(wanted) if error.offset == len(whole)] == ["incomplete"] * (not end)
        for place in range(len(whole) + 1):
            assert outcome(EVENTS, cut(whole, [place]), max_record_bytes=80) == wanted


@pytest.mark.parametrize(
    "mark", [b"data: [DONE] ", b"data:  \t[DONE]", b"data:\ndata: [DONE]\ndata:", b"data:[DONE]\r\ndata"]
)
@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n", b"\n\n"])
def test_the_end_mark_may_have_white_space_around_it_and_no_blank_line(mark: bytes, end: bytes, type: Any) -> None:
    for chunks in ([GOOD + mark + end], [GOOD, mark + end]):
        assert len(outcome(EVENTS, chunks, type=type)) == 1


def test_the_end_mark_has_to_follow_a_record_whose_own_code_failed() -> None:
    class Failing(ChatCompletionResponse):
        def __post_init__(self) -> None:
            raise KeyError

    decoder = sse.StreamDecoder(Failing)
    with pytest.raises(KeyError):
        decoder.feed(DONE + GOOD)
    with pytest.raises(StreamError, match=r"ended without \[DONE\]"):
        decoder.finish()


def test_without_require_done_the_end_mark_is_accepted_and_not_missed() -> None:
    whole = b'data: {"cost":1}\n\ndata: {"cost":2}'
    for end in (b"", b"\n", b"\r", b"\n\n", b"\n\n" + DONE):
        assert outcome(EVENTS, [whole + end], require_done=False) == [ONE, TWO]
        assert list(sse.iter_decode([whole, end], require_done=False)) == [ONE, TWO]
    for broken, kind in ((whole[:-1], "incomplete"), (event(b"event: error"), "upstream"), (b": x\n\n", "incomplete")):
        assert outcome(EVENTS, [broken], require_done=False)[-1].kind == kind


# The limit


@line_ends
def test_the_limit_counts_all_lines_with_their_ends_and_not_the_blank_line(end: bytes) -> None:
    small = event(b'data: {"cost":1.0}', end=end)
    lines = b": comment", b"data: " + json.encode(LONG)
    whole = small + event(*lines, end=end) + small + DONE
    limit = len(end.join((*lines, b"")))
    for place in range(len(whole)):
        assert outcome(EVENTS, cut(whole, [place]), max_record_bytes=limit) == [ONE, LONG, ONE]
        _, error, _ = outcome(EVENTS, cut(whole, [place]), max_record_bytes=limit - 1)
        assert error[:4] == ("too_long", "event", 2, len(small))
        assert error.data == event(*lines, end=end)[: limit - 1]


@line_ends
@pytest.mark.parametrize("other", [b"\n", b"\r\n", b"\r"])
def test_events_that_are_too_long_follow_each_other_wherever_they_are_cut(end: bytes, other: bytes) -> None:
    events = [event(b"data: 1", end=each) for each in (end, other, end)]
    long, starts = b"".join(events), itertools.accumulate(map(len, events), initial=0)
    whole = outcome(EVENTS, [long + DONE], max_record_bytes=5)
    wanted = [("too_long", "event", number, start) for number, start in enumerate(starts, 1)]
    assert [error[:4] for error in whole[:3]] == wanted[:3]
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
        return lambda: outcome(EVENTS, [b"".join(chunks * size), *chunks * size], type=bytes, max_record_bytes=limit)

    check_growth(make, 400)
