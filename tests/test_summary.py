"""The figures of many records: exact or within the stated error, whatever the partition and order."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse
from chatcodec._stats.distinct import Distinct
from chatcodec._stats.distribution import Distribution
from chatcodec._stats.summary import Summary

from .support import traced
from .wire import UTC

pytestmark = pytest.mark.extras

S = TypeVar("S", Summary, Distribution)

START = datetime(2026, 1, 1, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))

RANDOMS = st.integers(0, 2**32).map(Random)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
RECORDS = st.lists(
    st.builds(
        ChatCompletionResponse,
        timestamp=st.none() | st.sampled_from([START, START.astimezone(EAST), START + timedelta(1)]),
        session_id=st.none() | st.sampled_from(["a", "b", "c", "d", "𝄞", "x" * 100_000]),
        cost=st.none() | st.floats() | st.sampled_from([0.0, -0.0, 0.1, 1.7e308]),
        latency=st.none() | st.integers(-5, 5).map(float),
    )
)


def filled(summary: S, items: Iterable[Any]) -> S:
    summary.add(list(items))
    return summary


def from_parts(make: Callable[[], S], items: list[Any], random: Random) -> S:
    """Shuffle and partition `items`, sum up each part, pickle some, and merge them in random order."""
    items = random.sample(items, len(items))
    places: list[int] = sorted(random.randint(0, len(items)) for _ in range(random.randrange(6)))
    parts = [filled(make(), items[start:end]) for start, end in pairwise([0, *places, len(items)])]
    while len(parts) > 1:
        part = parts.pop(random.randrange(len(parts)))
        parts[random.randrange(len(parts))].merge(pickle.loads(pickle.dumps(part)) if random.random() < 0.5 else part)
    return parts[0]


def exact_quantiles(values: Iterable[float], *percents: int) -> list[float]:
    """Return the percentiles: the smallest of `values` that so many percent of them do not exceed."""
    ordered = sorted(values)
    return [ordered[-(-len(ordered) * percent // 100) - 1] for percent in percents]


def check_quantiles(distribution: Distribution, values: list[float], *percents: int) -> None:
    """Check that quantiles are within the stated error, and not too high."""
    for percent, exact in zip(percents, exact_quantiles(values, *percents), strict=True):
        assert exact - abs(exact) * distribution.error <= distribution.quantile(percent) <= exact


@given(RECORDS)
@example([])
def test_few_records_are_summed_up_exactly(records: list[ChatCompletionResponse]) -> None:
    report = filled(Summary(), records).report()
    times = [record.timestamp for record in records if record.timestamp]
    latencies = [record.latency for record in records if record.latency is not None]
    latency = report.latency
    assert (report.records, report.bad, report.errors) == (len(records), 0, 0)
    assert (report.first, report.last) == (min(times, default=None), max(times, default=None))
    assert (report.sessions, report.sessions_error) == (len({record.session_id for record in records} - {None}), 0)
    assert (report.quantile_error, latency.count, latency.total) == (0, len(latencies), sum(latencies))
    if latencies:
        assert [latency.p50, latency.p90, latency.p99] == exact_quantiles(latencies, 50, 90, 99)
        assert (latency.mean, latency.largest) == (sum(latencies) / len(latencies), max(latencies))
    else:
        assert {latency.mean, latency.p50, latency.p90, latency.p99, latency.largest} == {None}


@given(RECORDS, RANDOMS)
def test_merged_parts_equal_the_whole(records: list[ChatCompletionResponse], random: Random) -> None:
    # Equal reports may still differ in the sign of a zero and in the zone of a time; their texts show it.
    assert repr(from_parts(Summary, records, random).report()) == repr(filled(Summary(), records).report())


@given(st.lists(FINITE), st.integers(2, 30), RANDOMS)
def test_merged_distributions_equal_the_whole_if_bins_are_few(values: list[float], bins: int, random: Random) -> None:
    whole = filled(Distribution(bins), values)
    parts = from_parts(partial(Distribution, bins), values, random)
    assert repr(parts.report()) == repr(whole.report())
    assert (parts.error, parts.shares([-1, 0, 1])) == (whole.error, whole.shares([-1, 0, 1]))


def records_of(count: int) -> list[ChatCompletionResponse]:
    """Return `count` records that differ in session, cost and latency."""
    draw = Random(0).lognormvariate
    return [ChatCompletionResponse(session_id=f"s-{at}", cost=draw(-6, 2), latency=draw(8, 2)) for at in range(count)]


@pytest.mark.parametrize("count", [1, 16_384])
def test_sessions_are_exact_up_to_16384(count: int) -> None:
    report = filled(Summary(), records_of(count) * 2).report()
    assert (report.sessions, report.sessions_error) == (count, 0)


@pytest.mark.parametrize("count", [16_385, 50_000])
def test_more_sessions_and_values_are_estimated_alike_from_any_parts(count: int) -> None:
    records = records_of(count) * 2
    whole = filled(Summary(), records).report()
    assert 0.015 < whole.sessions_error < 0.016
    assert abs(whole.sessions - count) <= count * whole.sessions_error
    assert whole.quantile_error > 0
    for seed in range(5):
        assert repr(from_parts(Summary, records, Random(seed)).report()) == repr(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "samples"), [(20_000, 100), (100_000, 50), (1_000_000, 10), (10_000_000, 1)])
def test_the_error_of_sessions_is_that_of_95_samples_in_100(count: int, samples: int) -> None:
    """Of the estimates of different sessions, 95 % are within the stated error, and 99.9 % within twice that."""
    shares: list[float] = []
    for sample in range(samples):
        distinct = Distinct()
        for start in range(0, count, 1000):
            distinct.add([f"{sample}-{number}" for number in range(start, start + 1000)])
        estimate, error = distinct.estimate()
        shares.append(abs(estimate - count) / (count * error))
    assert sum(share <= 1 for share in shares) >= 0.9 * samples - 1
    assert max(shares) < 2


def test_sessions_are_the_same_in_every_process() -> None:
    code = (
        "from chatcodec import ChatCompletionResponse as R; from chatcodec._stats.summary import Summary\n"
        "s = Summary(); s.add([R(session_id=str(number)) for number in range(20_000)]); print(s.report().sessions)"
    )
    command = [sys.executable, "-c", code]
    first, second = (subprocess.check_output(command, env=os.environ | {"PYTHONHASHSEED": seed}) for seed in "12")
    assert first == second


def test_memory_does_not_grow_with_the_number_of_sessions_and_values() -> None:
    summary = Summary()

    def add() -> None:
        for start in range(0, 300_000, 1000):
            numbers = range(start, start + 1000)
            summary.add([ChatCompletionResponse(session_id=str(number), cost=float(number)) for number in numbers])

    held, _ = traced(add)
    assert held < 2**21
    assert len(pickle.dumps(summary)) < 300_000


MAGNITUDES = st.floats(2**-9, 2**10)


@given(st.lists(MAGNITUDES | MAGNITUDES.map(float.__neg__) | st.just(0.0), min_size=1), st.sampled_from([40, 80, 160]))
def test_quantiles_are_within_the_stated_error(values: list[float], bins: int) -> None:
    distribution = filled(Distribution(bins), values)
    check_quantiles(distribution, values, 1, 50, 90, 99, 100)
    assert distribution.error <= 40 / bins


@pytest.mark.parametrize("field", ["cost", "latency"])
@pytest.mark.parametrize(("different", "error"), [(2**14, 0), (2**14 + 1, 2**-12)])
def test_quantiles_are_exact_up_to_16384_different_values_per_field(field: str, different: int, error: float) -> None:
    # Integers from 2**13 to 2**14 use 13 bits of the fraction.
    values = [float(number) for number in range(2, 2**14 + 1)] + [0.5, 1.0][: different - 2**14 + 1]
    assert len(set(values)) == different
    records = [ChatCompletionResponse(**{field: value}) for value in values * 2]  # type: ignore[arg-type]
    assert filled(Summary(), records).report().quantile_error == error


def test_memory_and_error_are_bounded_for_values_of_every_magnitude() -> None:
    """Eight values for each power of two and sign."""
    positive = [math.ldexp(1 + part / 8, power) for power in range(-1022, 1024) for part in range(8)]
    values = positive + [-value for value in positive]
    distribution = filled(Distribution(), values)
    assert distribution.error == 1 / 4
    assert len(pickle.dumps(distribution)) < 300_000
    check_quantiles(distribution, values, 1, 25, 75, 99)


def test_a_pickle_holds_each_value_once() -> None:
    assert len(pickle.dumps(filled(Distribution(), [0.5] * 10_000))) < 1000


def test_shares_are_below_the_first_edge_between_edges_and_from_the_last_up() -> None:
    distribution = filled(Distribution(), [1, 2, 3, 4, 10, 11, 12, 13])
    assert distribution.shares([2, 10]) == [1 / 8, 3 / 8, 4 / 8]
    assert Distribution().shares([2, 10]) == [0, 0, 0]


def test_nan_and_infinities_are_ignored() -> None:
    report = filled(Distribution(), [math.nan, math.inf, -math.inf, 2.0]).report()
    assert (report.count, report.total, report.largest) == (1, 2, 2)
    assert filled(Distribution(), [math.nan]).report().count == 0


@given(st.lists(FINITE, min_size=1))
@example([5e-324])
@example([5e-324, 2.0**-1073, 1.7e308, -1.7e308, 1.0])
@example([1e308] * 10)
@example([-1e308] * 10)
def test_totals_and_means_are_rounded_once(values: list[float]) -> None:
    report = filled(Distribution(), values).report()
    total = sum(map(Fraction, values), Fraction())
    assert report.mean == float(total / len(values))
    try:
        assert report.total == float(total)
    except OverflowError:
        assert report.total == (math.inf if total > 0 else -math.inf)


def test_the_span_is_in_utc_within_the_years_that_datetime_has() -> None:
    first, last = datetime(1, 1, 1, tzinfo=EAST), datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=3)))
    report = filled(Summary(), [ChatCompletionResponse(timestamp=time) for time in (first, last)]).report()
    assert (report.first, report.last) == (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    report = filled(Summary(), [ChatCompletionResponse(timestamp=START.astimezone(EAST))]).report()
    assert repr((report.first, report.last)) == repr((START, START))
