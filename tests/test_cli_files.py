"""Files that a log's writer or a crash changes under the command: what it reads, and what it leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any

import pytest

from chatcodec import frames

from .commands import (
    BAD,
    COMPRESS,
    DELTAS,
    GOOD,
    REASON,
    RESPONSES,
    Capture,
    Outcome,
    Process,
    call,
    counted,
    finished,
    found,
    peak_memory,
    spawn,
    written,
)

pytestmark = pytest.mark.extras

TRUNCATED = "truncated while it was read"
LINES = (GOOD + b"\n") * 1000
OTHERS = b'{"cost":2.50,"region":"eu"}\n' * 1000
MEMBER = gzip.compress(GOOD + b"\n", mtime=0)


def stats_while(log: Path, change: Callable[[], object]) -> Outcome:
    """Return what ``stats`` says of `log`, if `change` happens after it was opened, and before it is read."""
    gate = log.with_name("gate.ndjson")
    os.mkfifo(gate)
    process = spawn("stats", "--json", gate, log, stdout=PIPE, stderr=PIPE)
    with gate.open("wb"):  # waits until the command opens it to read, which it does last
        change()
    return finished(process)


@pytest.mark.parametrize("records", [1, 1000])
def test_a_log_is_read_as_it_was_when_it_was_opened(tmp_path: Path, records: int) -> None:
    log = written(tmp_path / "a.ndjson", *[GOOD] * records)

    def grow_and_rotate() -> None:
        with log.open("ab") as file:
            file.write(GOOD + b"\n" + GOOD[:5])
        log.rename(tmp_path / "a.ndjson.1")
        written(log, GOOD, GOOD)

    report = json.loads(stats_while(log, grow_and_rotate).out)
    assert (report["records"], report["bad"]) == (records, 0)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param("a.ndjson", LINES, b"", id="empty"),
        pytest.param("a.ndjson", LINES, GOOD + b"\n", id="shorter"),
        pytest.param("a.ndjson", LINES, bytes(len(LINES)), id="a hole"),
        pytest.param("a.ndjson", LINES, OTHERS * 2, id="grown again"),
        pytest.param("a.ndjson", LINES, LINES[: len(LINES) // 2] + OTHERS, id="grown again with the same beginning"),
        pytest.param("a.ndjson.gz", MEMBER * 100, gzip.compress(OTHERS, mtime=0) * 200, id="compressed"),
    ],
)
def test_a_truncated_log_is_an_error(tmp_path: Path, name: str, before: bytes, after: bytes) -> None:
    log = written(tmp_path / name, before, end=b"")
    # Written into the same file, whatever it holds then.
    assert stats_while(log, lambda: log.write_bytes(after)) == (2, "", f"chatcodec: {log}: {TRUNCATED}\n")


@pytest.mark.parametrize(
    ("data", "kept", "records"),
    [(gzip.compress(LINES), 0, 0), (gzip.compress(OTHERS + LINES), 30, 0), (MEMBER * 2, len(MEMBER), 1)],
    ids=["empty", "inside a member", "between members"],
)
def test_a_compressed_log_truncated_while_it_is_read_is_a_cut_one(
    tmp_path: Path, data: bytes, kept: int, records: int
) -> None:
    log = written(tmp_path / "a.ndjson.gz", data, end=b"")
    report = json.loads(stats_while(log, lambda: os.truncate(log, kept)).out)
    assert (report["records"], report["bad"]) == (records, 1)


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_file_that_is_cut_is_read_as_far_as_it_goes(capfd: Capture, tmp_path: Path, ending: str) -> None:
    random = Random(0)
    lines = b"".join(b'{"sessionId":"%d"}\n' % random.getrandbits(64) for _ in range(20_000))
    whole = COMPRESS[ending](lines)
    path = tmp_path / f"a.ndjson.{ending}"
    for kept in (len(whole) - 4, len(whole) * 2 // 3):
        path.write_bytes(whole[:kept])
        records, _, bad = counted(capfd, path)
        assert bad == 1
        assert 0 < records <= 20_000
        status, out, _ = call(capfd, "check", path)
        assert (status, out.count("\n")) == (1, 1)
        assert out.startswith(f"{path}:{records + 1}: cut, because the compressed file ends early")
        status, _, err = call(capfd, "convert", path, tmp_path / "a.ndjson")
        assert (status, err) == (1, out)
        assert lines.startswith((tmp_path / "a.ndjson").read_bytes())
        assert (tmp_path / "a.ndjson").read_bytes().count(b"\n") == records


@pytest.mark.parametrize(
    ("ending", "whole", "line"),
    [
        ("msgpack", frames.encode([b"\x80"]), 2),
        ("ndjson", GOOD + b"\n", 2),
        ("ndjson", GOOD, 1),
        ("sse", b"data: {}\n\ndata: [DONE]\n\n", 3),
        ("sse", b'data: {\ndata: "cost":1}\n\ndata: [DONE]\n', 2),
    ],
)
def test_a_cut_between_records_has_the_place_of_the_next(
    capfd: Capture, tmp_path: Path, ending: str, whole: bytes, line: int
) -> None:
    path = written(tmp_path / f"a.{ending}.gz", gzip.compress(whole)[:-1], end=b"")
    (place,) = found(capfd, path)
    assert (place["line"], place["offset"], place["kind"]) == (line, len(whole), "incomplete")


def test_a_compressed_file_that_ends_early_inside_a_long_frame_has_the_place_of_the_frame(
    capfd: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "a.msgpack.gz"
    path.write_bytes(gzip.compress(frames.encode([b"\x80", b"\xaa1234567890"])[:-1])[:-1])
    places = [(bad["line"], bad["kind"]) for bad in found(capfd, "--max-record-bytes=5", path)]
    assert places == [(2, "too_long"), (2, "incomplete")]


LONG = b"x" * 2000


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        # An error in mid-stream may be longer than what a RecordError holds of a record.
        ("a.ndjson", b'{"error":"%b"}\n' % LONG, [(1, "upstream")]),
        ("a.ndjson", b'{"error":"%b' % LONG, [(1, "incomplete")]),
        ("a.ndjson", b'{"error":"%b"x}\n' % LONG, [(1, "malformed")]),
        ("a.ndjson", b'{"error":"%b","cost":"free"}\n' % LONG, [(1, "invalid")]),
        ("a.ndjson", b'{"error":{}}{}\n{"error":{}}', [(1, "malformed"), (2, "upstream")]),
        ("a.ndjson", b'{"error":"x","error":null,"cost":1}\n', []),
        ("a.ndjson", b'{"error":null,"error":"\xff"}', [(1, "upstream")]),
        ("a.ndjson", b'{"choices":[1]}\n{"choices":{}}\n', [(1, "invalid"), (2, "invalid")]),
        ("a.ndjson", b'{"choices":[{"text":"\xff"}]}\n', [(1, "malformed")]),
        ("a.ndjson", b"", []),
        ("a.ndjson", GOOD + b"\n" + GOOD[:9], [(2, "incomplete")]),
        ("a.ndjson.gz", b"", [(1, "incomplete")]),
        ("a.msgpack", frames.encode([b"\x80", b"\x80"])[:-1], [(2, "incomplete")]),
        ("a.msgpack", b"\0\0\0\1\x80\0\0\0\0\0\0\0\1\x90\0", [(3, "invalid"), (4, "incomplete")]),
        ("a.sse", b'data: {"error":"x"}\n\n', [(1, "upstream"), (2, "incomplete")]),
        ("a.sse", b'data: {"error":"x"}', [(1, "upstream"), (2, "incomplete")]),
        ("a.sse", b"event: error\ndata: x", [(1, "upstream")]),
        ("a.sse", b"event: error\ndata: x\n\ndata: 1\n\ndata: [DONE]\n\n", [(1, "upstream"), (2, "invalid")]),
        ("a.sse", b"data: {}\n\n", [(2, "incomplete")]),
        ("a.sse", b"", [(1, "incomplete")]),
    ],
)
def test_provider_errors_and_bad_records_are_found_each_in_its_place_and_a_cut_is_named_so(
    capfd: Capture, tmp_path: Path, name: str, data: bytes, wanted: list[tuple[int, str]]
) -> None:
    path = written(tmp_path / name, data, end=b"")
    places = found(capfd, path)
    assert [(bad["line"], bad["kind"]) for bad in places] == wanted
    assert all(bad["reason"].startswith("cut") is (bad["kind"] == "incomplete") for bad in places)
    errors = sum(kind == "upstream" for _, kind in wanted)
    assert counted(capfd, path)[1:] == (errors, len(wanted) - errors)


def test_members_and_their_padding_are_read(capfd: Capture, tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18\x02\0\0\0xx"
    for ending, before, after in (("gz", b"", bytes(512)), ("zst", skippable, b"")):
        path = tmp_path / f"a.ndjson.{ending}"
        members = map(COMPRESS[ending], DELTAS.read_bytes().splitlines(keepends=True))
        path.write_bytes(before + b"".join(members) + after)
        assert counted(capfd, path) == (632, 0, 0)


NOT_ITS_NAME = "as its name says; rename it, or pass it as standard input with --from"
FIRST = f"use the first {len(MEMBER)} bytes (head -c {len(MEMBER)})"


@pytest.mark.parametrize(
    ("ending", "data", "reason"),
    [
        ("gz", b"plain", f"not compressed with gzip, {NOT_ITS_NAME}"),
        ("zst", b"plain", f"not compressed with Zstandard, {NOT_ITS_NAME}"),
        ("gz", bytes(4096), f"not compressed with gzip, {NOT_ITS_NAME}"),
        ("gz", b"\0" + MEMBER, f"not compressed with gzip, {NOT_ITS_NAME}"),
        ("gz", MEMBER + b"??", f"the data ends at byte {len(MEMBER)}, and what follows is not gzip; {FIRST}"),
        ("gz", MEMBER[:10] + b"\xff" * 9, "damaged gzip data: Error -3 while decompressing data: invalid block type"),
    ],
)
def test_what_is_wrong_with_a_compressed_file_comes_with_what_to_try(
    capfd: Capture, tmp_path: Path, ending: str, data: bytes, reason: str
) -> None:
    path = written(tmp_path / f"a.ndjson.{ending}", data, end=b"")
    assert call(capfd, "check", path) == (2, "", f"chatcodec: {path}: {reason}\n")


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_no_bit_flipped_in_compressed_output_passes_unseen(capfd: Capture, tmp_path: Path, ending: str) -> None:
    plain, packed = tmp_path / "again.ndjson", tmp_path / f"a.ndjson.{ending}"
    lines = b"".join(b'{"cost":%d}\n' % (number * 7919 % 1000) for number in range(50))
    call(capfd, "convert", written(tmp_path / "a.ndjson", lines, end=b""), packed)
    whole = packed.read_bytes()
    for place in range(0, len(whole) * 8, 5):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        packed.write_bytes(damaged)
        assert call(capfd, "convert", packed, plain).status or plain.read_bytes() == lines


def test_memory_is_bounded_whatever_the_ratio_of_the_compression(tmp_path: Path) -> None:
    line = b'{"x":"%b"}\n' % (b"x" * 2**20)
    short, long = tmp_path / "short.ndjson.zst", tmp_path / "long.ndjson.zst"
    short.write_bytes(COMPRESS["zst"](line))
    long.write_bytes(COMPRESS["zst"](line * 100))
    assert peak_memory("check", long) < peak_memory("check", short) + 24 * 1024


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_destination_with_a_long_name_keeps_its_permissions(capfd: Capture, tmp_path: Path) -> None:
    target = written(tmp_path / ("x" * 247 + ".msgpack"))
    target.chmod(0o600)
    assert call(capfd, "convert", RESPONSES, target) == (0, "", "")
    assert permissions(target) == 0o600


@pytest.mark.parametrize(
    ("mode", "mask", "expected"), [(0o600, 0o022, 0o600), (0o664, 0o027, 0o640), (0o4777, 0o022, 0o755)]
)
def test_a_new_destination_has_those_of_the_source_less_the_umask(
    capfd: Capture, tmp_path: Path, mode: int, mask: int, expected: int
) -> None:
    source = written(tmp_path / "a.ndjson", GOOD)
    source.chmod(mode)
    before = os.umask(mask)
    status = call(capfd, "convert", source, tmp_path / "a.msgpack").status
    assert (status, os.umask(before)) == (0, mask)
    assert permissions(tmp_path / "a.msgpack") == expected


def test_what_comes_from_a_pipe_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    assert finished(spawn("convert", "--from=ndjson", "-", tmp_path / "a.msgpack", stdin=PIPE, umask=0o026)).status == 0
    assert permissions(tmp_path / "a.msgpack") == 0o640


@pytest.mark.parametrize("alias", ["itself", "symbolic link", "hard link", "another path"])
def test_the_source_cannot_be_the_destination(capfd: Capture, tmp_path: Path, alias: str) -> None:
    source, target = written(tmp_path / "a.ndjson", GOOD, BAD), tmp_path / "b.ndjson"
    if alias == "symbolic link":
        target.symlink_to(source)
    elif alias == "hard link":
        target.hardlink_to(source)
    else:
        target = source if alias == "itself" else tmp_path / ".." / tmp_path.name / "a.ndjson"
    line = f"chatcodec: {target}: the source and the destination are the same file\n"
    assert call(capfd, "convert", source, target) == (2, "", line)
    assert source.read_bytes() == GOOD + b"\n" + BAD + b"\n"


def test_a_redirected_source_cannot_be_the_destination_nor_a_redirected_destination_the_source(tmp_path: Path) -> None:
    source = written(tmp_path / "a.ndjson", GOOD, BAD)
    line = "the source and the destination are the same file\n"
    process = spawn("convert", source, "-", "--to=ndjson", redirected=f">>{source}", stderr=PIPE)
    assert finished(process) == (2, "", f"chatcodec: -: {line}")
    process = spawn("convert", "-", source, "--from=ndjson", redirected=f"<{source}", stderr=PIPE)
    assert finished(process) == (2, "", f"chatcodec: {source}: {line}")
    assert source.read_bytes() == GOOD + b"\n" + BAD + b"\n"


def test_a_destination_is_replaced_where_a_link_leads(capfd: Capture, tmp_path: Path) -> None:
    written(tmp_path / "old.ndjson", b"old")
    (tmp_path / "link.ndjson").symlink_to("old.ndjson")
    assert call(capfd, "convert", RESPONSES, tmp_path / "link.ndjson").status == 0
    assert (tmp_path / "old.ndjson").read_bytes() == RESPONSES.read_bytes()
    assert (tmp_path / "link.ndjson").is_symlink()


def test_a_link_that_leads_nowhere_else_is_not_replaced(capfd: Capture, tmp_path: Path) -> None:
    link = tmp_path / "link.ndjson"
    link.symlink_to(link)
    line = f"chatcodec: {link}: Too many levels of symbolic links\n"
    assert call(capfd, "convert", RESPONSES, link) == (2, "", line)
    assert link.is_symlink()


def converting(target: Path, **options: Any) -> Process:
    """Start to convert a pipe, and return the process when it is in the middle of it."""
    process = spawn("convert", "--from=ndjson", "-", target, stdin=PIPE, stderr=PIPE, **options)
    process.stdin.write((GOOD + b"\n") * 100_000 + BAD + b"\n")
    process.stdin.flush()
    assert process.stderr.readline() == f"-:100001: {REASON}\n".encode()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("old", [[], [GOOD]])
def test_a_signal_leaves_the_folder_as_it_was(tmp_path: Path, old: list[bytes], number: signal.Signals) -> None:
    target = tmp_path / "a.ndjson"
    before = [written(tmp_path / ".chatcodec-other.part", GOOD), *([written(target, *old)] if old else [])]
    with converting(target) as process:
        (unfinished,) = set(tmp_path.iterdir()) - set(before)
        assert (unfinished.name[0], unfinished.suffix, permissions(unfinished)) == (".", ".part", 0o600)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr.read() == b""
    assert set(tmp_path.iterdir()) == set(before)
    assert [path.read_bytes() for path in before] == [GOOD + b"\n"] * len(before)


def test_under_nohup_it_outlives_the_terminal_and_can_be_stopped(tmp_path: Path) -> None:
    target = tmp_path / "a.ndjson"
    for number, status in (signal.SIGHUP, 1), (signal.SIGTERM, 143):
        with converting(target, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
            process.send_signal(number)
            assert finished(process).status == status
        assert target.read_bytes().count(b"\n") == 100_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root can mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_under_standard_output_is_an_error_if_that_is_not_buffered_too(small_disk: Path) -> None:
    """A write that is not buffered may be short, and says so by its return value alone."""
    lines = written(small_disk.parent / "a.ndjson", *[GOOD] * 2400)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = spawn("convert", lines, "-", "--to=ndjson", redirected=f">{small_disk}/out", stderr=PIPE, env=environment)
    assert finished(process) == (2, "", "chatcodec: standard output: No space left on device\n")


def test_a_full_disk_leaves_the_destination_as_it_was(capfd: Capture, small_disk: Path) -> None:
    target = written(small_disk / "a.ndjson", GOOD)
    assert call(capfd, "convert", RESPONSES, target) == (2, "", f"chatcodec: {target}: No space left on device\n")
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == {"a.ndjson": GOOD + b"\n"}
