"""The command among other processes: pipes, signals, full disks, terminals, and a Python without its packages."""

from __future__ import annotations

import gzip
import os
import pty
import resource
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from chatcodec import cli
from chatcodec.cli import _files

from .commands import BAD, COMMAND, DELTAS, GOOD, REASON, RESPONSES, Process, call, spawn, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIPE = subprocess.PIPE


def finished(process: Process) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_the_command_ends_with_its_status() -> None:
    status, out, err = finished(spawn("check", "--from=ndjson", "-", stdin=PIPE, stdout=PIPE, stderr=PIPE))
    assert (status, out, err) == (0, b"", b"")
    status, _, err = finished(spawn("check", "-", stdin=PIPE, stderr=PIPE))
    assert (status, err.count(b"\n")) == (2, 1)


def test_records_of_a_live_pipe_are_told_at_once() -> None:
    with spawn("check", "--from=ndjson", "-", stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(BAD + b"\n")
        process.stdin.flush()
        assert process.stdout.readline().decode() == f"-:1: {REASON}\n"
        process.stdin.close()
        assert process.wait(30) == 1


@pytest.mark.parametrize("arguments", [("check",), ("convert", "--to=ndjson")])
def test_a_broken_pipe_ends_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = written(tmp_path / "many.ndjson", *[BAD, GOOD] * 50_000)
    target = ["-"] * (arguments[0] == "convert")
    with spawn(*arguments, path, *target, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read()
        assert b"Broken" not in errors
        assert b"Traceback" not in errors
        assert process.wait(30) == 141


def test_a_full_disk_is_one_line_on_standard_output() -> None:
    with open("/dev/full", "wb") as full:
        status, _, err = finished(spawn("stats", RESPONSES, stdout=full, stderr=PIPE))
    assert (status, err) == (2, b"chatcodec: standard output: No space left on device\n")


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    # A limit on the size of files stands in for the end of a disk, which only root could make so small.
    target = tmp_path / "a.ndjson"
    status, _, err = finished(spawn("convert", RESPONSES, target, stderr=PIPE, preexec_fn=limit_files))
    assert (status, err) == (2, f"chatcodec: {target}: File too large\n".encode())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("old", [[], [GOOD]])
def test_an_interrupt_leaves_no_half_file(tmp_path: Path, old: list[bytes]) -> None:
    target = tmp_path / "a.ndjson"
    before = [written(target, *old)] if old else []
    with spawn("convert", "--from=ndjson", "-", target, stdin=PIPE, stderr=PIPE) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write((GOOD + b"\n") * 100_000 + BAD + b"\n")
        process.stdin.flush()
        assert process.stderr.readline() == f"-:100001: {REASON}\n".encode()
        assert len(list(tmp_path.iterdir())) == len(before) + 1  # half of it is there
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read().strip() == b""
    assert list(tmp_path.iterdir()) == before
    assert [path.read_bytes() for path in before] == [GOOD + b"\n"] * len(before)


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    lines = (BAD + b"\n" + DELTAS.read_bytes()) * 950
    path = tmp_path / "long.ndjson"
    path.write_bytes(lines)
    with spawn("check", "--jobs=2", path, stdout=PIPE, stderr=PIPE, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f"{path}:1: {REASON}\n".encode()
        os.killpg(process.pid, signal.SIGINT)
        status, out, err = finished(process)  # standard error ends when the last process has
    assert (status, err.strip()) == (130, b"")
    assert out.count(b"\n") < 900


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    sample = gzip.compress(RESPONSES.read_bytes())
    peaks = []
    for times in (2, 200):
        path = tmp_path / f"{times}.ndjson.gz"
        path.write_bytes(sample * times)
        process = spawn("stats", "--json", path, stdout=PIPE)
        with process:
            assert process.stdout
            process.stdout.read()
            _, _, usage = os.wait4(process.pid, 0)
        peaks.append(usage.ru_maxrss)
    assert peaks[1] < peaks[0] + 8 * 1024


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: what a person sees, and what the command writes to."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)


def seen(master: int) -> str:
    """Return all that was written to a terminal whose other end is closed."""
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # how Linux tells the end
        return shown.decode()
    return shown.decode()


def test_a_terminal_shows_the_progress(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    process = spawn("check", RESPONSES, DELTAS, stdout=PIPE, stderr=slave, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    status, out, _ = finished(process)
    shown = seen(master)
    assert (status, out) == (0, b"")
    assert "390.4/390.4 kB" in shown
    assert "707 records, " in shown
    assert "/s" in shown
    assert "0:00:00" in shown


def test_what_is_printed_on_the_same_terminal_stays_whole(terminal: tuple[int, int], tmp_path: Path) -> None:
    master, slave = terminal
    path = written(tmp_path / "a.ndjson", GOOD, BAD)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "400"}
    process = spawn("check", path, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    assert finished(process)[0] == 1
    assert f"{path}:2: {REASON}" in seen(master)


def test_the_bar_is_drawn_in_this_process_too(
    terminal: tuple[int, int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = terminal
    monkeypatch.setenv("TERM", "xterm")
    with open(slave, "w") as stderr:
        monkeypatch.setattr("sys.stderr", stderr)
        assert call(capfd, "check", RESPONSES) == (0, "", "")
    assert "75 records, " in seen(master)


def test_in_this_process_a_broken_pipe_is_a_status(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with closing(open(writer, "w")) as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert call(capfd, "convert", RESPONSES, "-", "--to=msgpack") == (141, "", "")


def test_and_a_full_disk_is_a_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        line = "chatcodec: standard output: No space left on device\n"
        assert call(capfd, "stats", RESPONSES) == (2, "", line)


def test_and_an_interrupt_is_a_status(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_files, "segments", interrupt)
    status, out, err = call(capfd, "check", RESPONSES)
    assert (status, out, err.strip()) == (130, "", "")


@pytest.mark.parametrize("package", ["click", "rich", "datasketches"])
def test_without_the_extra_it_says_how_to_install_it(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; {COMMAND[-1]}"
    status, out, err = finished(
        subprocess.Popen([sys.executable, "-c", code, "stats", RESPONSES], stdout=PIPE, stderr=PIPE)
    )
    assert (status, out) == (2, b"")
    assert err.decode() == f"chatcodec: the command needs {package}: pip install 'chatcodec[cli]'\n"


def test_main_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["chatcodec", "check", str(DELTAS)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0


def test_main_tells_of_a_missing_package(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["chatcodec", "stats", str(DELTAS)])
    monkeypatch.delitem(sys.modules, "chatcodec._summary", raising=False)
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capfd.readouterr().err == "chatcodec: the command needs datasketches: pip install 'chatcodec[cli]'\n"


def test_main_does_not_hide_that_it_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chatcodec.cli._commands")
    monkeypatch.setitem(sys.modules, "chatcodec.cli._files", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main()
