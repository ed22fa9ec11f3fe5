"""What records amount to, in constant memory: exact counts and sums, and sketches of the rest.

Summaries of parts merge into that of the whole, so that parts can be read by many processes or machines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from datasketches import hll_sketch, hll_union, kll_doubles_sketch, tgt_hll_type  # type: ignore[import-untyped]
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from ._record import ChatCompletionResponse

# Quantiles are exact up to so many values, and beyond them within 0.02 % of the rank, for 370 kB a field.
_QUANTILE_SIZE = 16 * 1024
# 2**14 registers of a byte: distinct counts within 1.6 % in 95 of 100 cases.
_DISTINCT_LOG_SIZE = 14
# One call into the sketch for so many values.
_PENDING = 4096


class FieldReport(Struct, rename="camel"):
    """One number of the records: how many have it, and what it amounts to; ``None`` where none has it."""

    count: int
    total: float
    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    largest: float | None


class Report(Struct, rename="camel"):
    """A summary in numbers.

    Attributes:
        sessions: about how many distinct session ids there are.
        sessions_error: by which part of it that may be off, in 95 of 100 cases.
        quantile_error: by which part of all values the rank of a quantile may be off, in 99 of 100 cases.
    """

    records: int
    bad: int
    first: datetime | None
    last: datetime | None
    sessions: int
    sessions_error: float
    quantile_error: float
    cost: FieldReport
    latency: FieldReport


class Distribution:
    """How the values of one field are distributed. What is not finite is left out."""

    def __init__(self) -> None:
        self._sketch = kll_doubles_sketch(_QUANTILE_SIZE)
        self._pending: list[float] = []
        self._total = 0.0

    def add(self, values: list[float]) -> None:
        """Take in `values`."""
        self._pending += values
        if len(self._pending) >= _PENDING:
            self._flush()

    def _flush(self) -> None:
        values = np.array(self._pending, dtype=np.float64)
        self._pending = []
        values = values[np.isfinite(values)]
        with np.errstate(over="ignore"):
            self._total += float(values.sum())
        self._sketch.update(values)

    @property
    def sketch(self) -> kll_doubles_sketch:
        """The sketch of all values so far."""
        self._flush()
        return self._sketch

    @property
    def error(self) -> float:
        """By which part of all values the rank of a quantile may be off, in 99 of 100 cases."""
        return self._sketch.normalized_rank_error(False) if self.sketch.is_estimation_mode() else 0.0  # noqa: FBT003

    def merge(self, other: Distribution) -> None:
        """Take in the values of `other`."""
        self.sketch.merge(other.sketch)
        self._total += other._total

    def report(self) -> FieldReport:
        """Return the figures so far."""
        sketch = self.sketch
        if not sketch.n:
            return FieldReport(0, 0.0, None, None, None, None, None)
        p50, p90, p99 = sketch.get_quantiles([0.5, 0.9, 0.99], inclusive=True)
        mean = self._total / sketch.n
        return FieldReport(sketch.n, self._total, mean, p50, p90, p99, sketch.get_max_value())

    def shares(self, edges: Sequence[float]) -> list[float]:
        """Return which part of the values is below the first of `edges`, between each two, and from the last on."""
        return list(self.sketch.get_pmf(edges)) if self.sketch.n else [0.0] * (len(edges) + 1)

    def __getstate__(self) -> tuple[bytes, float]:
        return self.sketch.serialize(), self._total

    def __setstate__(self, state: tuple[bytes, float]) -> None:
        self.__init__()  # type: ignore[misc]
        self._sketch = kll_doubles_sketch.deserialize(state[0])
        self._total = state[1]


class Summary:
    """What the records added so far amount to. It pickles.

    Attributes:
        records: how many there are.
        bad: how many records were refused; whoever adds counts them.
        first: the earliest timestamp.
        last: the latest timestamp.
        cost: the distribution of the costs.
        latency: the distribution of the latencies.
    """

    def __init__(self) -> None:
        self.records = 0
        self.bad = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.cost = Distribution()
        self.latency = Distribution()
        self._sessions = hll_union(_DISTINCT_LOG_SIZE)

    def add(self, records: Sequence[ChatCompletionResponse]) -> None:
        """Take in `records`."""
        self.records += len(records)
        self._span([time for record in records if (time := record.timestamp) is not None])
        # Each id once, in order: the estimate depends on the order, and sets have another one in every process.
        for session in dict.fromkeys(record.session_id for record in records):
            if session is not None:
                self._sessions.update(session)
        self.cost.add([cost for record in records if (cost := record.cost) is not None])
        self.latency.add([latency for record in records if (latency := record.latency) is not None])

    def _span(self, times: list[datetime]) -> None:
        if times:
            first, last = min(times), max(times)
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    def merge(self, other: Summary) -> None:
        """Take in what `other` has."""
        self.records += other.records
        self.bad += other.bad
        self._span([time for time in (other.first, other.last) if time is not None])
        self._sessions.update(other._distinct())
        self.cost.merge(other.cost)
        self.latency.merge(other.latency)

    def _distinct(self) -> hll_sketch:
        return self._sessions.get_result(tgt_hll_type.HLL_8)

    def report(self) -> Report:
        """Return the figures so far."""
        sessions = self._distinct()
        estimate = sessions.get_estimate()
        return Report(
            records=self.records,
            bad=self.bad,
            first=self.first,
            last=self.last,
            sessions=round(estimate),
            sessions_error=sessions.get_upper_bound(2) / estimate - 1 if estimate else 0.0,
            quantile_error=max(self.cost.error, self.latency.error),
            cost=self.cost.report(),
            latency=self.latency.report(),
        )

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_sessions": self._distinct().serialize_compact()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._sessions = hll_union(_DISTINCT_LOG_SIZE)
        self._sessions.update(hll_sketch.deserialize(state["_sessions"]))


def merged(summaries: Iterable[Summary]) -> Summary:
    """Return the summary of all that `summaries` are of."""
    whole = Summary()
    for part in summaries:
        whole.merge(part)
    return whole
