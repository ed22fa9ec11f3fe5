"""The time that garbage collection adds to the slowest calls, with a heap of ten million live objects.

python -m bench.tail            # a minute, and 1 GB of memory
python -m bench.tail --quick    # a heap of one million

Each call is timed by the thread's CPU time, which leaves out other processes; collections are counted with
`gc.callbacks`. Full collections are too rare for p99.9 to show them: CPython waits until a quarter of the heap is new.
The first row shows how long one takes.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.command import command, corpus_in
from chatcodec import ChatCompletionResponse, Envelope, json, ndjson, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEAP = 10_000_000
IN_FLIGHT = 1000
CALLS = {"message": 100_000, "chunk": 10_000}
COLUMNS = ["p50", "p99.9", "added", "max", "young", "full", "pause ms"]

Row = dict[str, float]


@dataclass
class Collections:
    """The collections since the last `clear`: of the young generations, of the whole heap, and the longest, in ms."""

    young: int = 0
    full: int = 0
    longest: float = 0.0
    _start: int = field(default=0, repr=False)

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        """Count the phase of a collection that `gc.callbacks` reports."""
        if phase == "start":
            self._start = time.perf_counter_ns()
            return
        self.longest = max(self.longest, (time.perf_counter_ns() - self._start) / 1e6)
        if info["generation"] == 2:
            self.full += 1
        else:
            self.young += 1

    def clear(self) -> None:
        """Reset the counts."""
        self.young, self.full, self.longest = 0, 0, 0.0


def main() -> None:
    """Measure as the arguments ask."""
    command("bench.tail", "Measure the time that garbage collection adds.", "a heap of one million objects", run, table)


def run(folder: Path | None = None, *, quick: bool = False) -> dict[str, Row]:
    """Return the times of each kind of call, in microseconds, and the collections during them."""
    with corpus_in(folder, 500, 20_000) as place:
        responses = (place / "responses.ndjson").read_bytes().splitlines()[:500]
        deltas = (place / "deltas.ndjson").read_bytes()[: 8 * 1024 * 1024]
    heap = [[] for _ in range(HEAP // 10 if quick else HEAP)]  # type: ignore[var-annotated]
    counted = Collections()
    gc.callbacks.append(counted)
    gc.collect()
    whole = {"p50": counted.longest * 1e3, "full": 1.0, "pause ms": counted.longest}
    try:
        return {"a full collection": whole} | {
            name: _measure(call, inputs, calls, counted) for name, call, inputs, calls in works(responses, deltas)
        }
    finally:
        gc.callbacks.remove(counted)
        del heap


Work = tuple[str, "Callable[[bytes], Any]", list[bytes], int]


def works(responses: list[bytes], deltas: bytes) -> Iterator[Work]:
    """Yield each kind of call: its name, the call, the arguments to pass in turn, and the number of calls."""
    deltas = deltas[: deltas.rfind(b"\n") + 1]
    events = b"".join(b"data: " + line + b"\n" for line in deltas.splitlines(keepends=True))
    for name, call in (("decode", json.decode), ("peek", json.peek), ("patch", _patch)):
        yield f"json.{name}, responses", call, responses, CALLS["message"]
    for name, call in (("decode", json.decode), ("peek", json.peek)):
        yield f"json.{name}, responses, {IN_FLIGHT} kept", _keeping(call), responses, CALLS["message"]
    for size in (16, 64):
        for kind in (ChatCompletionResponse, Envelope, bytes):
            for stream, data in ((ndjson, deltas), (sse, events)):
                decoder: Any = stream.StreamDecoder(kind)
                name = f"{stream.__name__.split('.')[1]}, {kind.__name__}, deltas, {size} KiB"
                yield name, decoder.feed, _chunks(data, size * 1024), CALLS["chunk"]
    yield "ndjson.iter_decode, records, deltas, 64 KiB", _iterate, _chunks(deltas, 64 * 1024), CALLS["chunk"]


def _patch(body: bytes) -> bytes:
    return json.patch(body, session_id="s-1", latency=12.5)


def _keeping(call: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a call that keeps its last results, as a gateway keeps the responses in flight."""
    kept: deque[Any] = deque(maxlen=IN_FLIGHT)
    return lambda body: kept.append(call(body))


def _iterate(chunk: bytes) -> None:
    """Iterate over the whole lines of a chunk."""
    for _ in ndjson.iter_decode([chunk[chunk.find(b"\n") + 1 : chunk.rfind(b"\n") + 1]]):
        pass


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _measure(call: Callable[[bytes], Any], inputs: list[bytes], calls: int, counted: Collections) -> Row:
    calls -= calls % len(inputs)  # whole rounds, so that they do not end inside a line
    gc.disable()
    quiet = _times(call, inputs, calls)
    gc.enable()
    counted.clear()
    times = _times(call, inputs, calls)
    return {
        "p50": _quantile(times, 0.5),
        "p99.9": _quantile(times, 0.999),
        "added": _quantile(times, 0.999) - _quantile(quiet, 0.999),
        "max": times[-1],
        "young": counted.young,
        "full": counted.full,
        "pause ms": counted.longest,
    }


def _times(call: Callable[[bytes], Any], inputs: list[bytes], calls: int) -> list[float]:
    """Return the time of each call, in microseconds, sorted."""
    times = [0.0] * calls
    clock = time.thread_time_ns
    for number in range(calls):
        item = inputs[number % len(inputs)]
        start = clock()
        call(item)
        times[number] = (clock() - start) / 1e3
    times.sort()
    return times


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[int(len(ordered) * share)]


def table(figures: dict[str, Row]) -> str:
    """Return the figures as Markdown."""
    rows = [["µs a call", *COLUMNS], ["---", *["--:"] * len(COLUMNS)]]
    rows += [
        [name, *(f"{row[column]:,.1f}" if column in row else "" for column in COLUMNS)] for name, row in figures.items()
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
