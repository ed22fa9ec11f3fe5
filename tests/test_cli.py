"""The command, as a user meets it: what it reads and writes, what it prints, and with which status it ends."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import frames, ndjson, sse
from chatcodec._stats.summary import Summary

from .commands import BAD, DELTAS, GOOD, REASON, RESPONSES, call, counted, found, summed_up, written

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extras

Capture = pytest.CaptureFixture[str]

ERROR = "the provider reported an error"


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file whose lines 2 and 5 are bad."""
    return written(tmp_path / "mixed.ndjson", GOOD, BAD, b"", GOOD, GOOD + GOOD, GOOD)


def test_stats_sums_up_all_files(capfd: Capture) -> None:
    report = summed_up(capfd, RESPONSES, DELTAS)
    records = ndjson.StreamDecoder().feed(RESPONSES.read_bytes() + DELTAS.read_bytes())
    summary = Summary()
    summary.add(records)
    assert report["records"] == len(records)
    assert report["cost"]["total"] == pytest.approx(summary.report().cost.total)
    assert report["latency"]["p99"] == summary.report().latency.p99
    assert report["sessions"] == len({record.session_id for record in records})
    assert report["first"] == "2026-03-01T08:02:56.279000Z"


def test_stats_prints_figures_and_histograms_for_a_person(capfd: Capture) -> None:
    status, out, _ = call(capfd, "stats", RESPONSES)
    lines = [line.split() for line in out.splitlines()]
    assert status == 0
    assert ["records", "75"] in lines
    assert ["first", "2026-03-01", "08:02:56.279+00:00"] in lines
    assert ["│", "count", "│", "75", "│", "75", "│"] in lines
    assert "p50 to p99 are exact." in out
    assert "█" in out
    assert sum(float(line[-1][:-1]) for line in lines if line and line[-1].endswith("%")) == pytest.approx(200, abs=2)


def test_where_there_is_nothing_to_see_no_histogram_is_shown(capfd: Capture, tmp_path: Path) -> None:
    out = call(capfd, "stats", written(tmp_path / "empty.ndjson")).out
    assert "█" not in out
    assert ["│", "p50", "│", "-", "│", "-", "│"] in [line.split() for line in out.splitlines()]


def test_estimates_come_with_their_error(capfd: Capture, tmp_path: Path) -> None:
    lines = [b'{"cost":%d,"sessionId":"%d"}' % (number, number) for number in range(60_000)]
    out = call(capfd, "stats", written(tmp_path / "many.ndjson", *lines)).out
    assert "p50 to p99 are too low by 0.05% at most." in out
    assert "%, with 95 % confidence)" in out


def test_check_names_the_place_and_the_reason_and_ends_with_1(capfd: Capture, mixed: Path) -> None:
    status, out, err = call(capfd, "check", mixed)
    assert (status, err) == (1, "")
    first, second = out.splitlines()
    assert first == f"{mixed}:2: {REASON}"
    assert second.startswith(f"{mixed}:5: JSON is malformed")


def test_check_says_the_same_to_machines(capfd: Capture, mixed: Path) -> None:
    first, second = found(capfd, mixed)
    assert first == {"file": str(mixed), "line": 2, "offset": len(GOOD) + 1, "kind": "invalid", "reason": REASON}
    assert second["line"] == 5


@pytest.mark.parametrize("ending", ["ndjson", "msgpack", "sse"])
def test_errors_that_a_provider_reported_are_counted_apart_and_kept(
    capfd: Capture, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    errors = [b'{"error":{"message":"overloaded"}}', b'{"error":null}', b'{"error":"busy"}']
    lines = written(tmp_path / "lines.ndjson", GOOD, *errors, BAD)
    assert call(capfd, "convert", lines, path).status == 1
    assert counted(capfd, path) == (2, 2, 0)
    assert call(capfd, "check", path) == (1, f"{path}:2: {ERROR}\n{path}:4: {ERROR}\n", "")
    assert [bad["kind"] for bad in found(capfd, path)] == ["upstream", "upstream"]
    assert call(capfd, "convert", path, tmp_path / "back.ndjson") == (0, "", "")
    back = [json.loads(line) for line in (tmp_path / "back.ndjson").read_bytes().splitlines()]
    assert back == [json.loads(line) for line in lines.read_bytes().splitlines()[:4]]


def test_an_error_event_is_counted_with_them_and_left_out(capfd: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.sse"
    path.write_bytes(b"data: {}\n\nevent: error\ndata: overloaded\n\n" + sse.encode([GOOD]) + sse.END)
    assert counted(capfd, path) == (2, 1, 0)
    line = f"{path}:2: {ERROR}\n"
    assert call(capfd, "check", path) == (1, line, "")
    assert call(capfd, "convert", path, tmp_path / "a.ndjson") == (1, "", line)
    assert (tmp_path / "a.ndjson").read_bytes() == b"{}\n" + GOOD + b"\n"


def test_what_was_broken_does_not_become_a_whole_event_stream(capfd: Capture, tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.ndjson", GOOD, BAD, GOOD)
    broken = written(tmp_path / "broken.ndjson", whole.read_bytes() + GOOD[:-1], end=b"")
    target = tmp_path / "a.sse"
    assert call(capfd, "convert", whole, target).status == 1
    assert target.read_bytes() == sse.encode([GOOD, GOOD]) + b"data: [DONE]\n\n"
    assert call(capfd, "convert", broken, target).status == 1
    assert target.read_bytes() == sse.encode([GOOD, GOOD])
    assert call(capfd, "check", target).status == 1


def test_a_longer_record_is_read_if_asked_for(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", b'{"x":"%b"}' % (b"x" * 2**24), GOOD)
    line = f"{path}:1: longer than the limit of 16777216 bytes; --max-record-bytes allows more\n"
    assert call(capfd, "check", path) == (1, line, "")
    assert call(capfd, "check", "--max-record-bytes=17000000", path) == (0, "", "")
    assert counted(capfd, "--max-record-bytes=27", path) == (1, 0, 1)
    assert call(capfd, "convert", "--max-record-bytes=26", path, tmp_path / "b.ndjson").err.count("26 bytes") == 2


def test_a_file_that_is_not_of_frames_is_named_so(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "a.msgpack", RESPONSES.read_bytes(), end=b"")
    status, out, _ = call(capfd, "check", path)
    assert status == 1
    assert "; frames begin with their length in 4 bytes, so this may be another format: try --from\n" in out


def test_lines_are_counted_in_each_file_anew(capfd: Capture, mixed: Path) -> None:
    once = call(capfd, "check", mixed).out
    assert call(capfd, "check", mixed, mixed).out == once * 2


NAMES = [f"a.{format}{ending}" for format in ("ndjson", "jsonl", "msgpack", "sse") for ending in ("", ".gz", ".zst")]
ROTATED = ["a.ndjson.7", "a.jsonl.12.gz", "a.msgpack.gz.3"]
CAPITALS = ["a.NDJSON", "a.Sse.zst", "A.MSGPACK.GZ"]


def untimed(lines: bytes) -> list[Any]:
    """Return the records of `lines` without their times, whose text transcoding may change."""
    return [{**json.loads(line), "timestamp": None} for line in lines.decode().split("\n") if line]


@pytest.mark.parametrize("name", NAMES + ROTATED + CAPITALS)
def test_convert_goes_by_the_names_and_loses_nothing(capfd: Capture, tmp_path: Path, name: str) -> None:
    there, back = tmp_path / name, tmp_path / "back.ndjson"
    assert call(capfd, "convert", RESPONSES, there) == (0, "", "")
    assert call(capfd, "check", there) == (0, "", "")
    assert call(capfd, "convert", there, back) == (0, "", "")
    assert untimed(back.read_bytes()) == untimed(RESPONSES.read_bytes())


def test_within_a_format_records_stay_as_they_came(capfd: Capture, tmp_path: Path) -> None:
    odd = written(tmp_path / "odd.ndjson", b' {"cost" : 1.00, "\\u0078":[]}', b'{"cost":1e2}\r')
    assert call(capfd, "convert", odd, tmp_path / "a.ndjson").status == 0
    assert (tmp_path / "a.ndjson").read_bytes() == odd.read_bytes().replace(b"\r", b"")
    message = b"\x81\xa1x\xcd\x00\x01"
    (tmp_path / "b.msgpack").write_bytes(frames.encode([message]))
    assert call(capfd, "convert", tmp_path / "b.msgpack", tmp_path / "c.msgpack").status == 0
    assert (tmp_path / "c.msgpack").read_bytes() == frames.encode([message])


def test_given_formats_override_names(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt.gz", gzip.compress(BAD + b"\n"), end=b"")
    assert call(capfd, "check", "--from=ndjson", path).out == f"{path}:1: {REASON}\n"
    assert call(capfd, "convert", "--to=msgpack", DELTAS, tmp_path / "a.ndjson").status == 0
    assert call(capfd, "check", "--from=msgpack", tmp_path / "a.ndjson").status == 0
    assert call(capfd, "check", tmp_path / "a.ndjson").status == 1


def test_a_compressed_file_says_neither_when_it_was_written_nor_its_name(capfd: Capture, tmp_path: Path) -> None:
    target = tmp_path / "a.ndjson.gz"
    assert call(capfd, "convert", DELTAS, target).status == 0
    assert target.read_bytes()[3:8] == bytes(5)  # RFC 1952: no flag says that a name follows, and no time stamp


def test_named_pipes_are_read_and_written_as_they_are(capfd: Capture, tmp_path: Path) -> None:
    source, target = tmp_path / "source.ndjson", tmp_path / "target.ndjson.gz"
    os.mkfifo(source)
    os.mkfifo(target)
    read: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: source.write_bytes(DELTAS.read_bytes()), daemon=True),
        threading.Thread(target=lambda: read.append(target.read_bytes()), daemon=True),
    ]
    for thread in threads:
        thread.start()
    assert call(capfd, "convert", source, target) == (0, "", "")
    assert target.is_fifo()
    for thread in threads:
        thread.join()
    assert gzip.decompress(read[0]) == DELTAS.read_bytes()


NO_FORMAT = "cannot infer the format from the file name (.ndjson, .jsonl, .msgpack, .sse); use"
NO_XML = "'xml' is not one of 'ndjson', 'msgpack', 'sse'."
HELP = [
    ("--help", "Usage: chatcodec [OPTIONS] COMMAND [ARGS]..."),
    ("stats --help", "Usage: chatcodec stats [OPTIONS] FILE..."),
    ("check --help", "Usage: chatcodec check [OPTIONS] FILE..."),
    ("convert --help", "Usage: chatcodec convert [OPTIONS] SRC DST"),
    ("check --help", "--from [ndjson|msgpack|sse] The format read. [default: by the name]"),
    ("convert --help", "--to [ndjson|msgpack|sse] The format written. [default: by the name]"),
    ("stats --help", "--jobs INTEGER RANGE How many processes read files of JSON lines that are not compressed;"),
    ("stats --help", "one reads the others. [default: (all cores)"),
    ("stats --help", "--max-record-bytes INTEGER RANGE Longer records are bad ones. [default: 16777216; x>=1]"),
    ("stats --help", "--json Print JSON, for machines."),
    ("--version", f"chatcodec, version {importlib.metadata.version('chatcodec')}"),
]


@pytest.mark.parametrize(("arguments", "text"), HELP)
def test_help_says_what_there_is(capfd: Capture, arguments: str, text: str) -> None:
    status, out, err = call(capfd, *arguments.split())
    assert (status, err) == (0, "")
    assert text in " ".join(out.split())


WRONG: list[tuple[list[str], str]] = [
    ([], "Missing command."),
    (["look"], "No such command 'look'."),
    (["stats"], "Missing argument 'FILE...'."),
    (["check", "--jobs=0", "a.ndjson"], "Invalid value for '--jobs': 0 is not in the range x>=1."),
    (["check", "/nowhere/a.ndjson"], "/nowhere/a.ndjson: No such file or directory"),
    (["check", "/proc", "--from=ndjson"], "/proc: Is a directory"),
    (["convert", str(DELTAS), "/nowhere/a.msgpack"], "/nowhere/a.msgpack: No such file or directory"),
    (["check", "--from=xml", "a.ndjson"], f"Invalid value for '--from': {NO_XML}"),
    (["convert", "--to=xml", "a.ndjson", "b"], f"Invalid value for '--to': {NO_XML}"),
    (["check", "a"], f"a: {NO_FORMAT} --from"),
    (["convert", "a", "-"], f"a: {NO_FORMAT} --from"),
    (["convert", str(DELTAS), "-"], f"-: {NO_FORMAT} --to"),
    (["stats", "a.txt.gz"], f"a.txt.gz: {NO_FORMAT} --from"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_errors_are_one_line_and_end_with_2(capfd: Capture, arguments: list[str], line: str) -> None:
    assert call(capfd, *arguments) == (2, "", f"chatcodec: {line}\n")
