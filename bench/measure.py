"""How speed is measured here: contenders in turn in one process, each between two readings of the limit.

The machine's speed drifts by more than contenders differ, so a single time says little. A round times the limit,
the contender and the limit again; its figure is the contender's time over the mean of the two. The result is the
median of the rounds, with the quartiles.
"""

from __future__ import annotations

import gc
import statistics
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter_ns
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from chatcodec import ChatCompletionResponse, DecodeError, json, msgpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Contender:
    """One way to do the work of a workload, on all of its records."""

    name: str
    run: Callable[[], object]
    # What the work gives, a thing a record; None where there is nothing that could differ.
    results: Callable[[], Iterable[Any]] | None = None


@dataclass
class Workload:
    """Work to do on `count` records, and who does it; the first contender is the limit."""

    name: str
    corpus: str
    count: int
    contenders: list[Contender]
    # How the results of this workload are compared.
    plain: Callable[[Any], Any] = field(default=lambda result: result)


@dataclass
class Figure:
    """A contender's time over the limit's: the median of the rounds and the quartiles; and what it lost."""

    contender: str
    ratio: float
    low: float
    high: float
    nanoseconds: float
    lost: int


def measure(workload: Workload, rounds: int) -> list[Figure]:
    """Verify and time every contender of `workload`."""
    limit, *others = workload.contenders
    expected = _verified(workload, limit)
    figures = [Figure(limit.name, 1.0, 1.0, 1.0, 0.0, 0)]
    lost = [_lost(expected, _verified(workload, other)) for other in others]
    ratios: list[list[float]] = [[] for _ in others]
    limits: list[float] = []
    # What the peers brought along at import is none of what a collection in the middle should cost a contender.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for other, seen in zip(others, ratios, strict=True):
            before, time, after = _time(limit), _time(other), _time(limit)
            seen.append(2 * time / (before + after))
            limits.append(min(before, after))
    figures[0].nanoseconds = statistics.median(limits) / workload.count
    for other, seen, missing in zip(others, ratios, lost, strict=True):
        low, middle, high = statistics.quantiles(seen, n=4)
        figures.append(Figure(other.name, middle, low, high, middle * figures[0].nanoseconds, missing))
    return figures


def _time(contender: Contender) -> int:
    start = perf_counter_ns()
    contender.run()
    return perf_counter_ns() - start


def _verified(workload: Workload, contender: Contender) -> Counter[Any] | None:
    if contender.results is None:
        return None
    return Counter(workload.plain(result) for result in contender.results())


def _lost(expected: Counter[Any] | None, seen: Counter[Any] | None) -> int:
    return 0 if expected is None or seen is None else (expected - seen).total()


def each(function: Callable[[Any], Any], items: list[Any]) -> Callable[[], None]:
    """Return what calls `function` with every item and drops what it returns."""

    def run() -> None:
        for item in items:
            function(item)

    return own_code(run)


def own_code(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with code of its own.

    Since CPython 3.11 a place in the code remembers what it called last. Where contenders shared the place, each
    would find it prepared for another one, which costs a Python function 20 ns a call and a C function nothing.
    """
    assert isinstance(function, FunctionType)  # noqa: S101
    function.__code__ = function.__code__.replace()
    return function


def one_by_one(name: str, function: Callable[[Any], Any], items: list[Any]) -> Contender:
    """Return the contender that calls `function` for every item."""
    return Contender(name, each(function, items), lambda: map(function, items))


def as_record(result: Any) -> bytes:
    """Return what a contender made of a record, in a form in which equal records are equal bytes.

    Peers give structs, models, dicts, or encoded messages.
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
