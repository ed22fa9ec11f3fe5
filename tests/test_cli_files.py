"""Files that a log's writer or a crash changes under the command: what it reads, and what it leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from random import Random
from subprocess import STDOUT
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import frames

from .commands import (
    BAD,
    DELTAS,
    GOOD,
    PIPE,
    REASON,
    RESPONSES,
    Outcome,
    call,
    finished,
    spawn,
    written,
    written_long,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras

Capture = pytest.CaptureFixture[str]

TRUNCATED = "truncated while it was read"


def stats_while(log: Path, change: Callable[[], object]) -> Outcome:
    """Return what ``stats`` says of `log`, if `change` happens after it was opened, and before it is read."""
    gate = log.with_name("gate.ndjson")
    os.mkfifo(gate)
    process = spawn("stats", "--json", gate, log, stdout=PIPE, stderr=PIPE)
    with gate.open("wb"):  # waits until the command opens it to read, which it does last
        change()
    return finished(process)


def test_a_log_rotated_before_its_turn_is_read_as_it_was_opened(tmp_path: Path) -> None:
    log = written(tmp_path / "a.ndjson", *[GOOD] * 1000)

    def rotate() -> None:
        log.rename(tmp_path / "a.ndjson.1")
        written(log, GOOD)

    assert json.loads(stats_while(log, rotate).out)["records"] == 1000


def test_a_log_that_grows_is_read_to_the_size_it_had(tmp_path: Path) -> None:
    log = written(tmp_path / "a.ndjson", GOOD)

    def grow() -> None:
        with log.open("ab") as file:
            file.write(GOOD + b"\n" + GOOD[:5])

    report = json.loads(stats_while(log, grow).out)
    assert (report["records"], report["bad"]) == (1, 0)


@pytest.mark.parametrize(
    "content", [b"", GOOD + b"\n", b"\0" * 28_000, BAD * 5000], ids=["empty", "shorter", "a hole", "grown again"]
)
def test_a_truncated_log_is_an_error(tmp_path: Path, content: bytes) -> None:
    log = written(tmp_path / "a.ndjson", *[GOOD] * 1000)

    def truncate() -> None:
        with log.open("r+b") as file:
            file.truncate(0)
            file.write(content)

    assert stats_while(log, truncate) == (2, "", f"chatcodec: {log}: {TRUNCATED}\n")


def test_a_log_truncated_and_grown_again_with_the_same_beginning_is_an_error(tmp_path: Path) -> None:
    log = written(tmp_path / "a.ndjson", *[GOOD] * 1000)

    def regrow() -> None:
        os.truncate(log, len(GOOD + b"\n") * 500)
        with log.open("ab") as file:
            file.write(b'{"cost":2.50,"region":"eu"}\n' * 500)

    assert stats_while(log, regrow) == (2, "", f"chatcodec: {log}: {TRUNCATED}\n")


def test_a_compressed_log_rewritten_before_it_is_read_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "a.ndjson.gz"
    log.write_bytes(gzip.compress(GOOD + b"\n", mtime=0) * 100)
    other = gzip.compress(b'{"cost":2.50,"region":"eu"}\n', mtime=0) * 200
    assert stats_while(log, lambda: log.write_bytes(other)) == (2, "", f"chatcodec: {log}: {TRUNCATED}\n")


@pytest.mark.parametrize("kept", [0, 100])
def test_a_compressed_log_truncated_while_it_is_read_is_a_cut_one(tmp_path: Path, kept: int) -> None:
    log = tmp_path / "a.ndjson.gz"
    log.write_bytes(gzip.compress(DELTAS.read_bytes()))
    status, out, _ = stats_while(log, lambda: os.truncate(log, kept))
    assert (status, json.loads(out)["bad"]) == (0, 1)


def test_truncated_at_the_end_of_a_member_is_cut_too(tmp_path: Path) -> None:
    log = tmp_path / "a.ndjson.gz"
    member = gzip.compress(GOOD + b"\n")
    log.write_bytes(member * 2)
    report = json.loads(stats_while(log, lambda: os.truncate(log, len(member))).out)
    assert (report["records"], report["bad"]) == (1, 1)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_long(tmp_path_factory.mktemp("long") / "long.ndjson")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("command", ["check", "convert"])
def test_a_log_rotated_while_it_is_read_is_read_to_its_end(
    long_log: Path, tmp_path: Path, command: str, jobs: int
) -> None:
    log = tmp_path / "a.ndjson"
    os.link(long_log, log)
    target = tmp_path / "a.msgpack"
    arguments = [] if command == "check" else [target]
    with spawn(command, f"--jobs={jobs}", log, *arguments, stdout=PIPE, stderr=STDOUT) as process:
        assert process.stdout
        first = process.stdout.readline()
        log.unlink()
        written(log, GOOD)
        lines = [first, *process.stdout]
        assert process.wait(60) == 1
    assert len(lines) == 5001
    assert lines[-1].decode() == f"{log}:5141: {REASON}\n"
    if command == "convert":
        assert target.stat().st_size == 140 * (len(frames.encode([b"\x81\xa1x\xdb"])) + 4 + 1_000_000)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_log_truncated_while_it_is_converted_leaves_no_destination(tmp_path: Path, long_log: Path, jobs: int) -> None:
    log, target = tmp_path / "a.ndjson", tmp_path / "a.msgpack"
    subprocess.run(["cp", long_log, log], check=True)
    with spawn("convert", f"--jobs={jobs}", log, target, stderr=PIPE) as process:
        assert process.stderr
        process.stderr.readline()
        os.truncate(log, 0)
        *_, last = process.stderr
        assert process.wait(60) == 2
    assert last.decode() == f"chatcodec: {log}: {TRUNCATED}\n"
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_compressed_file_that_ends_early_is_read_as_far_as_it_goes(
    capfd: Capture, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    random = Random(0)
    lines = b"".join(b'{"sessionId":"%d"}\n' % random.getrandbits(64) for _ in range(20_000))
    whole = compress(lines)
    path = tmp_path / f"a.ndjson{'.gz' if compress is gzip.compress else '.zst'}"
    for kept in (len(whole) - 4, len(whole) * 2 // 3):
        path.write_bytes(whole[:kept])
        report = json.loads(call(capfd, "stats", "--json", path).out)
        assert report["bad"] == 1
        assert 0 < report["records"] <= 20_000
        status, out, _ = call(capfd, "check", path)
        assert (status, out.count("\n")) == (1, 1)
        assert out.startswith(f"{path}:{report['records'] + 1}: cut, because the compressed file ends early")
        status, _, err = call(capfd, "convert", path, tmp_path / "a.ndjson")
        assert (status, err) == (1, out)
        assert lines.startswith((tmp_path / "a.ndjson").read_bytes())
        assert (tmp_path / "a.ndjson").read_bytes().count(b"\n") == report["records"]


def test_a_compressed_file_without_a_byte_is_cut(capfd: Capture, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson.gz").touch()
    assert "a.ndjson.gz:1: cut" in call(capfd, "check", tmp_path / "a.ndjson.gz").out


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
    path = tmp_path / f"a.{ending}.gz"
    path.write_bytes(gzip.compress(whole)[:-1])
    _, out, _ = call(capfd, "check", "--json", path)
    place = json.loads(out)
    assert (place["line"], place["offset"], place["kind"]) == (line, len(whole), "incomplete")


def test_a_compressed_file_that_ends_early_inside_a_long_frame_has_the_place_of_the_frame(
    capfd: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "a.msgpack.gz"
    path.write_bytes(gzip.compress(frames.encode([b"\x80", b"\xaa1234567890"])[:-1])[:-1])
    _, out, _ = call(capfd, "check", "--json", "--max-record-bytes=5", path)
    assert [(bad["line"], bad["kind"]) for bad in map(json.loads, out.splitlines())] == [
        (2, "too_long"),
        (2, "incomplete"),
    ]


LONG = b"x" * 2000


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        # An error in mid-stream may be longer than what a RecordError holds of a record.
        ("a.ndjson", b'{"error":"%b"}\n' % LONG, [(1, "upstream")]),
        ("a.ndjson", b'{"error":"%b' % LONG, [(1, "incomplete")]),
        ("a.ndjson", b'{"error":"%b"x}\n' % LONG, [(1, "malformed")]),
        ("a.ndjson", b'{"error":"%b","cost":"free"}\n' % LONG, [(1, "invalid")]),
        ("a.ndjson", b'{"error":"x","error":null,"cost":1}\n', []),
        ("a.ndjson", b'{"error":null,"error":"\xff"}', [(1, "upstream")]),
        ("a.sse", b'data: {"error":"x"}\n\n', [(1, "upstream"), (2, "incomplete")]),
        ("a.sse", b'data: {"error":"x"}', [(1, "upstream"), (2, "incomplete")]),
        ("a.sse", b"event: error\ndata: x", [(1, "upstream")]),
    ],
)
def test_an_error_that_a_provider_reported_hides_nothing_else(
    capfd: Capture, tmp_path: Path, name: str, data: bytes, found: list[tuple[int, str]]
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    status, out, _ = call(capfd, "check", "--json", path)
    assert (status, [(bad["line"], bad["kind"]) for bad in map(json.loads, out.splitlines())]) == (bool(found), found)
    report = json.loads(call(capfd, "stats", "--json", path).out)
    errors = sum(kind == "upstream" for _, kind in found)
    assert (report["errors"], report["bad"]) == (errors, len(found) - errors)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ndjson", GOOD + b"\n" + GOOD[:9]),
        ("a.msgpack", frames.encode([b"\x80", b"\x80"])[:-1]),
        ("a.sse", b"data: {}\n\n"),
        ("a.sse", b""),
    ],
)
def test_a_log_that_ends_inside_a_record_is_named_as_cut(
    capfd: Capture, tmp_path: Path, name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    line = 2 if data else 1
    status, out, _ = call(capfd, "check", path)
    assert status == 1
    assert out.startswith(f"{path}:{line}: cut: ")
    status, out, _ = call(capfd, "stats", "--json", path)
    assert (status, json.loads(out)["bad"], json.loads(out)["records"]) == (0, 1, line - 1)


def test_members_and_their_padding_are_read(capfd: Capture, tmp_path: Path) -> None:
    lines = DELTAS.read_bytes().splitlines(keepends=True)
    skippable = b"\x50\x2a\x4d\x18\x02\0\0\0xx"
    for name, data in (
        ("a.ndjson.gz", b"".join(map(gzip.compress, lines)) + bytes(512)),
        ("a.ndjson.zst", skippable + b"".join(map(zstd.compress, lines))),
    ):
        (tmp_path / name).write_bytes(data)
        report = json.loads(call(capfd, "stats", "--json", tmp_path / name).out)
        assert (report["records"], report["bad"]) == (632, 0)


MEMBER = gzip.compress(GOOD + b"\n", mtime=0)
NOT_ITS_NAME = "rename it, or pass it as standard input with --from"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.ndjson.gz", b"plain", f"not compressed with gzip, as its name says; {NOT_ITS_NAME}"),
        ("a.ndjson.zst", b"plain", f"not compressed with Zstandard, as its name says; {NOT_ITS_NAME}"),
        ("a.ndjson.gz", bytes(4096), f"not compressed with gzip, as its name says; {NOT_ITS_NAME}"),
        ("a.ndjson.gz", b"\0" + MEMBER, f"not compressed with gzip, as its name says; {NOT_ITS_NAME}"),
        (
            "a.ndjson.gz",
            MEMBER + b"garbage",
            (
                f"the data ends at byte {len(MEMBER)}, and what follows is not gzip; "
                f"use the first {len(MEMBER)} bytes (head -c {len(MEMBER)})"
            ),
        ),
        (
            "a.ndjson.gz",
            MEMBER[:10] + b"\xff" * 9,
            "damaged gzip data: Error -3 while decompressing data: invalid block type",
        ),
    ],
)
def test_what_is_wrong_with_a_compressed_file_comes_with_what_to_try(
    capfd: Capture, tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert call(capfd, "check", path) == (2, "", f"chatcodec: {path}: {reason}\n")


def test_memory_is_bounded_whatever_the_ratio_of_the_compression(tmp_path: Path) -> None:
    peaks = []
    for size in (2**20, 2**28):
        path = tmp_path / f"{size}.ndjson.zst"
        with zstd.open(path, "wb") as file:
            for _ in range(size // 2**20):
                file.write(b'{"x":"%b"}\n' % (b"x" * (2**20 - 9)))
        with spawn("check", path) as process:
            _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        peaks.append(usage.ru_maxrss)
    assert peaks[1] < peaks[0] + 24 * 1024


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_destination_keeps_its_permissions(capfd: Capture, tmp_path: Path) -> None:
    target = written(tmp_path / "a.msgpack")
    target.chmod(0o600)
    assert call(capfd, "convert", RESPONSES, target).status == 0
    assert permissions(target) == 0o600


@pytest.mark.parametrize(
    ("mode", "mask", "expected"), [(0o600, 0o022, 0o600), (0o664, 0o027, 0o640), (0o4777, 0o022, 0o755)]
)
def test_a_new_destination_has_those_of_the_source_less_the_umask(
    capfd: Capture, tmp_path: Path, mode: int, mask: int, expected: int
) -> None:
    source = written(tmp_path / "a.ndjson", GOOD)
    source.chmod(mode)
    with umask(mask):
        assert call(capfd, "convert", source, tmp_path / "a.msgpack").status == 0
        assert os.umask(mask) == mask
    assert permissions(tmp_path / "a.msgpack") == expected


def test_what_comes_from_a_pipe_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    with umask(0o026), spawn("convert", "--from=ndjson", "-", tmp_path / "a.msgpack", stdin=PIPE) as process:
        assert finished(process).status == 0
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


def test_nor_can_a_redirected_standard_stream(tmp_path: Path) -> None:
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


def test_a_destination_may_have_as_long_a_name_as_any_file(capfd: Capture, tmp_path: Path) -> None:
    target = tmp_path / ("x" * 247 + ".msgpack")
    assert call(capfd, "convert", RESPONSES, target) == (0, "", "")


def converting(tmp_path: Path, target: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start to convert a pipe, and return the process when it is in the middle of it."""
    process = spawn("convert", "--from=ndjson", "-", target, stdin=PIPE, stderr=PIPE, **options)
    assert process.stdin
    assert process.stderr
    process.stdin.write((GOOD + b"\n") * 100_000 + BAD + b"\n")
    process.stdin.flush()
    assert process.stderr.readline() == f"-:100001: {REASON}\n".encode()
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("old", [[], [GOOD]])
def test_a_signal_leaves_the_folder_as_it_was(tmp_path: Path, old: list[bytes], number: signal.Signals) -> None:
    target = tmp_path / "a.ndjson"
    before = [written(tmp_path / ".chatcodec-other.part", GOOD), *([written(target, *old)] if old else [])]
    with converting(tmp_path, target) as process:
        (unfinished,) = set(tmp_path.iterdir()) - set(before)
        assert (unfinished.name[0], unfinished.suffix, permissions(unfinished)) == (".", ".part", 0o600)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr
        assert process.stderr.read() == b""
    assert set(tmp_path.iterdir()) == set(before)
    assert [path.read_bytes() for path in before] == [GOOD + b"\n"] * len(before)


def test_under_nohup_it_outlives_the_terminal(tmp_path: Path) -> None:
    target = tmp_path / "a.ndjson"

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with converting(tmp_path, target, preexec_fn=ignore) as process:
        process.send_signal(signal.SIGHUP)
        assert finished(process).status == 1
    assert target.read_bytes().count(b"\n") == 100_000
    with converting(tmp_path, target, preexec_fn=ignore) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


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
