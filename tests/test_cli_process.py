"""The command's processes and others: pipes, closed and full streams, signals, terminals, missing packages."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from resource import RLIMIT_AS, setrlimit
from subprocess import DEVNULL, PIPE, STDOUT
from types import ModuleType
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from chatcodec import frames
from chatcodec.cli import _jobs, main

from .commands import BAD, DELTAS, GOOD, REASON, RESPONSES, call, counted, execute, finished, spawn, varied, written
from .support import BOM

pytestmark = pytest.mark.extras


def test_a_dash_is_a_standard_stream(tmp_path: Path) -> None:
    process = spawn("convert", "--from=ndjson", "--to=ndjson", "-", "-", stdin=PIPE)
    printed = process.communicate(GOOD + b"\n" + BAD + b"\n")
    assert (process.returncode, *printed) == (1, GOOD + b"\n", f"-:2: {REASON}\n".encode())
    path = written(tmp_path / "a.msgpack", frames.encode([b"\x80"]) * 3, end=b"")
    assert json.loads(execute("stats", "--json", "--from=msgpack", "-", redirected=f"<{path}").out)["records"] == 3


def test_a_redirected_file_is_read_from_where_it_is_and_left_at_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", BAD, GOOD, BAD)
    with path.open("rb", buffering=0) as file:
        file.seek(len(BAD) + 1)
        assert execute("check", "--from=ndjson", "-", stdin=file).out == f"-:2: {REASON}\n"
        assert file.read() == b""


def test_a_named_standard_output_is_appended_to_if_the_shell_does_so(tmp_path: Path) -> None:
    path, log = written(tmp_path / "a.ndjson", GOOD), written(tmp_path / "log.ndjson", GOOD)
    assert execute("convert", path, "/dev/stdout", "--to=ndjson", redirected=f">>{log}").status == 0
    assert log.read_bytes() == (GOOD + b"\n") * 2


def test_a_record_beyond_the_memory_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "long.ndjson"
    with path.open("wb") as file:
        file.truncate(2**31)
    limit = {"preexec_fn": lambda: setrlimit(RLIMIT_AS, (400_000_000, 400_000_000))}
    status, out, err = execute("check", path, "--jobs=1", f"--max-record-bytes={2**40}", **limit)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--max-record-bytes" in err


def test_files_that_report_no_size_are_read_to_their_end() -> None:
    # Its content is one line, which is not a record.
    assert execute("check", "--from=ndjson", "/proc/self/cmdline").status == 1


@pytest.mark.parametrize("blocking", [True, False])
def test_bad_records_of_a_live_pipe_are_reported_at_once_up_to_its_end(blocking: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, blocking)
    with spawn("check", "--from=ndjson", "-", stdin=reader) as process:
        os.close(reader)
        for line in range(1, 50):
            os.write(writer, BAD + b"\n")
            assert process.stdout.readline().decode() == f"-:{line}: {REASON}\n"
            while psutil.Process(process.pid).status() == psutil.STATUS_RUNNING:
                pass  # until it waits, so that it finds the pipe empty
        os.close(writer)
        assert process.wait(30) == 1


@pytest.mark.parametrize("arguments", ["check bad.ndjson", f"convert {RESPONSES} - --to=ndjson"])
def test_a_pipe_whose_reader_leaves_ends_quietly(tmp_path: Path, arguments: str) -> None:
    written(tmp_path / "bad.ndjson", *[BAD] * 50_000)
    with spawn(*arguments.split(), cwd=tmp_path) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


@pytest.mark.parametrize("arguments", [f"stats {RESPONSES}", f"stats --json {RESPONSES}", "--help", "--version"])
def test_a_pipe_that_nobody_reads_ends_quietly(arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = spawn(*arguments.split(), stdout=writer)
    os.close(writer)
    assert finished(process) == (141, "", "")


# The tests may run with PYTHONUNBUFFERED, which would write earlier than users do.
BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}
CONVERT = [f"convert --to=ndjson {name} -" for name in (DELTAS, "short.ndjson", "growing.ndjson")]
PRINTING = [f"stats {RESPONSES}", "check bad.ndjson", *CONVERT, "--help", "stats --help", "--version"]
UNWRITABLE = [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]


@pytest.mark.parametrize("arguments", PRINTING)
@pytest.mark.parametrize(("redirected", "reason"), UNWRITABLE)
def test_unwritable_output_is_an_error(tmp_path: Path, arguments: str, redirected: str, reason: str) -> None:
    written(tmp_path / "bad.ndjson", BAD)
    written(tmp_path / "short.ndjson", GOOD)
    written(tmp_path / "growing.ndjson", GOOD, b'{"x":"%b"}' % (b"x" * 1_000_000))  # writing fails after buffering
    outcome = execute(*arguments.split(), redirected=redirected, cwd=tmp_path, env=BUFFERED)
    assert outcome == (2, "", f"chatcodec: standard output: {reason}\n")


@pytest.mark.parametrize("redirected", ["<&-", ">&-", "2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("lines", [[GOOD], [GOOD, BAD]])
def test_streams_that_are_not_needed_may_be_closed_or_full(tmp_path: Path, redirected: str, lines: list[bytes]) -> None:
    source, target = written(tmp_path / "a.ndjson", *lines), tmp_path / "b.ndjson"
    status = len(lines) - 1
    assert execute("convert", source, target, redirected=redirected).status == status
    assert target.read_bytes() == GOOD + b"\n"
    assert source.read_bytes() == b"".join(line + b"\n" for line in lines)
    if ">&-" not in redirected.split():
        assert execute("check", source, redirected=redirected).status == status


def test_closed_standard_input_is_reported_and_closed_standard_error_leaves_the_status() -> None:
    closed = execute("check", "--from=ndjson", "-", redirected="<&-")
    assert closed == (2, "", "chatcodec: -: Bad file descriptor\n")
    for redirected in ("2>&-", "2>/dev/full"):
        assert execute("check", "nowhere.ndjson", redirected=redirected) == (2, "", "")


ESCAPED = [(b"caf\xc3\xa9", "caf\\xe9"), (b"\xff", "\\xff"), (b"a\nb\x1b[31m", "a\\nb\\x1b[31m")]


@pytest.mark.parametrize(("name", "shown"), ESCAPED)
def test_names_that_the_locale_cannot_write_are_escaped(tmp_path: Path, name: bytes, shown: str) -> None:
    path = written(tmp_path / f"{os.fsdecode(name)}.ndjson", BAD)
    env = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    checked, converted = execute("check", path, env=env), execute("convert", path, "-", "--to=ndjson", env=env)
    assert (checked.status, converted.status) == (1, 1)
    assert f"/{shown}.ndjson:1: {REASON}\n" in checked.out
    assert f"/{shown}.ndjson:1: {REASON}\n" in converted.err
    file = json.loads(execute("check", "--json", path, env=env).out)["file"]
    assert file.endswith("/" + shown.replace("\\xe9", "é") + ".ndjson")
    status, _, err = execute("check", f"{path}.bz2", env=env)
    assert (status, err.count("\n")) == (2, 1)
    assert f"/{shown}.ndjson.bz2: " in err


def test_any_number_of_jobs_gives_the_same_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files of good and bad records, long and short lines, blank ones, and marks where none belongs."""
    monkeypatch.setattr(_jobs, "SEGMENT_BYTES", 10_007)
    monkeypatch.setattr(_jobs, "_SEGMENTS_A_JOB", 1)
    odd = [b"", b" \r", GOOD + b"\r", BAD, GOOD + GOOD, b"{", b'"\xff"', b'{"x":"' + b"y" * 90, b'{"error":{}}']
    lines = [line for good in RESPONSES.read_bytes().splitlines() for line in (good, *odd)]
    long = b'{"x":[' + b"1," * 200_000 + b"1]}"
    text = b"\n".join([*[BOM + GOOD] * 1000, *lines, long, b'{"cost":'])
    mixed = written(tmp_path / "mixed.ndjson", text, end=b"")
    assert counted("--jobs=3", mixed) == (152, 75, 1375)
    zipped, *targets = (tmp_path / name for name in ("deltas.ndjson.gz", "1.msgpack", "2.msgpack"))
    assert call("convert", DELTAS, zipped).status == 0
    for command in (["stats", "--json"], ["check", "--json"], ["check"]):
        one = call(*command, "--jobs=1", zipped, mixed, DELTAS, mixed)
        assert call(*command, "--jobs=3", zipped, mixed, DELTAS, mixed) == one
    one, two = (call("convert", f"--jobs={jobs}", mixed, target) for jobs, target in enumerate(targets, 1))
    assert one == two
    assert one.status == 1
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_any_number_of_jobs_gives_the_same_estimates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = varied(tmp_path / "varied.ndjson")
    shown, printed = call("stats", "--jobs=1", path), call("stats", "--json", "--jobs=1", path)
    report = json.loads(printed.out)
    assert report["quantileError"] > 0
    assert report["sessionsError"] > 0.01
    monkeypatch.setattr(_jobs, "_SEGMENTS_A_JOB", 1)
    for jobs, size in ((3, 700_000), (2, 2_000_000)):
        monkeypatch.setattr(_jobs, "SEGMENT_BYTES", size)
        assert call("stats", "--json", f"--jobs={jobs}", path) == printed
    assert call("stats", "--jobs=2", path) == shown


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log so long that two processes read it. Its first bad records fill a pipe, and one is its last line."""
    line = b'{"x":"%b"}' % (b"x" * 1_000_000)
    return written(tmp_path_factory.mktemp("long") / "long.ndjson", *[BAD] * 5000, *[line] * 140, BAD)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("command", ["check", "convert"])
def test_a_log_that_is_rotated_is_read_to_its_end(long_log: Path, tmp_path: Path, command: str, jobs: int) -> None:
    log, target = tmp_path / "a.ndjson", tmp_path / "a.msgpack"
    log.hardlink_to(long_log)
    with spawn(command, f"--jobs={jobs}", log, *[target] * (command == "convert"), stderr=STDOUT) as process:
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
    log = tmp_path / "a.ndjson"
    subprocess.run(["cp", long_log, log], check=True)
    with spawn("convert", f"--jobs={jobs}", log, tmp_path / "a.msgpack") as process:
        process.stderr.readline()
        os.truncate(log, 0)
        *_, last = process.stderr
        assert process.wait(60) == 2
    assert last.decode() == f"chatcodec: {log}: truncated while it was read\n"
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_dies_ends_the_command(tmp_path: Path, long_log: Path, number: signal.Signals) -> None:
    with spawn("convert", "--jobs=2", long_log, tmp_path / "a.msgpack") as process:
        process.stderr.readline()
        # The other child keeps track of shared memory. All workers are there, because some of the work is done.
        workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())]
        assert len(workers) == 2
        for worker in workers:
            worker.send_signal(number)
        *_, last = process.stderr
        assert process.wait(60) == 2
    assert last == b"chatcodec: one of its processes has died; use --jobs 1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_short_file_is_not_worth_a_process(tmp_path: Path) -> None:
    gate = tmp_path / "gate.ndjson"
    os.mkfifo(gate)
    with spawn("check", "--jobs=2", DELTAS, gate) as process, gate.open("wb") as writer:
        assert psutil.Process(process.pid).children() == []
        writer.write(GOOD)
        writer.close()
        assert finished(process).status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_processes(long_log: Path, number: signal.Signals) -> None:
    with spawn("check", "--jobs=2", long_log, start_new_session=True) as process:
        assert process.stdout.readline() == f"{long_log}:1: {REASON}\n".encode()
        os.killpg(process.pid, number)
        status, _, err = finished(process)  # standard error ends when the last process has
    assert (status, err) == (128 + number, "")


def test_no_process_outlives_one_that_was_killed(long_log: Path) -> None:
    with spawn("check", "--jobs=2", long_log) as process:
        process.stdout.readline()
        process.kill()
        assert finished(process).status == -signal.SIGKILL  # standard error ends when the last process has


def test_a_second_signal_ends_the_command_at_once(tmp_path: Path) -> None:
    target = tmp_path / "target.ndjson"
    os.mkfifo(target)
    with spawn("convert", DELTAS, target) as process, target.open("rb") as reader:
        reader.read(1)
        # The pipe is full, and nobody will read what is to be flushed at the end.
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: what a person sees, and what the command writes to."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)


def seen(process: Any, terminal: tuple[int, int]) -> str:
    """Return all that a process writes to a terminal."""
    master, slave = terminal
    os.close(slave)
    shown = b""
    with suppress(OSError):  # with which Linux reports the end
        while data := os.read(master, 65536):
            shown += data
    process.wait(30)
    return shown.decode()


TERMINAL = {**os.environ, "TERM": "xterm", "COLUMNS": "400"}


def test_a_terminal_shows_the_progress(terminal: tuple[int, int]) -> None:
    process = spawn("check", RESPONSES, DELTAS, stderr=terminal[1], env=TERMINAL)
    shown = seen(process, terminal)
    assert (process.returncode, finished(process).out) == (0, "")
    for text in "390.4/390.4 kB", "707 records, ", "/s", "0:00:00", "━":
        assert text in shown


@pytest.mark.parametrize("command", ["stats --json", "check"])
def test_a_terminal_that_is_closed_ends_only_the_bar(long_log: Path, command: str) -> None:
    master, slave = pty.openpty()
    process = spawn(*command.split(), long_log, stderr=slave, env=TERMINAL, start_new_session=True)
    os.close(slave)
    assert os.read(master, 100)
    os.close(master)
    status, out, _ = finished(process)
    assert status == (command == "check")
    assert f"{long_log}:5141: {REASON}\n" in out or json.loads(out)["bad"] == 5001


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("name", ["long.ndjson", "-"])
def test_the_bar_counts_bytes_and_records_once(terminal: tuple[int, int], long_log: Path, name: str, jobs: int) -> None:
    options: Any = {"redirected": "<long.ndjson", "cwd": long_log.parent, "stdout": DEVNULL, "env": TERMINAL}
    process = spawn("check", "--from=ndjson", f"--jobs={jobs}", name, stderr=terminal[1], **options)
    shown = seen(process, terminal)
    assert "140.1/140.1 MB" in shown
    assert "5,141 records, " in shown


def test_the_size_of_a_pipe_is_unknown(terminal: tuple[int, int]) -> None:
    process = spawn("check", "--from=ndjson", "-", stdin=PIPE, stdout=DEVNULL, stderr=terminal[1], env=TERMINAL)
    process.stdin.write(b"{}\n{}")
    process.stdin.close()
    shown = seen(process, terminal)
    assert "5/? bytes" in shown
    assert "2 records, " in shown


@pytest.mark.parametrize("columns", ["400", "20", "0"])
def test_output_on_the_terminal_of_the_bar_has_lines_of_its_own(
    terminal: tuple[int, int], tmp_path: Path, columns: str
) -> None:
    path = written(tmp_path / "a.ndjson", GOOD, BAD)
    process = spawn("check", path, stdout=terminal[1], stderr=terminal[1], env={**TERMINAL, "COLUMNS": columns})
    after = "\x1b[2K" if columns == "400" else ""  # the erased bar
    assert f"{after}{path}:2: {REASON}\r\n" in seen(process, terminal)
    assert process.returncode == 1


def test_an_interrupt_leaves_the_cursor_visible(terminal: tuple[int, int]) -> None:
    with spawn("check", "--from=ndjson", "-", stdin=PIPE, stderr=terminal[1], env=TERMINAL) as process:
        process.stdin.write(BAD + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        shown = seen(process, terminal)
    assert process.returncode == 130
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


EXTRA = [("click", "stats a.ndjson"), ("rich", "stats a.ndjson"), ("numpy", "stats a.ndjson")]
if sys.version_info < (3, 14):  # from then on, it is part of the standard library
    EXTRA += [("backports.zstd", "check a.ndjson.zst"), ("backports.zstd", "convert a.ndjson b.ndjson.zst")]


@pytest.mark.parametrize(("package", "arguments"), EXTRA)
def test_without_the_extra_the_command_says_how_to_install_it(tmp_path: Path, package: str, arguments: str) -> None:
    before = {written(tmp_path / "a.ndjson", GOOD), written(tmp_path / "a.ndjson.zst", GOOD)}
    line = f"chatcodec: the command needs {package}: pip install 'chatcodec[cli]'\n"
    for redirected, printed in ("", line), ("2>&-", ""):
        outcome = execute(*arguments.split(), without=package, redirected=redirected, cwd=tmp_path)
        assert outcome == (2, "", printed)
    assert set(tmp_path.iterdir()) == before


def test_a_broken_installation_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chatcodec.cli._commands")
    monkeypatch.setitem(sys.modules, "chatcodec.cli._files", None)
    with pytest.raises(ModuleNotFoundError):
        main()


def test_an_interrupt_during_the_start_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "chatcodec.cli._commands", Interrupted("interrupted"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


def test_check_and_convert_do_without_numpy(tmp_path: Path) -> None:
    assert execute("convert", RESPONSES, tmp_path / "a.ndjson", without="numpy") == (0, "", "")


def test_a_terminal_without_unicode_gets_ascii() -> None:
    assert "###" in execute("stats", RESPONSES, env={**os.environ, "PYTHONIOENCODING": "ascii"}).out
