"""Work on inputs, segment by segment, in this process or in several, with the results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING, Any, NamedTuple

from ._files import SIGNALS, failing, signals_held
from ._formats import FORMATS, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from ._files import Source
    from ._formats import Format

    Work = Callable[["Segment", "Meter"], Iterator["Part"]]

# Not fork, which is unsafe in a process with threads, such as the progress bar's.
_processes = multiprocessing.get_context("spawn")

# How much of a shared file a process takes at a time: little enough that its results can be sent to another process,
# and that little work is lost when a process dies or has to stop.
SEGMENT_BYTES = 8 * 1024 * 1024
# With fewer segments than this, starting a process is not worthwhile.
_SEGMENTS_A_JOB = 8


class Bad(NamedTuple):
    """A bad record, or an error that a provider sent in place of a record.

    Attributes:
        line: the number of its line, frame or event, from 1.
        offset: where it starts, in bytes from 0.
        kind: as in `chatcodec.RecordError`; ``"upstream"`` also for a message with an ``error``.
        reason: what is wrong.
    """

    line: int
    offset: int
    kind: str
    reason: str


class Part(NamedTuple):
    """Some records, or what was made of them; the bad ones; the number of newlines so far."""

    value: Any
    bad: list[Bad]
    lines: int


class Segment(NamedTuple):
    """The bytes of a source from `start` to `end`, in whole lines; or all of it, if `end` is ``None``."""

    number: int
    source: Source
    start: int = 0
    end: int | None = None

    @property
    def format(self) -> Format:
        """The format of the source."""
        return FORMATS[self.source.file.format]

    @property
    def is_last(self) -> bool:
        """Whether the source ends with it."""
        return self.end in (None, self.source.size)

    def chunks(self, count: Callable[[int], object]) -> Iterator[bytes]:
        """Yield its bytes, decompressed; `count` is called with the number of bytes of each read."""
        if self.end is None:
            return self.source.chunks(count)
        return self.source.chunks_between(self.start, self.end, count)


def is_divisible(source: Source) -> bool:
    """Whether many processes can read `source`."""
    file = source.file
    is_plain = source.size is not None and file.name != "-" and not file.compression
    return is_plain and FORMATS[file.format].divisible and hasattr(os, "pread")


def jobs_for(sources: Iterable[Source], most: int) -> int:
    """Return how many processes are worth starting."""
    size = sum(source.size or 0 for source in sources if is_divisible(source))
    return max(1, min(most, size // (SEGMENT_BYTES * _SEGMENTS_A_JOB)))


def _segments(sources: Iterable[Source], jobs: int) -> Iterator[Segment]:
    """Yield the segments of each of `sources`."""
    for number, source in enumerate(sources):
        if jobs == 1 or not is_divisible(source):
            yield Segment(number, source)
            continue
        start, size = 0, source.size or 0
        while start < size:
            end = min(source.line_end(start + SEGMENT_BYTES), size)
            yield Segment(number, source, start, end)
            start = end


class Meter:
    """Counts what has been read so far, by all processes together.

    Each process has its own counts, so that none has to wait for another, which may have died.
    """

    def __init__(self, counts: Any, process: int = 0) -> None:
        self.counts = counts
        self._process = process

    @classmethod
    def for_jobs(cls, jobs: int) -> Meter:
        """Return a meter for this process and `jobs` others."""
        return cls(_processes.RawArray("q", 2 * jobs + 2) if jobs > 1 else [0, 0])

    def add(self, size: int = 0, records: int = 0) -> None:
        """Count `size` bytes and `records`."""
        self.counts[2 * self._process] += size
        self.counts[2 * self._process + 1] += records

    @property
    def size(self) -> int:
        """How many bytes have been read."""
        return sum(self.counts[::2])

    @property
    def records(self) -> int:
        """How many records have been read, good and bad."""
        return sum(self.counts[1::2])


def run(sources: Sequence[Source], work: Work, jobs: int, meter: Meter) -> Generator[tuple[Segment, Part]]:
    """Do `work` on each segment of `sources`, in up to `jobs` processes, and yield the parts in order.

    Positions count from the start of the source. Sources that are not divisible are handled in this process.

    Raises:
        Failure: reading fails, a source has changed since it was opened, or a process has died.
    """
    lines = 0
    for segment, parts in _in_order(sources, work, jobs, meter):
        if not segment.start:
            lines = 0
        part = None
        for part in parts:
            bad = [one._replace(line=one.line + lines, offset=one.offset + segment.start) for one in part.bad]
            yield segment, part._replace(bad=bad)
        lines += part.lines if part else 0
        if segment.is_last:
            segment.source.verify()


def _in_order(
    sources: Sequence[Source], work: Work, jobs: int, meter: Meter
) -> Iterator[tuple[Segment, Iterable[Part]]]:
    if jobs == 1:
        yield from ((segment, work(segment, meter)) for segment in _segments(sources, jobs))
        return
    with _pool(sources, work, jobs, meter) as submit:
        waiting: deque[tuple[Segment, Future[list[Part]] | None]] = deque()
        for segment in _segments(sources, jobs):
            waiting.append((segment, None if segment.end is None else submit(segment)))
            # Few enough results wait to keep memory small, and enough segments to keep every process busy.
            if len(waiting) > 2 * jobs:
                yield _result(*waiting.popleft(), work, meter)
        while waiting:
            yield _result(*waiting.popleft(), work, meter)


def _result(
    segment: Segment, future: Future[list[Part]] | None, work: Work, meter: Meter
) -> tuple[Segment, Iterable[Part]]:
    return segment, work(segment, meter) if future is None else future.result()


@contextmanager
def _pool(
    sources: Sequence[Source], work: Work, jobs: int, meter: Meter
) -> Generator[Callable[[Segment], Future[list[Part]]]]:
    """Yield a function that submits a segment to one of `jobs` processes, which stop at the end.

    Not a `ProcessPoolExecutor`, which waits forever for a process that died while sending a result.
    """
    workers = [_Worker(number + 1, sources, work, meter) for number in range(jobs)]
    free: Queue[_Worker] = Queue()
    for worker in workers:
        free.put(worker)

    def done(segment: Segment) -> list[Part]:
        worker = free.get()
        try:
            return worker.done(segment)
        finally:
            free.put(worker)

    threads = ThreadPoolExecutor(jobs)

    def submit(segment: Segment) -> Future[list[Part]]:
        # The main thread handles signals; if another thread received one, it would keep waiting.
        with signals_held():
            return threads.submit(done, segment)

    try:
        yield submit
    finally:
        threads.shutdown(cancel_futures=True)
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that works on segments."""

    def __init__(self, number: int, sources: Sequence[Source], work: Work, meter: Meter) -> None:
        self._connection, theirs = _processes.Pipe()
        # It inherits the open files.
        divisible = {index: source for index, source in enumerate(sources) if is_divisible(source)}
        self._process = _processes.Process(
            target=_serve, args=(theirs, divisible, work, Meter(meter.counts, number)), daemon=True
        )
        # Until the process ignores Ctrl-C, it would end with a traceback.
        with failing("a process could not be started"), signals_held():
            self._process.start()
        theirs.close()

    def done(self, segment: Segment) -> list[Part]:
        """Return the parts of `segment`."""
        try:
            self._connection.send((segment.number, segment.start, segment.end))
            result: list[Part] | Failure = self._connection.recv()
        except (EOFError, OSError) as error:
            message = "one of its processes has died; use --jobs 1"
            # The frames hold buffers that Python 3.13 complains about on standard error when it exits.
            raise Failure(message) from error.with_traceback(None)
        if isinstance(result, Failure):
            raise result
        return result

    def stop(self) -> None:
        """End the process, which must be idle."""
        self._connection.close()
        self._process.join()


def _serve(connection: Any, sources: dict[int, Source], work: Work, meter: Meter) -> None:
    """Work on one segment after another, until the parent process closes the connection or ends."""
    # Ctrl-C reaches every process of the terminal, but it is the parent that stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # pragma: no branch  # Windows
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        while True:
            number, start, end = connection.recv()
            try:
                result: list[Part] | Failure = list(work(Segment(number, sources[number], start, end), meter))
            except Failure as failure:
                result = failure
            connection.send(result)
    except (EOFError, OSError):
        return
