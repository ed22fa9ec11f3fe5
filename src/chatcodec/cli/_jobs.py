"""Segments to results: each segment by itself, in this process or in several, and the results in order."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ._files import Failure, Segment, chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from chatcodec import RecordError


class Bad(NamedTuple):
    """A bad record: the number of its line or frame, from 1, its offset in bytes from 0, and why."""

    line: int
    offset: int
    reason: str


class Part(NamedTuple):
    """A few records of a segment, or what was made of them; the bad ones among them; the line ends so far."""

    value: Any
    bad: list[Bad]
    lines: int


class Decoder(Protocol):
    """What turns chunks into records."""

    def feed(self, data: bytes, /) -> list[Any]:
        """Return the records that `data` completed."""
        ...

    def finish(self) -> list[Any]:
        """Return the records that were left."""
        ...


if TYPE_CHECKING:
    Work = Callable[[Segment, "Meter"], Iterator[Part]]


# Not forked: a fork copies a process that has threads, the progress bar's among them.
_processes = multiprocessing.get_context("spawn")


class Meter:
    """How much has been read so far, in all processes together, and whether it is time to stop."""

    def __init__(self, shared: Any = None) -> None:
        self.counts = shared or [0, 0, 0]
        self._lock = shared.get_lock() if shared else nullcontext()

    @classmethod
    def for_jobs(cls, jobs: int) -> Meter:
        """Return a meter that so many processes can share."""
        return cls(_processes.Array("q", 3)) if jobs > 1 else cls()

    def add(self, size: int = 0, records: int = 0) -> None:
        """Count `size` bytes and `records`."""
        with self._lock:
            self.counts[0] += size
            self.counts[1] += records

    def stop(self) -> None:
        """Let all reading end soon."""
        self.counts[2] = 1

    @property
    def stopped(self) -> bool:
        """Whether all reading is to end."""
        return bool(self.counts[2])


def read(segment: Segment, decoder: Callable[..., Decoder], meter: Meter) -> Iterator[Part]:
    """Decode `segment`, and yield its records chunk by chunk; positions count from its start."""
    # A blank line keeps a byte order mark here from being skipped: only the file's first one may be.
    lead = b"\n" if segment.start else b""
    errors: list[RecordError] = []
    stream = decoder(on_error=errors.append)
    stream.feed(lead)
    lines = 0
    for chunk in chunks(segment, meter):
        records = stream.feed(chunk)
        lines += chunk.count(b"\n")
        meter.add(records=len(records) + len(errors))
        yield Part(records, _taken(errors, len(lead)), lines)
        if meter.stopped:
            return
    records = stream.finish()
    meter.add(records=len(records) + len(errors))
    yield Part(records, _taken(errors, len(lead)), lines)


def _taken(errors: list[RecordError], lead: int) -> list[Bad]:
    bad = [Bad(error.index - lead, error.offset - lead, error.reason) for error in errors]
    errors.clear()
    return bad


def run(segments: Iterable[Segment], work: Work, jobs: int, meter: Meter) -> Generator[tuple[Segment, Part]]:
    """Do `work` on each of `segments`, in up to `jobs` processes, and yield the parts in order.

    Positions count from the start of the file. Segments that are whole files are worked on in this process.
    """
    lines = 0
    for segment, parts in _in_order(segments, work, jobs, meter):
        if not segment.start:
            lines = 0
        part = None
        for part in parts:
            bad = [Bad(line + lines, offset + segment.start, reason) for line, offset, reason in part.bad]
            yield segment, part._replace(bad=bad)
        lines += part.lines if part else 0


def _in_order(
    segments: Iterable[Segment], work: Work, jobs: int, meter: Meter
) -> Iterator[tuple[Segment, Iterable[Part]]]:
    if jobs == 1:
        yield from ((segment, work(segment, meter)) for segment in segments)
        return
    with _pool(jobs, meter) as pool:
        waiting: deque[tuple[Segment, Future[list[Part]] | None]] = deque()
        for segment in segments:
            waiting.append((segment, None if segment.end is None else _submit(pool, work, segment)))
            # So few wait that memory stays small, and so many that no process does.
            if len(waiting) > 2 * jobs:
                yield _result(*waiting.popleft(), work, meter)
        while waiting:
            yield _result(*waiting.popleft(), work, meter)


def _result(
    segment: Segment, future: Future[list[Part]] | None, work: Work, meter: Meter
) -> tuple[Segment, Iterable[Part]]:
    return segment, work(segment, meter) if future is None else future.result()


@contextmanager
def _pool(jobs: int, meter: Meter) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes, which are told to stop at the end."""
    pool = ProcessPoolExecutor(jobs, _processes, _start_worker, (meter.counts,))
    try:
        yield pool
    except BrokenProcessPool as error:
        message = "a process of it has died; --jobs 1 does without"
        raise Failure(message) from error
    finally:
        meter.stop()
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Work, segment: Segment) -> Future[list[Part]]:
    with _interrupts_held():
        return pool.submit(_all_parts, work, segment)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, also from the processes that are started meanwhile: they inherit that."""
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover  # Windows, where nothing is inherited
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_meter = Meter()


def _start_worker(counts: Any) -> None:
    global _meter  # noqa: PLW0603
    _meter = Meter(counts)
    # Ctrl-C reaches every process of the terminal; the one that started the others tells them to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _all_parts(work: Work, segment: Segment) -> list[Part]:
    return list(work(segment, _meter))
