"""What ``convert`` makes of streams: it finds the bad records where ``check`` does, and keeps all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import RecordError, frames, json, msgpack, ndjson
from chatcodec.cli._convert import Converter

from .commands import BAD, GOOD, call, written

if TYPE_CHECKING:
    from pathlib import Path

    from chatcodec.cli._files import Format

pytestmark = pytest.mark.extras

FRAMES = [b"\x80", b"\x81\xa4cost\x01", b"\x81\xa4cost\xa1x", b"\xc1", b"", b"\x90"]
LINES = [GOOD, BAD, b"", b" \t\r", GOOD + b"\r", GOOD + GOOD, b"{", b'"\xff"', b'\xef\xbb\xbf{"cost":1}']

FRAME_STREAMS = st.lists(st.sampled_from(FRAMES)).map(
    lambda messages: b"".join(len(message).to_bytes(4, "big") + message for message in messages)
)
LINE_STREAMS = st.lists(st.sampled_from(LINES)).map(lambda lines: b"".join(line + b"\n" for line in lines))

Outcome = tuple[list[bytes], list[tuple[str, int, int]]]


def outcome(make: Any, data: bytes, size: int) -> Outcome:
    """Return what a decoder returns for `data` in chunks of `size`, and the places of its errors."""
    errors: list[RecordError] = []
    decoder = make(on_error=errors.append)
    found = [record for start in range(0, len(data), size) for record in decoder.feed(data[start : start + size])]
    return found + decoder.finish(), [(error.unit, error.index, error.offset) for error in errors]


def check_against(stream: Any, codec: Any, source: Format, data: bytes, size: int) -> None:
    """Compare converting `data` to its own format with decoding it."""
    messages, places = outcome(lambda **options: Converter(source, source, **options), data, size)
    assert (list(map(codec.decode, messages)), places) == outcome(stream.StreamDecoder, data, size)
    as_they_came, _ = outcome(lambda **options: stream.StreamDecoder(bytes, **options), data, len(data) + 1)
    assert [message for message in as_they_came if message in messages] == messages


@given(data=LINE_STREAMS, last=st.sampled_from(LINES), size=st.integers(1, 40))
def test_lines_are_found_bad_where_they_are(data: bytes, last: bytes, size: int) -> None:
    check_against(ndjson, json, "ndjson", data + last, size)


@given(data=FRAME_STREAMS, last=st.sampled_from([b"", b"\0\0", b"\0\0\0\5\x80"]), size=st.integers(1, 40))
def test_frames_are_found_bad_where_they_are(data: bytes, last: bytes, size: int) -> None:
    check_against(frames, msgpack, "msgpack", data + last, size)


@pytest.mark.parametrize("source", ["ndjson", "msgpack"])
def test_what_cannot_be_written_has_a_place_too(source: Format) -> None:
    target: Format = "msgpack" if source == "ndjson" else "ndjson"
    good, bad = (b"{}", b'{"x":%d}' % 2**64) if source == "ndjson" else (b"\x80", b"\x81\xa1x\xd4\x05\0")
    encode = ndjson.encode if source == "ndjson" else frames.encode
    blank = b"\n" if source == "ndjson" else bytes(4)
    data = encode([good]) + blank + encode([bad, good, bad])
    messages, places = outcome(lambda **options: Converter(source, target, **options), data, 3)
    assert len(messages) == 2
    first = len(encode([good]) + blank)
    assert [(index, offset) for _, index, offset in places] == [(3, first), (5, first + len(encode([bad, good])))]


@pytest.mark.parametrize("name", ["long.ndjson", "long.msgpack"])
def test_what_is_longer_than_the_limit_is_left_out(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    line = b'{"x":"%b"}' % (b"x" * 2**24)
    path = written(tmp_path / "long.ndjson", GOOD, b"", line, BAD)
    if name == "long.msgpack":
        path = tmp_path / name
        path.write_bytes(frames.encode([b"\x80"]) + bytes(4) + frames.encode([line, b"\x90"]))
    status, _, err = call(capfd, "convert", path, tmp_path / "short.ndjson")
    assert status == 1
    assert [line.split(":")[1] for line in err.splitlines()] == ["3", "4"]
    assert (tmp_path / "short.ndjson").read_bytes().count(b"\n") == 1
