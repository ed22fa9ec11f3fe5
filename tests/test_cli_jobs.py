"""Files in segments, in many processes: the same results as from one process that reads from start to end."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec._stats.summary import merged
from chatcodec.cli import _commands, _files, _jobs, _work
from chatcodec.cli._files import Failure, File, Segment, segments
from chatcodec.cli._jobs import Meter, Part, run

from .commands import BAD, DELTAS, GOOD, RESPONSES, call, varied, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from chatcodec.cli._jobs import Bad

pytestmark = pytest.mark.extras

BOM = b"\xef\xbb\xbf"
LINES = st.lists(
    st.sampled_from(
        [GOOD, BAD, b"", b" \r", GOOD + b"\r", GOOD + GOOD, BOM + GOOD, b"{", b'"\xff"', b'{"x":"' + b"y" * 90]
    )
)


@pytest.fixture(scope="session")
def lines_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that every example of a property writes anew."""
    return tmp_path_factory.mktemp("lines") / "lines.ndjson"


def plain(path: Path) -> File:
    return File(str(path), "ndjson", "")


@given(lines=LINES, last=st.sampled_from([b"", GOOD, BAD]), size=st.integers(1, 200))
def test_segments_are_whole_lines_and_make_up_the_file(
    lines_file: Path, lines: list[bytes], last: bytes, size: int
) -> None:
    data = b"".join(line + b"\n" for line in lines) + last
    lines_file.write_bytes(data)
    cut = list(segments(plain(lines_file), size))
    texts = [data[segment.start : segment.end] for segment in cut]
    assert b"".join(texts) == data
    assert all(text.endswith(b"\n") for text in texts[:-1])
    assert all(segment.start < (segment.end or 0) for segment in cut)


def bad_records(found: Iterator[tuple[Segment, Part]]) -> list[Bad]:
    return [bad for _, part in found for bad in part.bad]


@given(lines=LINES, last=st.sampled_from([b"", GOOD, BAD]), size=st.integers(1, 200))
def test_bad_records_are_where_one_reader_finds_them(
    lines_file: Path, lines: list[bytes], last: bytes, size: int
) -> None:
    lines_file.write_bytes(b"".join(line + b"\n" for line in lines) + last)
    whole = bad_records(run([Segment(plain(lines_file))], _work.check, 1, Meter()))
    assert bad_records(run(segments(plain(lines_file), size), _work.check, 1, Meter())) == whole


def test_long_lines_are_searched_for_their_end_once(tmp_path: Path) -> None:
    path = written(tmp_path / "long.ndjson", GOOD, b"[" + b"1," * 200_000 + b"1]", GOOD)
    ends = [segment.end for segment in segments(plain(path), 100)]
    assert ends == [path.stat().st_size - len(GOOD) - 1, path.stat().st_size]


def test_a_file_that_shrank_is_read_to_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.ndjson", GOOD, GOOD)
    (segment,) = segments(plain(path), 1000)
    written(path, GOOD)
    *_, (_, last) = run([segment], _work.check, 1, Meter())
    assert last.lines == 1


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file of some ten segments, each with bad records."""
    sample = RESPONSES.read_bytes().splitlines()
    return written(tmp_path / "mixed.ndjson", *(line for good in sample for line in (good, b"", BAD)))


def small_segments(path: Path) -> list[Segment]:
    found = list(segments(plain(path), 25_000))
    assert len(found) > 8
    return found


@pytest.mark.parametrize("work", [_work.check, _work.summarise])
def test_two_processes_find_what_one_does(mixed: Path, work: Callable[..., Iterator[Part]]) -> None:
    cut = small_segments(mixed)
    one, two = ([*run(cut, work, jobs, Meter.for_jobs(jobs))] for jobs in (1, 2))
    assert [(segment, part.bad, part.lines) for segment, part in one] == [
        (segment, part.bad, part.lines) for segment, part in two
    ]
    if work is _work.summarise:
        one_report, two_report = (merged(part.value for _, part in parts).report() for parts in (one, two))
        assert one_report == two_report
        assert (one_report.records, one_report.bad) == (75, 75)


def test_the_meter_counts_in_all_processes(mixed: Path) -> None:
    meter = Meter.for_jobs(2)
    for _ in run(small_segments(mixed), _work.check, 2, meter):
        pass
    assert meter.counts[:2] == [mixed.stat().st_size, 150]


def test_the_command_gives_the_same_with_any_number_of_jobs(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mixed: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(_files, "SEGMENT_BYTES", 25_000)
    monkeypatch.setattr(_commands, "_SEGMENTS_A_JOB", 1)
    zipped = tmp_path / "deltas.ndjson.gz"
    assert call(capfd, "convert", DELTAS, zipped).status == 0
    for command in (["stats", "--json"], ["check", "--json"], ["check"]):
        one = call(capfd, *command, "--jobs=1", zipped, mixed, DELTAS, mixed)
        assert call(capfd, *command, "--jobs=3", zipped, mixed, DELTAS, mixed) == one
    targets = [tmp_path / "one.msgpack", tmp_path / "two.msgpack"]
    one, two = (call(capfd, "convert", f"--jobs={jobs}", mixed, target) for jobs, target in enumerate(targets, 1))
    assert one == two
    assert targets[0].read_bytes() == targets[1].read_bytes()
    assert json.loads(call(capfd, "stats", "--json", targets[0]).out)["records"] == 75


def test_estimates_too_are_the_same_with_any_number_of_jobs(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = varied(tmp_path / "varied.ndjson")
    shown = call(capfd, "stats", "--jobs=1", path)
    printed = call(capfd, "stats", "--json", "--jobs=1", path)
    report = json.loads(printed.out)
    assert report["quantileError"] > 0
    assert report["sessionsError"] > 0.01
    monkeypatch.setattr(_commands, "_SEGMENTS_A_JOB", 1)
    for jobs, size in ((3, 700_000), (2, 2_000_000), (1, 100_000)):
        monkeypatch.setattr(_files, "SEGMENT_BYTES", size)
        assert call(capfd, "stats", "--json", f"--jobs={jobs}", path) == printed
    assert call(capfd, "stats", "--jobs=1", path) == shown


def die(segment: Segment, meter: Meter) -> Iterator[Part]:
    os.kill(os.getpid(), signal.SIGKILL)
    return _work.check(segment, meter)


def test_a_process_that_dies_ends_the_command(mixed: Path) -> None:
    with pytest.raises(Failure, match=r"^a process of it has died"):
        list(run(small_segments(mixed), die, 2, Meter.for_jobs(2)))


def test_what_fails_in_a_process_fails_as_in_one(mixed: Path) -> None:
    cut = small_segments(mixed)
    mixed.unlink()
    with pytest.raises(Failure, match=r"mixed\.ndjson: No such file or directory$"):
        list(run(cut, _work.check, 2, Meter.for_jobs(2)))


def test_processes_leave_interrupts_to_the_one_that_started_them(mixed: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    meter = _jobs._meter
    try:
        _jobs._start_worker(Meter.for_jobs(2).counts)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        (*_, last) = _jobs._all_parts(_work.check, Segment(plain(mixed)))
        assert last.lines == _jobs._meter.counts[1] * 3 / 2
    finally:
        signal.signal(signal.SIGINT, handler)
        _jobs._meter = meter


def test_who_is_told_to_stop_reads_no_further(mixed: Path) -> None:
    meter = Meter()
    meter.stop()
    assert len(list(run([Segment(plain(mixed))], _work.check, 1, meter))) == 1
