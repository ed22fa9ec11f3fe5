"""Figures of many records, in constant memory: exact counts and totals, estimates for the rest.

The summaries of parts merge into the summary of the whole, so that processes or machines can share the work. A report
is the same, to the last bit, in whatever order the records came and however they were partitioned.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from msgspec import Struct

from .distinct import Distinct
from .distribution import Distribution, FieldReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatcodec._record import ChatCompletionResponse

_FIRST = datetime.min.replace(tzinfo=timezone.utc)
_LAST = datetime.max.replace(tzinfo=timezone.utc)


class Report(Struct, rename="camel"):
    """The figures of a summary."""

    records: int
    """The number of records."""
    bad: int
    """The number of rejected records, not included in `records`."""
    errors: int
    """The number of messages in which the provider reported an error; neither `records` nor `bad` counts them."""
    first: datetime | None
    """The earliest time, in UTC."""
    last: datetime | None
    """The latest time, in UTC."""
    sessions: int
    """The number of distinct session ids, exact up to 16,384."""
    sessions_error: float
    """The relative error of `sessions` (95 % confidence); 0 if it is exact."""
    quantile_error: float
    """The largest relative error of a quantile, which is never too high; 0 if all are exact. Does not hold for
    quantiles below 1e-307."""
    cost: FieldReport
    """What the generations cost, in the provider's currency."""
    latency: FieldReport
    """How long they took, in milliseconds."""


class Summary:
    """The figures of the records added so far. It can be pickled.

    Attributes:
        records: the number of records.
        bad: the number of rejected records, which the caller counts.
        errors: the number of messages in which the provider reported an error, which the caller counts.
        first: the earliest timestamp.
        last: the latest timestamp.
        cost: the distribution of the costs.
        latency: the distribution of the latencies.
    """

    def __init__(self) -> None:
        self.records = 0
        self.bad = 0
        self.errors = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.cost = Distribution()
        self.latency = Distribution()
        self._sessions = Distinct()

    def add(self, records: Sequence[ChatCompletionResponse]) -> None:
        """Add `records`."""
        self.records += len(records)
        self._span([time for record in records if (time := record.timestamp) is not None])
        self._sessions.add({session for record in records if (session := record.session_id) is not None})
        self.cost.add([cost for record in records if (cost := record.cost) is not None])
        self.latency.add([latency for record in records if (latency := record.latency) is not None])

    def _span(self, times: list[datetime]) -> None:
        if times:
            first, last = min(times), max(times)
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    def merge(self, other: Summary) -> None:
        """Add the records of `other`."""
        self.records += other.records
        self.bad += other.bad
        self.errors += other.errors
        self._span([time for time in (other.first, other.last) if time is not None])
        self._sessions.merge(other._sessions)
        self.cost.merge(other.cost)
        self.latency.merge(other.latency)

    def report(self) -> Report:
        """Return the figures so far."""
        sessions, sessions_error = self._sessions.estimate()
        return Report(
            records=self.records,
            bad=self.bad,
            errors=self.errors,
            first=_utc(self.first),
            last=_utc(self.last),
            sessions=sessions,
            sessions_error=sessions_error,
            quantile_error=max(self.cost.error, self.latency.error),
            cost=self.cost.report(),
            latency=self.latency.report(),
        )


def _utc(time: datetime | None) -> datetime | None:
    """Return `time` in UTC: which of equal times in different zones is kept depends on the order of records."""
    if time is None:
        return None
    try:
        return time.astimezone(timezone.utc)
    except OverflowError:  # less than a day before the year 1 or after 9999
        return _FIRST if time.year == 1 else _LAST


def merged(summaries: Iterable[Summary]) -> Summary:
    """Return the summary of all records of `summaries`."""
    whole = Summary()
    for part in summaries:
        whole.merge(part)
    return whole
