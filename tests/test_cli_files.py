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

from .commands import BAD, COMPRESS, GOOD, REASON, RESPONSES, call, counted, execute, finished, found, spawn, written

pytestmark = pytest.mark.extras

SAME = "the source and the destination are the same file\n"
LINES = (GOOD + b"\n") * 1000
OTHERS = b'{"cost":2.50,"region":"eu"}\n' * 1000
MEMBER = gzip.compress(GOOD + b"\n", mtime=0)


def stats_while(log: Path, change: Callable[[], object]) -> tuple[int, str, str]:
    """Return what ``stats`` reports of `log`, if `change` happens after it was opened, and before it is read."""
    gate = log.with_name("gate.ndjson")
    os.mkfifo(gate)
    process = spawn("stats", "--json", gate, log)
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

    report = json.loads(stats_while(log, grow_and_rotate)[1])
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
    line = f"chatcodec: {log}: truncated while it was read\n"
    assert stats_while(log, lambda: log.write_bytes(after)) == (2, "", line)


@pytest.mark.parametrize(
    ("data", "kept", "records"),
    [(gzip.compress(LINES), 0, 0), (gzip.compress(OTHERS + LINES), 30, 0), (MEMBER * 2, len(MEMBER), 1)],
    ids=["empty", "inside a member", "between members"],
)
def test_a_truncated_compressed_log_is_reported_as_cut(tmp_path: Path, data: bytes, kept: int, records: int) -> None:
    log = written(tmp_path / "a.ndjson.gz", data, end=b"")
    report = json.loads(stats_while(log, lambda: os.truncate(log, kept))[1])
    assert (report["records"], report["bad"]) == (records, 1)


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_file_that_is_cut_is_read_as_far_as_it_goes(tmp_path: Path, ending: str) -> None:
    random = Random(0)
    lines = b"".join(b'{"sessionId":"%d"}\n' % random.getrandbits(64) for _ in range(20_000))
    whole = COMPRESS[ending](lines)
    for kept in (len(whole) - 4, len(whole) * 2 // 3):
        path = written(tmp_path / f"a.ndjson.{ending}", whole[:kept], end=b"")
        records, _, bad = counted(path)
        assert bad == 1
        assert 0 < records <= 20_000
        status, out, _ = call("check", path)
        assert (status, out.count("\n")) == (1, 1)
        assert out.startswith(f"{path}:{records + 1}: cut, because the compressed file ends early")
        assert call("convert", path, tmp_path / "a.ndjson") == (1, "", out)
        converted = (tmp_path / "a.ndjson").read_bytes()
        assert lines.startswith(converted)
        assert converted.count(b"\n") == records


LONG = b"x" * 2000


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        # An error in mid-stream may be longer than what a RecordError holds of a record.
        ("a.ndjson", b'{"error":"%b"}\n' % LONG, [(1, 0, "upstream")]),
        ("a.ndjson", b'{"error":"%b' % LONG, [(1, 0, "incomplete")]),
        ("a.ndjson", b'{"error":"%b"x}\n' % LONG, [(1, 0, "malformed")]),
        ("a.ndjson", b'{"error":"%b","cost":"free"}\n' % LONG, [(1, 0, "invalid")]),
        ("a.ndjson", b'{"error":{}}{}\n{"error":{}}', [(1, 0, "malformed"), (2, 15, "upstream")]),
        ("a.ndjson", b'{"error":"x","error":null,"cost":1}\n', []),
        ("a.ndjson", b'{"error":null,"error":"\xff"}', [(1, 0, "upstream")]),
        ("a.ndjson", b'{"choices":[1]}\n{"choices":{}}\n', [(1, 0, "invalid"), (2, 16, "invalid")]),
        ("a.ndjson", b'{"choices":[{"text":"\xff"}]}\n', [(1, 0, "malformed")]),
        ("a.ndjson", b"", []),
        ("a.ndjson", GOOD + b"\n" + GOOD[:9], [(2, 28, "incomplete")]),
        ("a.msgpack", frames.encode([b"\x80", b"\x80"])[:-1], [(2, 5, "incomplete")]),
        ("a.msgpack", b"\0\0\0\1\x80\0\0\0\0\0\0\0\1\x90\0", [(3, 9, "invalid"), (4, 14, "incomplete")]),
        ("a.sse", b'data: {"error":"x"}\n\n', [(1, 0, "upstream"), (2, 21, "incomplete")]),
        ("a.sse", b'data: {"error":"x"}', [(1, 0, "upstream"), (2, 19, "incomplete")]),
        ("a.sse", b"event: error\ndata: x", [(1, 0, "upstream")]),
        ("a.sse", b"event: error\ndata: x\n\ndata: 1\n\ndata: [DONE]\n\n", [(1, 0, "upstream"), (2, 22, "invalid")]),
        ("a.sse", b"data: {}\n\n", [(2, 10, "incomplete")]),
        ("a.sse", b"", [(1, 0, "incomplete")]),
        ("a.ndjson.zst", b"", [(1, 0, "incomplete")]),
        # Compressed by the test, and cut in the trailer: the place is where the next record would start.
        ("a.msgpack.gz", b"\0\0\0\1\x80", [(2, 5, "incomplete")]),
        ("a.msgpack.gz", b"\0\0\0\1\x80\0\0\xff\0\x80", [(2, 5, "too_long"), (2, 5, "incomplete")]),
        ("a.ndjson.gz", GOOD + b"\n", [(2, 28, "incomplete")]),
        ("a.ndjson.gz", GOOD, [(2, 27, "incomplete")]),
        ("a.sse.gz", b"data: {}\n\ndata: [DONE]\n\n", [(3, 24, "incomplete")]),
        ("a.sse.gz", b'data: {\ndata: "cost":1}\n\ndata: [DONE]\n', [(3, 38, "incomplete")]),
    ],
)
def test_provider_errors_bad_records_and_cuts_are_found_each_in_its_place(
    tmp_path: Path, name: str, data: bytes, wanted: list[tuple[int, int, str]]
) -> None:
    path = written(tmp_path / name, gzip.compress(data)[:-1] if name.endswith("gz") else data, end=b"")
    places = found("--max-record-bytes=4000", path)
    assert [(bad["line"], bad["offset"], bad["kind"]) for bad in places] == wanted
    assert all(bad["reason"].startswith("cut") is (bad["kind"] == "incomplete") for bad in places)
    errors = sum(kind == "upstream" for _, _, kind in wanted)
    assert counted("--max-record-bytes=4000", path)[1:] == (errors, len(wanted) - errors)


def test_members_and_their_padding_are_read(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18\x02\0\0\0xx"
    for ending, before, after in (("gz", b"", bytes(512)), ("zst", skippable, b"")):
        members = map(COMPRESS[ending], RESPONSES.read_bytes().splitlines(keepends=True))
        assert counted(written(tmp_path / f"a.ndjson.{ending}", before, *members, after, end=b"")) == (75, 0, 0)


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
def test_a_damaged_file_is_reported_with_what_to_try(tmp_path: Path, ending: str, data: bytes, reason: str) -> None:
    path = written(tmp_path / f"a.ndjson.{ending}", data, end=b"")
    assert call("check", path) == (2, "", f"chatcodec: {path}: {reason}\n")


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_no_bit_flipped_in_compressed_output_passes_unseen(tmp_path: Path, ending: str) -> None:
    lines = b"".join(b'{"cost":%d}\n' % (number * 7919 % 1000) for number in range(50))
    plain, packed = tmp_path / "again.ndjson", tmp_path / f"a.ndjson.{ending}"
    call("convert", written(tmp_path / "a.ndjson", lines, end=b""), packed)
    whole = packed.read_bytes()
    for place in range(0, len(whole) * 8, 5):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        packed.write_bytes(damaged)
        assert call("convert", packed, plain).status or plain.read_bytes() == lines


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_destination_with_a_long_name_keeps_its_permissions(tmp_path: Path) -> None:
    target = written(tmp_path / ("x" * 247 + ".msgpack"))
    target.chmod(0o600)
    assert call("convert", RESPONSES, target) == (0, "", "")
    assert permissions(target) == 0o600


@pytest.mark.parametrize(
    ("mode", "mask", "expected"), [(0o600, 0o022, 0o600), (0o664, 0o027, 0o640), (0o4777, 0o022, 0o755)]
)
def test_a_new_destination_has_the_permissions_of_the_source_less_the_umask(
    tmp_path: Path, mode: int, mask: int, expected: int
) -> None:
    source = written(tmp_path / "a.ndjson", GOOD)
    source.chmod(mode)
    before = os.umask(mask)
    status = call("convert", source, tmp_path / "a.msgpack").status
    assert (status, os.umask(before)) == (0, mask)
    assert permissions(tmp_path / "a.msgpack") == expected


def test_a_destination_of_a_pipe_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    assert execute("convert", "--from=ndjson", "-", tmp_path / "a.msgpack", stdin=PIPE, umask=0o026).status == 0
    assert permissions(tmp_path / "a.msgpack") == 0o640


def test_the_source_cannot_be_the_destination_whatever_it_is_called(tmp_path: Path) -> None:
    source, symbolic, hard = written(tmp_path / "a.ndjson", GOOD, BAD), tmp_path / "b.ndjson", tmp_path / "c.ndjson"
    symbolic.symlink_to(source)
    hard.hardlink_to(source)
    for target in source, symbolic, hard, tmp_path / ".." / tmp_path.name / "a.ndjson":
        assert call("convert", source, target) == (2, "", f"chatcodec: {target}: {SAME}")
    appended = execute("convert", source, "-", "--to=ndjson", redirected=f">>{source}")
    assert appended == (2, "", f"chatcodec: -: {SAME}")
    redirected = execute("convert", "-", source, "--from=ndjson", redirected=f"<{source}")
    assert redirected == (2, "", f"chatcodec: {source}: {SAME}")
    assert source.read_bytes() == GOOD + b"\n" + BAD + b"\n"


def test_a_destination_is_replaced_where_a_link_leads(tmp_path: Path) -> None:
    written(tmp_path / "old.ndjson", b"old")
    (tmp_path / "link.ndjson").symlink_to("old.ndjson")
    assert call("convert", RESPONSES, tmp_path / "link.ndjson").status == 0
    assert (tmp_path / "old.ndjson").read_bytes() == RESPONSES.read_bytes()
    assert (tmp_path / "link.ndjson").is_symlink()


def test_a_link_to_itself_is_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link.ndjson"
    link.symlink_to(link)
    assert call("convert", RESPONSES, link) == (2, "", f"chatcodec: {link}: Too many levels of symbolic links\n")
    assert link.is_symlink()


def converting(target: Path, **options: Any) -> Any:
    """Start to convert a pipe, and return the process when it is in the middle of it."""
    process = spawn("convert", "--from=ndjson", "-", target, stdin=PIPE, **options)
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


def test_under_nohup_the_command_outlives_the_terminal_and_can_be_stopped(tmp_path: Path) -> None:
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


def test_a_full_disk_under_unbuffered_standard_output_is_an_error(small_disk: Path) -> None:
    """A write that is not buffered may be short, and says so by its return value alone."""
    lines = written(small_disk.parent / "a.ndjson", *[GOOD] * 2400)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    outcome = execute("convert", lines, "-", "--to=ndjson", redirected=f">{small_disk}/out", env=environment)
    assert outcome == (2, "", "chatcodec: standard output: No space left on device\n")


def test_a_full_disk_leaves_the_destination_as_it_was(small_disk: Path) -> None:
    target = written(small_disk / "a.ndjson", GOOD)
    assert call("convert", RESPONSES, target) == (2, "", f"chatcodec: {target}: No space left on device\n")
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == {"a.ndjson": GOOD + b"\n"}
