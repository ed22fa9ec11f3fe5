"""The command among other processes: pipes, signals, full disks, terminals, and a Python without its packages."""

from __future__ import annotations

import gzip
import multiprocessing
import os
import pty
import resource
import signal
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from rich.progress import Progress

from chatcodec import cli
from chatcodec.cli import _commands, _files, _work
from chatcodec.cli._files import File, Segment
from chatcodec.cli._jobs import Meter, Part, run
from chatcodec.cli._progress import _RecordsColumn

from .commands import BAD, COMMAND, DELTAS, GOOD, REASON, RESPONSES, Process, call, spawn, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras

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
    # A pipe would fill up before the first byte of output: Python 3.14 and later buffer 128 KiB of that.
    with open(tmp_path / "errors", "w+b") as errors:
        with spawn(*arguments, path, *target, stdout=PIPE, stderr=errors) as process:
            assert process.stdout
            process.stdout.read(1)
            process.stdout.close()
            assert process.wait(30) == 141
        errors.seek(0)
        text = errors.read()
    assert b"Broken" not in text
    assert b"Traceback" not in text


def test_a_full_disk_is_one_line_on_standard_output() -> None:
    with open("/dev/full", "wb") as full:
        status, _, err = finished(spawn("stats", RESPONSES, stdout=full, stderr=PIPE))
    assert (status, err) == (2, b"chatcodec: standard output: No space left on device\n")


def test_so_is_one_that_is_full_only_when_the_last_is_written(tmp_path: Path) -> None:
    path = written(tmp_path / "short.ndjson", GOOD)
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    with open("/dev/full", "wb") as full:
        status, _, err = finished(spawn("convert", path, "-", "--to=ndjson", stdout=full, stderr=PIPE, env=buffered))
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
        (half,) = set(tmp_path.iterdir()) - set(before)
        assert (half.name[0], half.suffix) == (".", ".part")
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
    assert "━" in shown


@pytest.mark.parametrize(("arguments", "size"), [(["a.ndjson"], "11/11 bytes"), (["--from=ndjson", "-"], "11/? bytes")])
def test_every_byte_and_record_shows_once(
    terminal: tuple[int, int], tmp_path: Path, arguments: list[str], size: str
) -> None:
    master, slave = terminal
    (tmp_path / "a.ndjson").write_bytes(b"{}\n{}\n{}\n[]")
    environment = {**os.environ, "TERM": "xterm"}
    with (tmp_path / "a.ndjson").open("rb") as file:
        process = spawn("check", *arguments, stdin=file, stdout=PIPE, stderr=slave, env=environment, cwd=tmp_path)
    os.close(slave)
    status, out, _ = finished(process)
    assert (status, out.count(b":4: ")) == (1, 1)
    shown = seen(master)
    assert size in shown
    assert "4 records, " in shown


def test_the_rate_is_what_was_read_in_the_time_that_has_passed() -> None:
    now, meter = [0.0], Meter()
    bar = Progress(get_time=lambda: now[0])
    bar.add_task("", start=False)
    (task,) = bar.tasks
    column = _RecordsColumn(meter)
    assert column.render(task).plain == "0 records, 0/s"
    bar.start_task(task.id)
    meter.add(records=3000)
    assert column.render(task).plain == "3,000 records, 3,000/s"
    now[0] = 2.0
    assert column.render(task).plain == "3,000 records, 1,500/s"


# Where this module was imported: a fork would have it from its parent.
IMPORTED_IN = os.getpid()


def look_around(segment: Segment, meter: Meter) -> Iterator[Part]:
    """Tell which process does the work, whether it is no fork, and whether interrupts are held back in it."""
    held = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield Part((os.getpid(), os.getpid() == IMPORTED_IN, held), [], 0)


def test_a_process_is_no_fork_and_hears_no_interrupt_even_while_it_starts(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", GOOD, GOOD)
    segments = _files.segments(File(str(path), "ndjson", ""), 1)
    for _, part in run(segments, look_around, 2, Meter.for_jobs(2)):
        assert part.value == (part.value[0], True, True)
        assert part.value[0] != os.getpid()


def test_a_file_that_is_read_as_a_whole_is_read_in_this_process() -> None:
    whole = Segment(File("a.ndjson.gz", "ndjson", ".gz"))
    ((segment, part),) = run([whole], look_around, 2, Meter.for_jobs(2))
    assert (segment, part.value) == (whole, (os.getpid(), True, False))


@pytest.mark.parametrize(("lines", "here"), [(8, True), (32, False)])
def test_a_long_file_is_read_by_processes_and_a_short_one_is_not_worth_their_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int, here: bool
) -> None:
    monkeypatch.setattr(_files, "SEGMENT_BYTES", 1)
    file = File(str(written(tmp_path / "a.ndjson", *[GOOD] * lines)), "ndjson", "")
    with _commands._worked([file], look_around, 2) as results:
        assert {part.value[0] == os.getpid() for _, part in results} == {here}


def count_up(segment: Segment, meter: Meter) -> Iterator[Part]:
    """Count so often that two who do it are bound to meet."""
    for _ in range(20_000):
        meter.add(size=2, records=1)
    yield Part(None, [], 0)


def test_what_is_read_in_many_processes_counts_once(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", GOOD, GOOD)
    meter = Meter.for_jobs(2)
    assert len(list(run(_files.segments(File(str(path), "ndjson", ""), 1), count_up, 2, meter))) == 2
    assert meter.counts[:2] == [80_000, 40_000]


def test_few_segments_wait_and_what_is_not_wanted_any_more_is_not_worked_on(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", *[GOOD] * 200)
    taken: list[Segment] = []

    def segments() -> Iterator[Segment]:
        for segment in _files.segments(File(str(path), "ndjson", ""), len(GOOD) * 5):
            taken.append(segment)
            yield segment

    meter = Meter.for_jobs(3)
    results = run(segments(), _work.check, 3, meter)
    next(results)
    assert 3 < len(taken) < 8
    assert len(multiprocessing.active_children()) == 3
    results.close()
    assert meter.stopped
    assert multiprocessing.active_children() == []
    assert len(taken) < 8


def test_what_is_printed_on_the_same_terminal_has_a_line_of_its_own(terminal: tuple[int, int], tmp_path: Path) -> None:
    master, slave = terminal
    path = written(tmp_path / "a.ndjson", GOOD, BAD)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "400"}
    process = spawn("check", path, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    assert finished(process)[0] == 1
    assert f"\x1b[2K{path}:2: {REASON}" in seen(master)  # behind the erased bar


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


@pytest.mark.parametrize("package", ["click", "rich", "numpy"])
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
    for module in ("summary", "distribution", "distinct"):
        monkeypatch.delitem(sys.modules, f"chatcodec._stats.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capfd.readouterr().err == "chatcodec: the command needs numpy: pip install 'chatcodec[cli]'\n"


def test_main_does_not_hide_that_it_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chatcodec.cli._commands")
    monkeypatch.setitem(sys.modules, "chatcodec.cli._files", None)
    with pytest.raises(ModuleNotFoundError):
        cli.main()
