"""Files in segments, in many processes: the same results as from one process that reads from start to end."""

from __future__ import annotations

import json
import os
import signal
from subprocess import PIPE
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
import pytest

from chatcodec.cli import _jobs

from .commands import BAD, DELTAS, GOOD, RESPONSES, call, counted, finished, spawn, varied, written, written_long
from .support import BOM

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extras

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file with good and bad records, long and short lines, blank ones, and marks where none belongs."""
    bad = [BAD, GOOD + GOOD, BOM + GOOD, b"{", b'"\xff"', b'{"x":"' + b"y" * 90, b'{"error":{}}']
    odd = [b"", b" \r", GOOD + b"\r", *bad]
    sample = RESPONSES.read_bytes().splitlines()
    path = written(tmp_path / "mixed.ndjson", *(line for good in sample for line in (good, *odd)))
    with path.open("ab") as file:
        file.write(b'{"cost":')
    return path


@pytest.fixture
def segmented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files of any size, for any number of processes."""
    monkeypatch.setattr(_jobs, "SEGMENT_BYTES", 10_007)
    monkeypatch.setattr(_jobs, "_SEGMENTS_A_JOB", 1)


@pytest.mark.usefixtures("segmented")
def test_any_number_of_jobs_gives_the_same(capfd: Capture, mixed: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "deltas.ndjson.gz"
    assert call(capfd, "convert", DELTAS, zipped).status == 0
    for command in (["stats", "--json"], ["check", "--json"], ["check"]):
        one = call(capfd, *command, "--jobs=1", zipped, mixed, DELTAS, mixed)
        assert call(capfd, *command, "--jobs=3", zipped, mixed, DELTAS, mixed) == one
    targets = [tmp_path / "one.msgpack", tmp_path / "two.msgpack"]
    one, two = (call(capfd, "convert", f"--jobs={jobs}", mixed, target) for jobs, target in enumerate(targets, 1))
    assert one == two
    assert one.status == 1
    assert targets[0].read_bytes() == targets[1].read_bytes()


@pytest.mark.usefixtures("segmented")
def test_a_line_longer_than_a_segment_is_read_once(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "long.ndjson", GOOD, b'{"x":[' + b"1," * 200_000 + b"1]}", GOOD, BAD)
    assert counted(capfd, "--jobs=2", path) == (3, 0, 1)
    assert call(capfd, "check", "--jobs=2", path).out.startswith(f"{path}:4: ")


@pytest.mark.usefixtures("segmented")
def test_a_byte_order_mark_is_skipped_at_the_start_of_the_file_alone(capfd: Capture, tmp_path: Path) -> None:
    path = written(tmp_path / "marks.ndjson", *[BOM + GOOD] * 1000)
    for jobs in (1, 2):
        assert counted(capfd, f"--jobs={jobs}", path) == (1, 0, 999)


def test_estimates_too_are_the_same_with_any_number_of_jobs(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = varied(tmp_path / "varied.ndjson")
    shown = call(capfd, "stats", "--jobs=1", path)
    printed = call(capfd, "stats", "--json", "--jobs=1", path)
    report = json.loads(printed.out)
    assert report["quantileError"] > 0
    assert report["sessionsError"] > 0.01
    monkeypatch.setattr(_jobs, "_SEGMENTS_A_JOB", 1)
    for jobs, size in ((3, 700_000), (2, 2_000_000)):
        monkeypatch.setattr(_jobs, "SEGMENT_BYTES", size)
        assert call(capfd, "stats", "--json", f"--jobs={jobs}", path) == printed
    assert call(capfd, "stats", "--jobs=2", path) == shown


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_dies_ends_the_command(tmp_path: Path, number: signal.Signals) -> None:
    path, target = written_long(tmp_path / "long.ndjson"), tmp_path / "a.msgpack"
    with spawn("convert", "--jobs=2", path, target, stderr=PIPE) as process:
        process.stderr.readline()
        # The other child keeps track of shared memory. All workers are there, because some of the work is done.
        workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())]
        assert len(workers) == 2
        for worker in workers:
            worker.send_signal(number)
        *_, last = process.stderr
        assert process.wait(60) == 2
    assert last == b"chatcodec: one of its processes has died; use --jobs 1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_short_file_is_not_worth_a_process(tmp_path: Path) -> None:
    gate = tmp_path / "gate.ndjson"
    os.mkfifo(gate)
    with spawn("check", "--jobs=2", DELTAS, gate, stdout=PIPE) as process, gate.open("wb") as writer:
        assert psutil.Process(process.pid).children() == []
        writer.write(GOOD)
        writer.close()
        assert finished(process).status == 0
