"""The command, as a user meets it: what it reads and writes, what it prints, and with which status it ends."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import os
import resource
import threading
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from chatcodec import frames, ndjson
from chatcodec._stats.summary import Summary
from chatcodec.cli import _files, _work
from chatcodec.cli._jobs import Meter
from chatcodec.cli._output import output

from .commands import BAD, DELTAS, GOOD, REASON, RESPONSES, call, untimed, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file whose lines 2 and 5 are bad."""
    return written(tmp_path / "mixed.ndjson", GOOD, BAD, b"", GOOD, GOOD + GOOD, GOOD)


def feed_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_stats_sums_up_all_files(capfd: Capture) -> None:
    status, out, err = call(capfd, "stats", "--json", RESPONSES, DELTAS)
    records = ndjson.StreamDecoder().feed(RESPONSES.read_bytes() + DELTAS.read_bytes())
    summary = Summary()
    summary.add(records)
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert report["records"] == len(records)
    assert report["cost"]["total"] == pytest.approx(summary.report().cost.total)
    assert report["latency"]["p99"] == summary.report().latency.p99
    assert report["sessions"] == len({record.session_id for record in records})
    assert report["first"] == "2026-03-01T08:02:56.279000Z"


def test_stats_counts_bad_records_and_ends_with_0(capfd: Capture, mixed: Path) -> None:
    status, out, err = call(capfd, "stats", "--json", mixed)
    report = json.loads(out)
    assert (status, report["records"], report["bad"], err) == (0, 3, 2, "")


def test_choices_of_the_wrong_type_make_a_record_bad(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", b'{"choices":[1]}', b'{"choices":[{"text":"\xff"}]}', b'{"choices":{}}')
    assert json.loads(call(capfd, "stats", "--json", path).out)["bad"] == 3


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


def test_a_terminal_without_unicode_gets_ascii(capfd: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = tmp_path / "shown"
    with shown.open("w", encoding="ascii") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert call(capfd, "stats", RESPONSES).status == 0
    assert "###" in shown.read_text()


def test_estimates_come_with_their_error(capfd: Capture, tmp_path: Path) -> None:
    lines = [b'{"cost":%d,"sessionId":"%d"}' % (number, number) for number in range(60_000)]
    out = call(capfd, "stats", written(tmp_path / "many.ndjson", *lines)).out
    assert "p50 to p99 are 0.05% too low at the most." in out
    assert "% off at most in 95 of 100 cases)" in out


def test_check_names_the_place_and_the_reason_and_ends_with_1(capfd: Capture, mixed: Path) -> None:
    status, out, err = call(capfd, "check", mixed)
    assert (status, err) == (1, "")
    first, second = out.splitlines()
    assert first == f"{mixed}:2: {REASON}"
    assert second.startswith(f"{mixed}:5: JSON is malformed")


def test_check_says_the_same_to_machines(capfd: Capture, mixed: Path) -> None:
    status, out, _ = call(capfd, "check", "--json", mixed)
    first, second = map(json.loads, out.splitlines())
    assert status == 1
    assert first == {"file": str(mixed), "line": 2, "offset": len(GOOD) + 1, "reason": REASON}
    assert second["line"] == 5


def test_check_has_nothing_to_say_about_good_files(capfd: Capture) -> None:
    assert call(capfd, "check", RESPONSES, DELTAS) == (0, "", "")


def test_a_file_without_records_has_nothing_bad(capfd: Capture, tmp_path: Path) -> None:
    empty = written(tmp_path / "empty.ndjson")
    assert call(capfd, "check", empty) == (0, "", "")
    assert call(capfd, "convert", empty, tmp_path / "empty.msgpack") == (0, "", "")
    assert (tmp_path / "empty.msgpack").read_bytes() == b""


def test_lines_are_counted_in_each_file_anew(capfd: Capture, mixed: Path) -> None:
    once = call(capfd, "check", mixed).out
    assert call(capfd, "check", mixed, mixed).out == once * 2


def test_in_frames_the_line_is_the_number_of_the_frame(capfd: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.msgpack"
    path.write_bytes(frames.encode([b"\x80"]) + bytes(4) + frames.encode([b"\x90"]) + b"\0")
    status, out, _ = call(capfd, "check", path)
    assert status == 1
    assert [line.split(": ")[0] for line in out.splitlines()] == [f"{path}:3", f"{path}:4"]


ENDINGS = [f"{format}{compression}" for format in ("ndjson", "jsonl", "msgpack") for compression in ("", ".gz", ".zst")]


@pytest.mark.parametrize("ending", ENDINGS)
def test_convert_goes_by_the_names_and_loses_nothing(capfd: Capture, tmp_path: Path, ending: str) -> None:
    there, back = tmp_path / f"there.{ending}", tmp_path / "back.ndjson"
    assert call(capfd, "convert", RESPONSES, there) == (0, "", "")
    assert call(capfd, "check", there) == (0, "", "")
    assert call(capfd, "convert", there, back) == (0, "", "")
    assert untimed(back.read_bytes(), json.loads) == untimed(RESPONSES.read_bytes(), json.loads)


def test_within_a_format_records_stay_as_they_came(capfd: Capture, tmp_path: Path) -> None:
    odd = written(tmp_path / "odd.ndjson", b' {"cost" : 1.00, "\\u0078":[]}', b'{"cost":1e2}\r')
    assert call(capfd, "convert", odd, tmp_path / "a.ndjson").status == 0
    assert (tmp_path / "a.ndjson").read_bytes() == odd.read_bytes().replace(b"\r", b"")
    message = b"\x81\xa1x\xcd\x00\x01"
    (tmp_path / "b.msgpack").write_bytes(frames.encode([message]))
    assert call(capfd, "convert", tmp_path / "b.msgpack", tmp_path / "c.msgpack").status == 0
    assert (tmp_path / "c.msgpack").read_bytes() == frames.encode([message])


@pytest.mark.parametrize("target", ["a.ndjson", "a.msgpack"])
def test_convert_leaves_bad_records_out_tells_them_and_ends_with_1(
    capfd: Capture, tmp_path: Path, mixed: Path, target: str
) -> None:
    status, out, err = call(capfd, "convert", mixed, tmp_path / target)
    assert (status, out) == (1, "")
    assert [line.split(": ")[0] for line in err.splitlines()] == [f"{mixed}:2", f"{mixed}:5"]
    back = tmp_path / "back.ndjson"
    assert call(capfd, "convert", tmp_path / target, back).status == 0
    assert [json.loads(line) for line in back.read_bytes().splitlines()] == [{"cost": 1.5, "region": "eu"}] * 3


def test_what_the_other_format_cannot_hold_is_a_bad_record_too(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "big.ndjson", GOOD, b"", b'{"x":%d}' % 2**64, GOOD)
    status, _, err = call(capfd, "convert", path, tmp_path / "big.msgpack")
    assert (status, err) == (1, f"{path}:3: a value is beyond what the format can hold\n")
    assert (tmp_path / "big.msgpack").read_bytes().count(b"region") == 2


def test_convert_replaces_what_was_there_behind_a_link_too(capfd: Capture, tmp_path: Path) -> None:
    written(tmp_path / "old.ndjson", b"old")
    (tmp_path / "link.ndjson").symlink_to("old.ndjson")
    assert call(capfd, "convert", RESPONSES, tmp_path / "link.ndjson").status == 0
    assert (tmp_path / "old.ndjson").read_bytes() == RESPONSES.read_bytes()
    assert (tmp_path / "link.ndjson").is_symlink()


def test_a_file_can_be_converted_onto_itself(capfd: Capture, mixed: Path) -> None:
    assert call(capfd, "convert", mixed, mixed).status == 1
    assert call(capfd, "check", mixed).status == 0
    assert mixed.read_bytes().count(b"\n") == 3


def test_nothing_is_left_of_a_conversion_that_fails(capfd: Capture, tmp_path: Path) -> None:
    source = tmp_path / "cut.ndjson.gz"
    source.write_bytes(gzip.compress(RESPONSES.read_bytes())[:-20])
    status, out, err = call(capfd, "convert", source, tmp_path / "a.ndjson")
    assert (status, out) == (2, "")
    assert err == f"chatcodec: {source}: Compressed file ended before the end-of-stream marker was reached\n"
    assert list(tmp_path.iterdir()) == [source]


def test_a_dash_is_a_standard_stream(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    feed_stdin(monkeypatch, GOOD + b"\n" + BAD)
    assert call(capfd, "convert", "--from=ndjson", "--to=ndjson", "-", "-") == (
        1, GOOD.decode() + "\n", f"-:2: {REASON}\n"
    )  # fmt: skip
    feed_stdin(monkeypatch, frames.encode([b"\x80"]) * 3)
    assert json.loads(call(capfd, "stats", "--json", "--from=msgpack", "-").out)["records"] == 3


def test_told_formats_go_before_names(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt.gz")
    path.write_bytes(gzip.compress(BAD))
    assert call(capfd, "check", "--from=ndjson", path).out == f"{path}:1: {REASON}\n"
    assert call(capfd, "convert", "--to=msgpack", DELTAS, tmp_path / "a.ndjson").status == 0
    assert call(capfd, "check", "--from=msgpack", tmp_path / "a.ndjson").status == 0
    assert call(capfd, "check", tmp_path / "a.ndjson").status == 1


def test_compressed_files_may_have_many_members(capfd: Capture, tmp_path: Path) -> None:
    for path, compress in (tmp_path / "a.ndjson.gz", gzip.compress), (tmp_path / "a.ndjson.zst", zstandard.compress):
        path.write_bytes(b"".join(compress(line) for line in DELTAS.read_bytes().splitlines(keepends=True)))
        assert json.loads(call(capfd, "stats", "--json", path).out)["records"] == 632


def test_a_compressed_file_says_neither_when_it_was_written_nor_its_name(capfd: Capture, tmp_path: Path) -> None:
    target = tmp_path / "a.ndjson.gz"
    assert call(capfd, "convert", DELTAS, target).status == 0
    assert target.read_bytes()[3:8] == bytes(5)  # RFC 1952: no flag says that a name follows, and no time stamp


def test_the_end_of_a_long_line_is_found_without_holding_it(tmp_path: Path) -> None:
    path = written(tmp_path / "long.ndjson", b'"%b"' % (b"x" * 4_000_000), GOOD)
    tracemalloc.start()
    try:
        assert len(list(_files.segments(_files.File(str(path), "ndjson", ""), 100))) == 2
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


def test_checking_keeps_no_record(mixed: Path) -> None:
    segment = _files.Segment(_files.File(str(mixed), "ndjson", ""))
    assert {part.value for part in _work.check(segment, Meter())} == {None}


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_cannot_be_opened_is_named(mixed: Path, tmp_path: Path) -> None:
    source, target = (_files.File(str(path), "ndjson", "") for path in (mixed, tmp_path / "target.ndjson"))
    for file, opened in (
        (source, lambda: list(_files.segments(source, 100))),
        (source, lambda: list(_files.chunks(_files.Segment(source), Meter()))),
        (target, lambda: output(target).__enter__()),
    ):
        with no_more_files(), pytest.raises(_files.Failure, match=f"^{file.name}: Too many open files$"):
            opened()


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


NO_FORMAT = "the name says no format (.ndjson, .jsonl, .msgpack, and .gz or .zst on top); tell it with"
HELP = [
    ("--help", "Usage: chatcodec [OPTIONS] COMMAND [ARGS]..."),
    ("stats --help", "Usage: chatcodec stats [OPTIONS] FILE..."),
    ("check --help", "Usage: chatcodec check [OPTIONS] FILE..."),
    ("convert --help", "Usage: chatcodec convert [OPTIONS] SRC DST"),
    ("check --help", "--from [ndjson|msgpack] The format read; without it, what the name says."),
    ("convert --help", "--to [ndjson|msgpack] The format written; without it, what the name says."),
    ("stats --help", "--jobs INTEGER RANGE How many processes read NDJSON files that are not compressed;"),
    ("stats --help", "other files are read by one. [default: (all cores)"),
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
    (["check", "--from=xml", "a.ndjson"], "Invalid value for '--from': 'xml' is not one of 'ndjson', 'msgpack'."),
    (["convert", "--to=xml", "a.ndjson", "b"], "Invalid value for '--to': 'xml' is not one of 'ndjson', 'msgpack'."),
    (["check", "a"], f"a: {NO_FORMAT} --from"),
    (["convert", "a", "-"], f"a: {NO_FORMAT} --from"),
    (["convert", str(DELTAS), "-"], f"-: {NO_FORMAT} --to"),
    (["stats", "a.txt.gz"], f"a.txt.gz: {NO_FORMAT} --from"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_errors_are_one_line_and_end_with_2(capfd: Capture, arguments: list[str], line: str) -> None:
    assert call(capfd, *arguments) == (2, "", f"chatcodec: {line}\n")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.ndjson.gz", b"plain", "Not a gzipped file"),
        (
            "a.ndjson.gz",
            gzip.compress(b"{}", mtime=0)[:10] + b"\xff" * 9,
            "Error -3 while decompressing data: invalid block type",
        ),
        ("a.ndjson.zst", b"plain", "zstd decompressor error: Unknown frame descriptor"),
        ("a.ndjson.zst", zstandard.compress(b"{}" * 99)[:-3], "Compressed file ended before the end of a frame"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_an_error(
    capfd: Capture, tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert call(capfd, "check", path) == (2, "", f"chatcodec: {path}: {reason}\n")


@pytest.mark.parametrize("arguments", [("check", "a.ndjson.zst"), ("convert", DELTAS, "a.ndjson.zst")])
def test_without_its_library_zstandard_is_asked_for(
    capfd: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    if arguments[0] == "check":
        written(tmp_path / "a.ndjson.zst")
    line = "chatcodec: a.ndjson.zst: Zstandard needs one package more: pip install zstandard\n"
    assert call(capfd, *arguments) == (2, "", line)
