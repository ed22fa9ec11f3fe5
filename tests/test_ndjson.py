"""Lines: what ends one, what is on one, and what is none."""

from __future__ import annotations

import json as stdlib_json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse, DecodeError, RecordError, ndjson

from .test_stream import TYPES, cut, outcome, plain, work

ONE, TWO = ChatCompletionResponse(cost=1.0), ChatCompletionResponse(cost=2.0)
NOT_ONE_RECORD_A_LINE = [
    (b"{}{}\n", [1]),
    (b"{} {}\n", [1]),
    (b"{\n}\n", [1, 2]),
    (b"{}{}\n{\n}\n", [1, 2, 3]),
    (b'{"choices":\n[]}\n', [1, 2]),
    (b'{"cost":1},\n', [1]),
    (b"{}\n}{\n{}\n", [2]),
    (b'{"sessionId":"a\nb"}\n', [1, 2]),
    (b'{"choices":\n[{}]}\n', [1, 2]),
    (b'{"choices":[{}\n,{}]}{}\n', [1, 2]),
    (b'{"choices":[{},\n{}]}{}\n', [1, 2]),
]


@pytest.mark.parametrize(("data", "bad"), NOT_ONE_RECORD_A_LINE)
@pytest.mark.parametrize("type", [type for type in TYPES if type is not bytes])
def test_one_record_one_line_however_the_input_was_cut(data: bytes, bad: list[int], type: Any) -> None:
    for place in range(len(data) + 1):
        seen = outcome(ndjson, cut(data, [place]), type=type)
        assert [item[2] for item in seen if isinstance(item, tuple) and item[0] == "bad"] == bad
        assert len(seen) == data.count(b"\n")


@pytest.mark.parametrize(("data", "bad"), NOT_ONE_RECORD_A_LINE)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_also_where_lines_are_long(data: bytes, bad: list[int], newline: bytes) -> None:
    long = b'{"sessionId":"%b"' % (b"x" * 9000)
    good = long + b"}\n"
    data = data.replace(b"{}", long + b"}").replace(b"\n", newline)
    for whole in (data, good + good + data + good, data * 3):
        seen = outcome(ndjson, [good, whole])
        assert seen == outcome(ndjson, cut(good + whole, [700, 2600, 9600]))
        assert next(item for item in seen if isinstance(item, ChatCompletionResponse)).session_id == "x" * 9000
    places = [item[2] for item in outcome(ndjson, [good, good + data]) if isinstance(item, tuple)]
    assert places == [place + 2 for place in bad]


PIECES = [b"{}", b'{"cost":1}', b"[", b"}{", b" ", b"\t", b"\r", b"\r\n", b"\n", b"\x0b", b"\x0c", b"\0", b"x" * 900]
COUNTS = st.one_of(st.just(1), st.integers(2, 400))


def by_line(data: bytes, type: Any) -> list[Any]:
    """Return what `outcome` is to be, as `bytes.split` and `msgspec.json.decode` see it."""
    seen: list[Any] = []
    offset = 0
    for index, line in enumerate(data.split(b"\n"), 1):
        message = line.removesuffix(b"\r")
        if message.strip(b" \t\r"):
            try:
                seen.append(message if type is bytes else plain(msgspec.json.decode(message, type=type)))
            except DecodeError as error:
                seen.append((index, offset, str(error), message[:1024]))
        offset += len(line) + 1
    return seen


@given(
    st.lists(st.tuples(st.lists(st.sampled_from(PIECES), max_size=4), COUNTS), max_size=4),
    st.lists(st.integers(0, 20_000), max_size=4),
    st.sampled_from(TYPES),
)
@example([([b"{}", b"\n"], 9), ([b"[", b"\n"], 2), ([b"{}", b"\r\n", b"\n"], 9)], [], ChatCompletionResponse)
@example([([b"x" * 900, b"\r\n", b"\x0b", b"\n", b" ", b"\n"], 9)], [], bytes)
def test_a_stream_is_its_lines_each_by_itself(
    runs: list[tuple[list[bytes], int]], places: list[int], type: Any
) -> None:
    data = b"{}\n" + b"".join(b"".join(pieces) * count for pieces, count in runs)
    seen = outcome(ndjson, cut(data, places), type=type)
    assert [item[2:6] if isinstance(item, tuple) and item[0] == "bad" else item for item in seen] == by_line(data, type)


def test_lines_of_one_byte_are_lines_in_any_number() -> None:
    assert outcome(ndjson, [bytearray(b"1\n" * 20_000)], type=msgspec.Raw) == [b"1"] * 20_000


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    line = b'{"sessionId":"a%sb"}\n' % (
        separator.encode() if separator > "\x20" else stdlib_json.dumps(separator)[1:-1].encode()
    )
    assert outcome(ndjson, [line * 2]) == [ChatCompletionResponse(session_id=f"a{separator}b")] * 2


@pytest.mark.parametrize("separator", [b"\x0b", b"\x0c", b"\x1e", b"\x85", b"\xe2\x80\xa8"])
def test_what_other_tools_split_at_does_not_split_bytes_either(separator: bytes) -> None:
    lines = [b'{"a":"' + separator + b'"}', separator]
    assert outcome(ndjson, [b"\n".join(lines) + b"\n"], type=bytes) == lines


def test_crlf_ends_a_line_too() -> None:
    for type in TYPES:
        assert outcome(ndjson, [b'{"cost":1.0}\r\n{"cost":2.0}\r\n'], type=type) == outcome(
            ndjson, [b'{"cost":1.0}\n{"cost":2.0}\n'], type=type
        )


@pytest.mark.parametrize("type", TYPES)
def test_some_lines_may_end_in_crlf_and_others_not(type: Any) -> None:
    decoder = ndjson.StreamDecoder(type)
    (expected,) = map(plain, decoder.feed(b"{}\n"))
    assert list(map(plain, decoder.feed(b"{}\n{}\r\n{}\n{}\r"))) == [expected] * 3
    assert list(map(plain, decoder.feed(b"\n{}\n"))) == [expected] * 2


def test_one_carriage_return_is_dropped_and_no_other_byte() -> None:
    assert outcome(ndjson, [b" a \r\r\n\rb\n"], type=bytes) == [b" a \r", b"\rb"]


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\r\n", b"\r\r\n", b" \n\n\t\n"])
@pytest.mark.parametrize("type", TYPES)
def test_blank_lines_are_skipped_and_counted(blank: bytes, type: Any) -> None:
    data = blank + b"{}\n" + blank + b"{\n" + blank
    seen = outcome(ndjson, [data], type=type)
    assert len(seen) == 2
    if type is not bytes:
        assert seen[1][2] == 2 * blank.count(b"\n") + 2


@pytest.mark.parametrize(
    ("end", "type"),
    [(b"\n\n", bytes), (b"\r\n", bytes)] + [(b" \r\n", type) for type in TYPES] + [(b"\n \n", type) for type in TYPES],
)
def test_they_take_no_call_a_line(end: bytes, type: Any) -> None:
    def calls(count: int) -> int:
        decoder = ndjson.StreamDecoder(type)
        decoder.feed(b"{}" + end)
        return work(lambda: decoder.feed((b"{}" + end) * count))["call"]

    assert calls(4) == calls(400)


@pytest.mark.parametrize("type", [type for type in TYPES if type is not bytes])
def test_nor_do_good_lines_around_a_bad_one(type: Any) -> None:
    def calls(count: int) -> int:
        decoder = ndjson.StreamDecoder(type, on_error=lambda _: None)
        decoder.feed(b"{}\n")
        return work(lambda: decoder.feed(b"{}\n" * count + b"[\n" + b"{}\n" * count))["call"]

    assert calls(4) == calls(400)


@pytest.mark.parametrize("not_blank", [b"X\n", b"\x0b\n", b"\x0c\n", b"\xc2\xa0\n", b"\0\n"])
def test_a_line_of_other_space_is_no_blank_line(not_blank: bytes) -> None:
    assert len(outcome(ndjson, [not_blank])) == 1
    assert outcome(ndjson, [not_blank], type=bytes) == [not_blank[:-1]]


@pytest.mark.parametrize("type", TYPES)
def test_a_byte_order_mark_at_the_very_start_is_skipped(type: Any) -> None:
    data = b'\xef\xbb\xbf{"cost":1.0}\n'
    for place in range(len(data)):
        assert outcome(ndjson, cut(data, [place]), type=type) == outcome(ndjson, [data[3:]], type=type)


def test_an_offset_counts_the_byte_order_mark() -> None:
    (error,) = outcome(ndjson, [b"\xef\xbb\xbf{\n"])
    assert error[3] == 3


@pytest.mark.parametrize("data", [b"{}\n\xef\xbb\xbf{}\n", b"\xef\xbb\xbf\xef\xbb\xbf{}\n", b"\xef\xbb\n", b"\xef"])
def test_a_byte_order_mark_elsewhere_or_half_of_one_is_an_error(data: bytes) -> None:
    assert outcome(ndjson, [data])[-1][0] == "bad"


def test_the_last_line_needs_no_newline() -> None:
    decoder: ndjson.StreamDecoder[ChatCompletionResponse] = ndjson.StreamDecoder()
    assert decoder.feed(b'{"cost":1}\n{"cost":2}') == [ONE]
    assert decoder.buffered == 10
    assert decoder.finish() == [TWO]


def test_a_last_line_that_is_blank_is_no_record() -> None:
    assert outcome(ndjson, [b"{}\n \t\r"]) == [ChatCompletionResponse()]


def test_a_last_line_that_is_cut_is_an_error() -> None:
    decoder: ndjson.StreamDecoder[ChatCompletionResponse] = ndjson.StreamDecoder()
    decoder.feed(b'{"cost":1}\n{"cos')
    with pytest.raises(RecordError) as caught:
        decoder.finish()
    assert (caught.value.index, caught.value.offset, caught.value.data) == (2, 11, b'{"cos')


def test_a_blank_line_can_be_too_long_as_well() -> None:
    (error,) = outcome(ndjson, [b" " * 11 + b"\n"], max_record_bytes=10)
    assert error[4] == "longer than the limit of 10 bytes"


def test_an_envelopes_view_holds_its_own_line_alone() -> None:
    line = b'{"choices":[1]}\n'
    envelopes = ndjson.StreamDecoder(ndjson_envelope()).feed(line * 100)
    assert [plain(envelope)[1] for envelope in envelopes] == [b"[1]"] * 100
    assert memoryview(envelopes[0].choices).obj is not memoryview(envelopes[1].choices).obj


def ndjson_envelope() -> Any:
    """Return the type, untyped: a view's buffer is looked at."""
    from chatcodec import Envelope

    return Envelope
