"""Lines: what ends one, what is on one, and what is none."""

from __future__ import annotations

import json as stdlib_json
from typing import Any

import msgspec
import pytest

from chatcodec import ChatCompletionResponse, ndjson

from .support import BOM, LINES, TYPES, Bad, cut, errors_of, outcome

ONE, TWO = ChatCompletionResponse(cost=1.0), ChatCompletionResponse(cost=2.0)


@pytest.mark.parametrize("type", TYPES[:3], ids=lambda record: record.__name__)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("padding", [b"", b'"x":"' + b"a" * 9000 + b'"'])
@pytest.mark.parametrize(
    ("data", "bad"),
    [
        *((b"{}{}\n", [1]), (b"{} {}\n", [1]), (b"{\n}\n", [1, 2]), (b"{}{}\n{\n}\n", [1, 2, 3])),
        *((b"{}\n}{\n{}\n", [2]), (b'{"choices":\n[]}\n', [1, 2]), (b'{"cost":1},\n', [1])),
        *((b'{"choices":[{}\n,{}]}{}\n', [1, 2]), (b'{"choices":[{},\n{}]}{}\n', [1, 2])),
        (b'{"sessionId":"a\nb"}\n', [1, 2]),
    ],
)
def test_a_line_is_one_record_and_a_record_is_one_line(
    data: bytes, bad: list[int], padding: bytes, newline: bytes, type: Any
) -> None:
    good = b"{%b}\n" % padding
    data = good + data.replace(b"{}", b"{%b}" % padding).replace(b"\n", newline)
    for place in range(len(data) + 1) if not padding else (0, 700, 2600, 9002, 9005, len(data) - 1):
        seen = outcome(LINES, cut(data + good, [place]), type=type)
        assert [error.index for error in errors_of(seen)] == [index + 1 for index in bad]
        assert len(seen) == data.count(b"\n") + 1


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    inside = separator if separator > "\x20" else stdlib_json.dumps(separator)[1:-1]
    line = b'{"sessionId":"a%bb"}' % inside.encode()
    assert outcome(LINES, [line + b"\n" + line]) == [ChatCompletionResponse(session_id=f"a{separator}b")] * 2
    raw = [b"a" + separator.encode() + b"b", separator.encode()]
    assert outcome(LINES, [b"\n".join([*raw, b""])], type=bytes) == raw


def test_one_carriage_return_is_dropped_from_bytes_and_no_other_byte() -> None:
    assert outcome(LINES, [b" a \r\r\n\rb\n"], type=bytes) == [b" a \r", b"\rb"]
    long = b"a" * 70_000
    assert outcome(LINES, [long + b"\r\n" + long + b"\n"], type=bytes) == [long, long]


def test_many_lines_of_one_byte_are_as_many_records() -> None:
    assert outcome(LINES, [bytearray(b"1\n" * 20_000)], type=msgspec.Raw) == [b"1"] * 20_000


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \t\r\n", b"\r\r\n", b" \n\n\t\n"])
def test_blank_lines_are_skipped_and_counted(blank: bytes) -> None:
    _, error = outcome(LINES, [blank + b"{}\n" + blank + b"[\n" + blank])
    assert error.index == 2 * blank.count(b"\n") + 2


@pytest.mark.parametrize("line", [b"X", b"\x0b", b"\x0c", b"\xc2\xa0", b"\0"])
def test_a_line_of_other_white_space_is_not_blank(line: bytes) -> None:
    assert [error.kind for error in outcome(LINES, [line + b"\n"])] == ["malformed"]
    assert outcome(LINES, [line + b"\n"], type=bytes) == [line]


def test_a_byte_order_mark_at_the_very_start_is_skipped_and_counted_in_offsets_alone() -> None:
    seen = outcome(LINES, [BOM + b"[]\n[1]\n{}"], max_record_bytes=2)
    assert [error[:4] for error in errors_of(seen)] == [("invalid", "line", 1, 3), ("too_long", "line", 2, 6)]
    assert outcome(LINES, [BOM]) == []


@pytest.mark.parametrize("data", [b"{}\n" + BOM + b"{}\n", BOM * 2 + b"{}\n", b"\xef\xbb\n", b"\xef", b"\xef\xbb"])
def test_a_byte_order_mark_elsewhere_or_part_of_one_is_an_error(data: bytes) -> None:
    for place in range(len(data)):
        assert isinstance(outcome(LINES, cut(data, [place]))[-1], Bad)


def test_the_last_line_needs_no_newline() -> None:
    decoder = ndjson.StreamDecoder()
    assert decoder.feed(b'{"cost":1}\n{"cost":2}') == [ONE]
    assert decoder.buffered == 10
    assert decoder.finish() == [TWO]
    assert outcome(LINES, [b'{"cost":2}\r']) == [TWO]
    assert outcome(LINES, [b'{"cost":2}\n \t\r']) == [TWO]


def test_the_limit_counts_a_line_without_its_newline() -> None:
    assert outcome(LINES, [b"[1]\n[2]"], type=bytes, max_record_bytes=3) == [b"[1]", b"[2]"]
    assert [error.kind for error in outcome(LINES, [b"[1]\r\n     \n"], type=bytes, max_record_bytes=3)] == [
        "too_long"
    ] * 2
