"""The command, as a user meets it: what it reads and writes, what it prints, and with which status it ends."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import frames, ndjson, sse
from chatcodec._stats.summary import Summary

from .commands import BAD, COMPRESS, DELTAS, GOOD, REASON, RESPONSES, call, counted, found, peak_memory, written
from .support import BOM, FRAMES

pytestmark = pytest.mark.extras

ERROR = "the provider reported an error"


def test_stats_sums_up_all_files() -> None:
    report, summary = json.loads(call("stats", "--json", RESPONSES, DELTAS).out), Summary()
    records = ndjson.StreamDecoder().feed(RESPONSES.read_bytes() + DELTAS.read_bytes())
    summary.add(records)
    assert report["records"] == len(records)
    assert report["cost"]["total"] == pytest.approx(summary.report().cost.total)
    assert report["latency"]["p99"] == summary.report().latency.p99
    assert report["sessions"] == len({record.session_id for record in records})
    assert report["first"] == "2026-03-01T08:02:56.279000Z"


def test_stats_prints_figures_and_histograms_for_a_person() -> None:
    status, out, _ = call("stats", RESPONSES)
    lines = [line.split() for line in out.splitlines()]
    assert status == 0
    assert ["records", "75"] in lines
    assert ["first", "2026-03-01", "08:02:56.279+00:00"] in lines
    assert ["│", "count", "│", "75", "│", "75", "│"] in lines
    assert "p50 to p99 are exact." in out
    assert "█" in out
    assert sum(float(line[-1][:-1]) for line in lines if line and line[-1].endswith("%")) == pytest.approx(200, abs=2)


def test_stats_shows_no_histogram_of_no_records(tmp_path: Path) -> None:
    out = call("stats", written(tmp_path / "empty.ndjson")).out
    assert "█" not in out
    assert ["│", "p50", "│", "-", "│", "-", "│"] in [line.split() for line in out.splitlines()]


def test_check_names_the_place_and_the_reason_and_exits_with_1(tmp_path: Path) -> None:
    path = written(tmp_path / "mixed.ndjson", GOOD, BAD, b"", GOOD, GOOD + GOOD, GOOD)
    status, out, err = call("check", path)
    assert (status, err) == (1, "")
    first, second = out.splitlines()
    assert first == f"{path}:2: {REASON}"
    assert second.startswith(f"{path}:5: JSON is malformed")
    # Lines are counted in each file anew.
    assert call("check", path, path).out == out * 2
    first, second = found(path)
    assert first == {"file": str(path), "line": 2, "offset": len(GOOD) + 1, "kind": "invalid", "reason": REASON}
    assert second["line"] == 5


@pytest.mark.parametrize("ending", ["ndjson", "msgpack", "sse"])
def test_provider_errors_are_counted_apart_and_kept(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    errors = [b'{"error":{"message":"overloaded"}}', b'{"error":null}', b'{"error":"busy"}']
    lines = written(tmp_path / "lines.ndjson", GOOD, *errors, BAD)
    assert call("convert", lines, path).status == 1
    assert counted(path) == (2, 2, 0)
    assert call("check", path) == (1, f"{path}:2: {ERROR}\n{path}:4: {ERROR}\n", "")
    assert [bad["kind"] for bad in found(path)] == ["upstream", "upstream"]
    assert call("convert", path, tmp_path / "back.ndjson") == (0, "", "")
    back = [json.loads(line) for line in (tmp_path / "back.ndjson").read_bytes().splitlines()]
    assert back == [json.loads(line) for line in lines.read_bytes().splitlines()[:4]]


def test_a_broken_stream_does_not_become_a_whole_event_stream(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.ndjson", GOOD, BAD, GOOD)
    broken = written(tmp_path / "broken.ndjson", whole.read_bytes() + GOOD[:-1], end=b"")
    target = tmp_path / "a.sse"
    assert call("convert", whole, target).status == 1
    assert target.read_bytes() == sse.encode([GOOD, GOOD]) + b"data: [DONE]\n\n"
    assert call("convert", broken, target).status == 1
    assert target.read_bytes() == sse.encode([GOOD, GOOD])
    assert call("check", target).status == 1


def test_a_record_that_is_too_long_comes_with_what_to_try(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", b'{"x":"%b"}' % (b"x" * 2**24), GOOD)
    line = f"{path}:1: longer than the limit of 16777216 bytes; --max-record-bytes allows more\n"
    assert call("check", path) == (1, line, "")
    assert call("check", "--max-record-bytes=17000000", path) == (0, "", "")
    assert counted("--max-record-bytes=27", path) == (1, 0, 1)
    assert call("convert", "--max-record-bytes=26", path, tmp_path / "b.ndjson").err.count("26 bytes") == 2
    other = written(tmp_path / "a.msgpack", RESPONSES.read_bytes(), end=b"")
    hint = "; frames begin with their length in 4 bytes, so this may be another format: try --from\n"
    assert hint in call("check", other).out


NAMES = [f"a.{format}{ending}" for format in ("ndjson", "jsonl", "msgpack", "sse") for ending in ("", ".gz", ".zst")]
ROTATED = ["a.ndjson.7", "a.jsonl.12.gz", "a.msgpack.gz.3"]
CAPITALS = ["a.NDJSON", "a.Sse.zst", "A.MSGPACK.GZ"]


def untimed(path: Path) -> list[Any]:
    """Return the records of a file without their times, whose text transcoding may change."""
    return [{**json.loads(line), "timestamp": None} for line in path.read_text("utf-8").split("\n") if line]


@pytest.mark.parametrize("name", NAMES + ROTATED + CAPITALS)
def test_convert_infers_formats_from_names_and_loses_nothing(tmp_path: Path, name: str) -> None:
    there, back = tmp_path / name, tmp_path / "back.ndjson"
    for arguments in ("convert", RESPONSES, there), ("check", there), ("convert", there, back):
        assert call(*arguments) == (0, "", "")
    assert untimed(back) == untimed(RESPONSES)


def test_records_keep_their_bytes_within_a_format_and_between_lines_and_events(tmp_path: Path) -> None:
    odd = [b' {"cost" : 1.00, "\\u0078":[]}', GOOD]
    names = [tmp_path / name for name in ("odd.ndjson", "a.ndjson", "b.sse", "c.ndjson")]
    written(names[0], odd[0], odd[1] + b"\r", b"")
    for source, target in pairwise(names):
        assert call("convert", source, target).status == 0
    assert names[1].read_bytes() == names[3].read_bytes() == b"".join(line + b"\n" for line in odd)
    assert names[2].read_bytes() == sse.encode(odd) + b"data: [DONE]\n\n"
    message = frames.encode([b"\x81\xa1x\xcd\x00\x01"])
    assert call("convert", written(tmp_path / "b.msgpack", message, end=b""), tmp_path / "c.msgpack").status == 0
    assert (tmp_path / "c.msgpack").read_bytes() == message


LINES = [GOOD, BAD, b"", b" \t\r", GOOD + b"\r", GOOD + GOOD, b"{", b'"\xff"', BOM + b'{"cost":1}']
MESSAGES = [b"\x80", b"\x81\xa4cost\x01", b"\x81\xa4cost\xa1x", b"\xc1", b"", b"\x90"]
BLOCKS = b"data: {}|data:{\ndata:}|data: [DONE]|: comment|data: x|event: error|<html>|data".split(b"|")
PIECES = {
    "ndjson": [line + b"\n" for line in LINES],
    "msgpack": [FRAMES.frame(message) for message in MESSAGES],
    "sse": [block + b"\n\n" for block in BLOCKS],
}


@pytest.mark.parametrize("ending", PIECES)
@given(data=st.data())
def test_convert_leaves_out_what_check_finds_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    path, target, other = (tmp_path_factory.getbasetemp() / name for name in (f"a.{ending}", f"b.{ending}", "c.ndjson"))
    pieces = data.draw(st.lists(st.sampled_from(PIECES[ending])))
    path.write_bytes(b"".join(pieces)[: data.draw(st.integers(0, 200))])
    status, found, _ = call("check", path)
    for to in target, other:
        assert call("convert", path, to) == (status, "", found)
    records, errors, bad = counted(path)
    assert errors + bad == found.count("\n")
    assert counted(target)[0] == records
    assert call("check", other) == (0, "", "")
    assert other.read_bytes().count(b"\n") == records


BIG_NUMBERS = b'{"cost":1}\n\n{"x":%d}\n{}\n{"x":%d}\n' % (2**64, 2**64)
EXTENSIONS = FRAMES.framed(b"\x80", b"", b"\x81\xa1x\xd4\x05\0", b"\x80", b"\x81\xa1x\xd4\x05\0")
UNWRITABLE = [
    ("a.ndjson", BIG_NUMBERS, "a.msgpack", "a value is beyond what the format can hold"),
    ("a.msgpack", EXTENSIONS, "a.ndjson", "a value or key is of a kind that the format cannot hold"),
]


@pytest.mark.parametrize(("source", "data", "target", "reason"), UNWRITABLE)
def test_a_value_that_the_other_format_cannot_hold_makes_a_bad_record(
    tmp_path: Path, source: str, data: bytes, target: str, reason: str
) -> None:
    path = written(tmp_path / source, data, end=b"")
    assert call("convert", path, tmp_path / target) == (1, "", f"{path}:3: {reason}\n{path}:5: {reason}\n")
    assert counted(tmp_path / target) == (2, 0, 0)


def test_the_options_from_and_to_override_file_names(tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt.gz", gzip.compress(BAD + b"\n"), end=b"")
    assert call("check", "--from=ndjson", path).out == f"{path}:1: {REASON}\n"
    assert call("convert", "--to=msgpack", DELTAS, tmp_path / "a.ndjson").status == 0
    assert call("check", "--from=msgpack", tmp_path / "a.ndjson").status == 0
    assert call("check", tmp_path / "a.ndjson").status == 1


def test_a_compressed_file_holds_neither_its_name_nor_its_time(tmp_path: Path) -> None:
    target = tmp_path / "a.ndjson.gz"
    assert call("convert", DELTAS, target).status == 0
    assert target.read_bytes()[3:8] == bytes(5)  # RFC 1952: no flag says that a name follows, and no time stamp


def test_named_pipes_are_read_and_written_and_not_replaced(tmp_path: Path) -> None:
    source, target = tmp_path / "source.ndjson", tmp_path / "target.ndjson.gz"
    os.mkfifo(source)
    os.mkfifo(target)
    with Popen(["timeout", "60", "cp", DELTAS, source]), Popen(["timeout", "60", "cat", target], stdout=PIPE) as reader:
        assert call("convert", source, target) == (0, "", "")
        assert gzip.decompress(reader.communicate()[0]) == DELTAS.read_bytes()
    assert target.is_fifo()


@pytest.mark.parametrize("command", ["stats", "check", "convert"])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, command: str) -> None:
    sample = COMPRESS["gz"](RESPONSES.read_bytes())
    short, long = (written(tmp_path / f"{count}.ndjson.gz", sample * count, end=b"") for count in (2, 100))
    target = ["/dev/null", "--to=msgpack"] * (command == "convert")
    assert peak_memory(command, long, *target) < peak_memory(command, short, *target) + 8 * 1024


def test_memory_does_not_grow_with_the_ratio_of_the_compression(tmp_path: Path) -> None:
    line = b'{"x":"%b"}\n' % (b"x" * 2**20)
    short, long = (written(tmp_path / f"{n}.ndjson.zst", COMPRESS["zst"](line * n), end=b"") for n in (1, 100))
    assert peak_memory("check", long) < peak_memory("check", short) + 24 * 1024


NO_FORMAT = "cannot infer the format from the file name (.ndjson, .jsonl, .msgpack, .sse); use"
NO_XML = "'xml' is not one of 'ndjson', 'msgpack', 'sse'."
HELP = [
    ("--help", "Usage: chatcodec [OPTIONS] COMMAND [ARGS]..."),
    ("stats --help", "Usage: chatcodec stats [OPTIONS] FILE..."),
    ("check --help", "Usage: chatcodec check [OPTIONS] FILE..."),
    ("convert --help", "Usage: chatcodec convert [OPTIONS] SRC DST"),
    ("check --help", "--from [ndjson|msgpack|sse] Format of the input. [default: from its name]"),
    ("convert --help", "--to [ndjson|msgpack|sse] Format of the output. [default: from its name]"),
    ("stats --help", "--jobs INTEGER RANGE Processes that read uncompressed JSON lines; any other file"),
    ("stats --help", "is read by one. [default: (all cores); x>=1]"),
    ("stats --help", "--max-record-bytes INTEGER RANGE A longer record is a bad record. [default: 16777216; x>=1]"),
    ("stats --help", "--json Print JSON, for machines."),
    ("--version", f"chatcodec, version {importlib.metadata.version('chatcodec')}"),
]
WRONG = [
    ("", "Missing command."),
    ("look", "No such command 'look'."),
    ("stats", "Missing argument 'FILE...'."),
    ("check --jobs=0 a.ndjson", "Invalid value for '--jobs': 0 is not in the range x>=1."),
    ("check /nowhere/a.ndjson", "/nowhere/a.ndjson: No such file or directory"),
    ("check /proc --from=ndjson", "/proc: Is a directory"),
    (f"convert {DELTAS} /nowhere/a.msgpack", "/nowhere/a.msgpack: No such file or directory"),
    ("check --from=xml a.ndjson", f"Invalid value for '--from': {NO_XML}"),
    ("convert --to=xml a.ndjson b", f"Invalid value for '--to': {NO_XML}"),
    ("check a", f"a: {NO_FORMAT} --from"),
    ("convert a -", f"a: {NO_FORMAT} --from"),
    (f"convert {DELTAS} -", f"-: {NO_FORMAT} --to"),
    ("stats a.txt.gz", f"a.txt.gz: {NO_FORMAT} --from"),
]


@pytest.mark.parametrize(("arguments", "text"), HELP)
def test_help_lists_the_commands_and_their_options(arguments: str, text: str) -> None:
    status, out, err = call(*arguments.split())
    assert (status, err) == (0, "")
    assert text in " ".join(out.split())


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_errors_are_one_line_and_exit_with_2(arguments: str, line: str) -> None:
    assert call(*arguments.split()) == (2, "", f"chatcodec: {line}\n")
