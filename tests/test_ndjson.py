"""Lines: what ends one, what is on one, and what is none."""

from __future__ import annotations

import json as stdlib_json
from typing import Any

import pytest

from chatcodec import ChatCompletionResponse

from .reference import expected
from .support import LINES, SEPARATORS, TYPES, cut, errors_of, outcome


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


@pytest.mark.parametrize("separator", SEPARATORS)
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


@pytest.mark.parametrize("line", [b"", b"\r", b" \t\r", b"\r\r", b"X", b"\x0b", b"\x0c", b"\xc2\xa0", b"\0"])
def test_a_line_of_spaces_tabs_and_carriage_returns_alone_is_blank(line: bytes, type: Any) -> None:
    whole = b"{}\n" + line + b"\n[\n" + line
    assert outcome(LINES, [whole], type=type) == expected(LINES, whole, type)


def test_the_limit_counts_a_line_without_its_newline_but_with_its_carriage_return() -> None:
    first, second, *long = outcome(LINES, [b"[1]\n[2]\n[3]\r\n    \n"], type=bytes, max_record_bytes=3)
    assert (first, second, [error.kind for error in long]) == (b"[1]", b"[2]", ["too_long"] * 2)
