"""What ``convert`` makes of streams: it finds the bad records where ``check`` does, and keeps all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatcodec import sse

from .commands import BAD, GOOD, call, counted, written
from .support import BOM, FRAMES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extras

Capture = pytest.CaptureFixture[str]

LINES = [GOOD, BAD, b"", b" \t\r", GOOD + b"\r", GOOD + GOOD, b"{", b'"\xff"', BOM + b'{"cost":1}']
MESSAGES = [b"\x80", b"\x81\xa4cost\x01", b"\x81\xa4cost\xa1x", b"\xc1", b"", b"\x90"]
BLOCKS = b"data: {}|data:{\ndata:}|data: [DONE]|: comment|data: x|event: error|<html>|data".split(b"|")
PIECES = {
    "ndjson": [line + b"\n" for line in LINES],
    "msgpack": [FRAMES.frame(message) for message in MESSAGES],
    "sse": [block + b"\n\n" for block in BLOCKS],
}


@pytest.mark.parametrize("ending", PIECES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_leaves_out_what_check_finds_and_nothing_else(
    capfd: Capture, tmp_path: Path, ending: str, data: st.DataObject
) -> None:
    path, target, other = (tmp_path / name for name in (f"a.{ending}", f"b.{ending}", "c.ndjson"))
    pieces = data.draw(st.lists(st.sampled_from(PIECES[ending])))
    path.write_bytes(b"".join(pieces)[: data.draw(st.integers(0, 200))])
    status, found, _ = call(capfd, "check", path)
    for to in target, other:
        assert call(capfd, "convert", path, to) == (status, "", found)
    records, errors, bad = counted(capfd, path)
    assert errors + bad == found.count("\n")
    assert counted(capfd, target)[0] == records
    assert call(capfd, "check", other) == (0, "", "")
    assert other.read_bytes().count(b"\n") == records


def test_a_line_becomes_an_event_and_a_line_again(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", GOOD, b' {"cost": 1.00}\r', b"")
    assert call(capfd, "convert", path, tmp_path / "a.sse").status == 0
    assert (tmp_path / "a.sse").read_bytes() == sse.encode([GOOD, b' {"cost": 1.00}']) + b"data: [DONE]\n\n"
    assert call(capfd, "convert", tmp_path / "a.sse", tmp_path / "b.ndjson").status == 0
    assert (tmp_path / "b.ndjson").read_bytes() == GOOD + b'\n {"cost": 1.00}\n'


BIG_NUMBERS = b'{"cost":1}\n\n{"x":%d}\n{}\n{"x":%d}\n' % (2**64, 2**64)
EXTENSIONS = FRAMES.framed(b"\x80", b"", b"\x81\xa1x\xd4\x05\0", b"\x80", b"\x81\xa1x\xd4\x05\0")


@pytest.mark.parametrize(
    ("source", "data", "target", "reason"),
    [
        ("ndjson", BIG_NUMBERS, "msgpack", "a value is beyond what the format can hold"),
        ("msgpack", EXTENSIONS, "ndjson", "JSON cannot hold a MessagePack extension"),
    ],
)
def test_what_the_other_format_cannot_hold_is_a_bad_record_too(
    capfd: Capture, tmp_path: Path, source: str, data: bytes, target: str, reason: str
) -> None:
    path, other = tmp_path / f"a.{source}", tmp_path / f"a.{target}"
    path.write_bytes(data)
    assert call(capfd, "convert", path, other) == (1, "", f"{path}:3: {reason}\n{path}:5: {reason}\n")
    assert counted(capfd, other) == (2, 0, 0)
