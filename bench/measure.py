"""How speed is measured here: contenders in turn in one process, each between two readings of the base.

The machine's speed drifts by more than contenders differ, so a single time says little. A round times the base,
a contender, the base again, the next contender, and so on; a figure is the contender's time over the mean of the two
readings beside it. The result is the median of the rounds, with the quartiles.

Times are CPU times of the process, of all its threads: what other processes do is left out. On an idle machine they are
the wall times, since no work here waits.
"""

from __future__ import annotations

import gc
import statistics
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from time import process_time_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import msgspec

from chatcodec import ChatCompletionResponse, DecodeError, json, msgpack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Contender:
    """One way to do the work of a workload, on all of its records."""

    name: str
    run: Callable[[], object]
    # Returns the results of the work, one per record; None if there is nothing to compare.
    results: Callable[[], Iterable[Any]] | None = None


@dataclass
class Workload:
    """Work to do on `count` records, and who does it; the first contender is the base of the ratios."""

    name: str
    corpus: str
    count: int
    contenders: list[Contender]
    # How the results of this workload are compared.
    plain: Callable[[Any], Any] = field(default=lambda result: result)


@dataclass
class Figure:
    """A contender's time over the base's, as median and quartiles of the rounds, and the number of records it lost."""

    contender: str
    ratio: float
    low: float
    high: float
    nanoseconds: float
    lost: int


def measure(workload: Workload, rounds: int) -> list[Figure]:
    """Verify and time every contender of `workload`."""
    base, *others = workload.contenders
    expected = _verified(workload, base)
    lost = [_lost(expected, _verified(workload, other)) for other in others]
    ratios: list[list[float]] = [[] for _ in others]
    readings: list[int] = []
    # Objects that the peers' modules hold would slow down collections during a measurement.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        before = _time(base)
        for other, seen in zip(others, ratios, strict=True):
            time, after = _time(other), _time(base)
            seen.append(2 * time / (before + after))
            readings.append(after)
            before = after
    nanoseconds = statistics.median(readings) / workload.count
    figures = [Figure(base.name, 1.0, 1.0, 1.0, nanoseconds, 0)]
    for other, seen, missing in zip(others, ratios, lost, strict=True):
        low, middle, high = statistics.quantiles(seen, n=4)
        figures.append(Figure(other.name, middle, low, high, middle * nanoseconds, missing))
    return figures


def _time(contender: Contender) -> int:
    start = process_time_ns()
    contender.run()
    return process_time_ns() - start


def _verified(workload: Workload, contender: Contender) -> Counter[Any] | None:
    if contender.results is None:
        return None
    return Counter(workload.plain(result) for result in contender.results())


def _lost(expected: Counter[Any] | None, seen: Counter[Any] | None) -> int:
    return 0 if expected is None or seen is None else (expected - seen).total()


def each(function: Callable[[Any], Any], items: list[Any]) -> Callable[[], None]:
    """Return a function that calls `function` with every item and drops the results."""

    def run() -> None:
        for item in items:
            function(item)

    return own_code(run)


def own_code(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with code of its own.

    Since CPython 3.11 a call site is specialised for what it called last. If contenders shared one, each would find
    it specialised for another, which costs a Python function 20 ns a call and a C function nothing.
    """
    assert isinstance(function, FunctionType)  # noqa: S101
    function.__code__ = function.__code__.replace()
    return function


def one_by_one(name: str, function: Callable[[Any], Any], items: list[Any]) -> Contender:
    """Return the contender that calls `function` for every item."""
    return Contender(name, each(function, items), lambda: map(function, items))


def batched(items: list[R], number: int) -> list[list[R]]:
    """Return `items` in lists of `number`."""
    return [items[at : at + number] for at in range(0, len(items), number)]


def drive(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never has to wait, and return its result: an event loop would cost 50 us."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("R", stop.value)
    message = "the coroutine waits for something"
    raise RuntimeError(message)


def as_record(result: Any) -> bytes:
    """Return a contender's result for a record as MessagePack, so that equal records are equal bytes.

    Contenders return structs, models, dicts or encoded messages.
    """
    if hasattr(result, "model_dump"):
        result = result.model_dump(by_alias=True)
    if isinstance(result, (bytes, bytearray, str)):
        data = result.encode() if isinstance(result, str) else bytes(result)
        for codec in (json, msgpack):
            with suppress(DecodeError):
                return msgpack.encode(codec.decode(data))
        return data  # equal to no record
    if not isinstance(result, msgspec.Struct):
        result = msgspec.convert(result, ChatCompletionResponse, strict=False)
    return msgpack.encode(result)
