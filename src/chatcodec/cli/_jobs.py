"""Work on inputs, segment by segment, in this process or in several; the results come in order."""

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

# Not forked: a fork copies a process that has threads, the progress bar's among them.
_processes = multiprocessing.get_context("spawn")

# How much of a file that many read one takes at a time. The results of so much are small enough to be sent to another
# process, and a process that dies or has to stop loses no more.
SEGMENT_BYTES = 8 * 1024 * 1024
# It is not worth starting a process for less than so many segments.
_SEGMENTS_A_JOB = 8


class Bad(NamedTuple):
    """A bad record, or what a provider sent in place of a record.

    Attributes:
        line: the number of its line, frame or event, from 1.
        offset: where it starts, in bytes from 0.
        kind: as of a `chatcodec.RecordError`; ``"upstream"`` also for a message with an ``error``.
        reason: what is wrong.
    """

    line: int
    offset: int
    kind: str
    reason: str


class Part(NamedTuple):
    """Some records, or what was made of them; the bad ones among them; how many newlines there were so far."""

    value: Any
    bad: list[Bad]
    lines: int


class Segment(NamedTuple):
    """The bytes of a source from `start` to `end`, whole lines; or, where `end` is ``None``, all of it."""

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
    """Return how many processes are worth their start."""
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
    """How much has been read so far, in all processes together.

    Each process has counts of its own, so that none waits for another, which may have died.
    """

    def __init__(self, counts: Any, process: int = 0) -> None:
        self.counts = counts
        self._process = process

    @classmethod
    def for_jobs(cls, jobs: int) -> Meter:
        """Return a meter for this process and as many others."""
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

    Places count from the start of the source. Sources that are not divisible are worked on in this process.

    Raises:
        Failure: reading fails, a source is not what it was when it was opened, or a process has died.
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
            # Few enough wait that memory stays small, and enough that no process does.
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
    """Yield what gives a segment to one of as many processes, which stop at the end.

    Not a `ProcessPoolExecutor`, which waits forever for a process that died in the middle of a result.
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
        # The main thread handles signals, and would wait on if another one received them.
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
        # Until it ignores it, Ctrl-C would end it with a traceback.
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
            # Its frames have buffers of which Python 3.13 complains on standard error when it ends.
            raise Failure(message) from error.with_traceback(None)
        if isinstance(result, Failure):
            raise result
        return result

    def stop(self) -> None:
        """End the process, which does nothing any more."""
        self._connection.close()
        self._process.join()


def _serve(connection: Any, sources: dict[int, Source], work: Work, meter: Meter) -> None:
    """Work on one segment after the other, until the process that sends them closes the connection or ends."""
    # Ctrl-C reaches every process of the terminal, and the parent process stops its workers.
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
