"""What records amount to: exact where it can be, within the stated error elsewhere, and the same from any parts."""

from __future__ import annotations

import math
import pickle
import tracemalloc
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse
from chatcodec._stats.distribution import Distribution
from chatcodec._stats.summary import Summary, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

S = TypeVar("S", Summary, Distribution)
T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
EAST = timezone(timedelta(hours=2))

RANDOMS = st.integers(0, 2**32).map(Random)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
RECORDS = st.lists(
    st.builds(
        ChatCompletionResponse,
        timestamp=st.none() | st.sampled_from([START, START.astimezone(EAST), START + timedelta(1)]),
        session_id=st.none() | st.sampled_from("abcdef"),
        cost=st.none() | st.floats() | st.sampled_from([0.0, -0.0, 0.1, 1.7e308]),
        latency=st.none() | st.integers(-5, 5).map(float),
    )
)


def summary_of(records: Iterable[ChatCompletionResponse]) -> Summary:
    summary = Summary()
    summary.add(list(records))
    return summary


def distribution_of(values: Iterable[float], *bins: int) -> Distribution:
    distribution = Distribution(*bins)
    distribution.add(list(values))
    return distribution


def by_another_way(items: list[T], sum_up: Callable[[list[T]], S], random: Random) -> S:
    """Sum up `items` in any order and any parts, some of which are sent elsewhere, and merge those in any order."""
    items = random.sample(items, len(items))
    cuts: list[int] = sorted(random.randint(0, len(items)) for _ in range(random.randrange(6)))
    parts = [sum_up(items[start:end]) for start, end in zip([0, *cuts], [*cuts, len(items)], strict=True)]
    while len(parts) > 1:
        part = parts.pop(random.randrange(len(parts)))
        parts[random.randrange(len(parts))].merge(sent(part) if random.random() < 0.5 else part)
    return parts[0]


def sent(summary: S) -> S:
    copy: S = pickle.loads(pickle.dumps(summary))
    return copy


def exact_quantiles(values: Iterable[float]) -> list[float]:
    """Return the least values that 50, 90 and 99 of 100 are not above."""
    ordered = sorted(values)
    return [ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 90, 99)]


def test_of_nothing_there_is_nothing() -> None:
    report = Summary().report()
    assert (report.records, report.bad, report.sessions, report.first, report.last) == (0, 0, 0, None, None)
    assert (report.sessions_error, report.quantile_error) == (0, 0)
    assert (report.cost.count, report.cost.total) == (0, 0)
    assert {report.cost.mean, report.cost.p50, report.cost.p99, report.cost.largest} == {None}
    assert Summary().cost.shares([1, 2]) == [0, 0, 0]


@given(RECORDS)
def test_few_records_are_summed_up_exactly(records: list[ChatCompletionResponse]) -> None:
    report = summary_of(records).report()
    times = [record.timestamp for record in records if record.timestamp]
    latencies = [record.latency for record in records if record.latency is not None]
    assert report.records == len(records)
    assert (report.first, report.last) == (min(times, default=None), max(times, default=None))
    assert report.sessions == len({record.session_id for record in records} - {None})
    assert (report.quantile_error, report.latency.count, report.latency.total) == (0, len(latencies), sum(latencies))
    if latencies:
        assert [report.latency.p50, report.latency.p90, report.latency.p99] == exact_quantiles(latencies)
        assert (report.latency.mean, report.latency.largest) == (sum(latencies) / len(latencies), max(latencies))


@given(RECORDS, RANDOMS)
def test_parts_make_up_the_whole_bit_for_bit(records: list[ChatCompletionResponse], random: Random) -> None:
    # Of equal reports, two can differ: in the sign of a zero, and in the zone of a time.
    assert repr(by_another_way(records, summary_of, random).report()) == repr(summary_of(records).report())


@given(st.lists(FINITE), st.integers(2, 30), RANDOMS)
def test_so_they_do_when_not_every_value_has_a_bin_of_its_own(values: list[float], bins: int, random: Random) -> None:
    whole, parts = (
        distribution_of(values, bins),
        by_another_way(values, lambda part: distribution_of(part, bins), random),
    )
    assert repr(parts.report()) == repr(whole.report())
    assert (parts.error, parts.shares([-1, 0, 1])) == (whole.error, whole.shares([-1, 0, 1]))


@pytest.fixture(scope="module")
def many() -> list[ChatCompletionResponse]:
    """More records, with more sessions, than can be summed up exactly."""
    random = Random(0)
    return [
        ChatCompletionResponse(
            session_id=f"s-{random.randrange(5000)}", cost=random.lognormvariate(-6, 2), latency=random.gauss(0, 1e4)
        )
        for _ in range(40_000)
    ]


@given(random=RANDOMS)
@settings(max_examples=10)
def test_so_they_do_when_there_are_many(many: list[ChatCompletionResponse], random: Random) -> None:
    whole = summary_of(many).report()
    assert whole.quantile_error > 0
    assert 0.01 < whole.sessions_error < 0.017
    assert repr(by_another_way(many, summary_of, random).report()) == repr(whole)


@pytest.mark.parametrize("count", [1, 1536, 1537, 2500])
def test_sessions_are_estimated_without_regard_to_order(count: int) -> None:
    """The library keeps few in a list, more in a table, and many in registers."""
    records = [ChatCompletionResponse(session_id=str(number)) for number in range(count)]
    reports = [by_another_way(records, summary_of, Random(seed)).report() for seed in range(10)]
    assert {report.sessions for report in reports} == {reports[0].sessions}
    assert {report.sessions_error for report in reports} == {reports[0].sessions_error}
    assert abs(reports[0].sessions - count) <= count * reports[0].sessions_error


def test_bad_records_of_parts_are_added_up() -> None:
    parts = [Summary(), Summary()]
    parts[0].bad, parts[1].bad = 2, 3
    assert merged(map(sent, parts)).report().bad == 5


def test_many_values_are_within_the_stated_error(many: list[ChatCompletionResponse]) -> None:
    report = summary_of(many).report()
    assert report.quantile_error == 2**-10
    for field, values in (
        (report.cost, [record.cost for record in many if record.cost is not None]),
        (report.latency, [record.latency for record in many if record.latency is not None]),
    ):
        for found, exact in zip((field.p50, field.p90, field.p99), exact_quantiles(values), strict=True):
            assert found is not None
            assert exact - abs(exact) * report.quantile_error <= found <= exact
        assert (field.count, field.largest) == (len(values), max(values))


def test_the_stated_error_is_that_of_the_field_with_more_values() -> None:
    values = [float(number) for number in range(2**14 + 1)]
    costs = summary_of([ChatCompletionResponse(cost=value) for value in values])
    latencies = summary_of([ChatCompletionResponse(latency=value) for value in values])
    assert {summary.report().quantile_error for summary in (costs, latencies)} == {2**-12}


MAGNITUDES = st.floats(2**-9, 2**10)


@given(st.lists(MAGNITUDES | MAGNITUDES.map(float.__neg__) | st.just(0.0), min_size=1), st.sampled_from([40, 80, 160]))
def test_quantiles_are_within_the_stated_error(values: list[float], bins: int) -> None:
    distribution = distribution_of(values, bins)
    for percent in (1, 50, 90, 99, 100):
        exact = sorted(values)[-(-len(values) * percent // 100) - 1]
        assert exact - abs(exact) * distribution.error <= distribution.quantile(percent) <= exact
    assert distribution.error <= 40 / bins


@pytest.mark.parametrize(("different", "error"), [(2**14, 0), (2**14 + 1, 2**-12)])
def test_quantiles_are_exact_while_there_are_few_different_values(different: int, error: float) -> None:
    # Numbers from 2**13 to 2**14 need all of 13 bits behind the point.
    values = [float(number) for number in range(2, 2**14 + 1)] + [0.5, 1.0][: different - 2**14 + 1]
    assert len(set(values)) == different
    assert distribution_of(values * 3).error == error


def test_memory_and_error_are_bounded_whatever_values_there_are() -> None:
    """Eight numbers for each power of two, of both signs."""
    values = [
        sign * math.ldexp(1 + part / 8, power) for sign in (-1, 1) for power in range(-1022, 1024) for part in range(8)
    ]
    distribution = distribution_of(values)
    assert distribution.error == 1 / 4
    assert len(pickle.dumps(distribution)) < 300_000
    for percent in (1, 25, 75, 99):
        exact = sorted(values)[-(-len(values) * percent // 100) - 1]
        assert exact - abs(exact) / 4 <= distribution.quantile(percent) <= exact


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    distribution = Distribution()
    tracemalloc.start()
    for start in range(0, 300_000, 1000):
        distribution.add([float(value) for value in range(start, start + 1000)])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 2**20


def test_what_is_sent_has_each_value_once() -> None:
    assert len(pickle.dumps(distribution_of([0.5] * 10_000))) < 1000


def test_shares_are_of_what_is_below_and_between_and_from_the_edges_on() -> None:
    distribution = distribution_of([1, 2, 3, 4, 10, 11, 12, 13])
    assert distribution.shares([2, 10]) == [1 / 8, 3 / 8, 4 / 8]


def test_what_is_not_finite_is_left_out() -> None:
    report = distribution_of([math.nan, math.inf, -math.inf, 2.0]).report()
    assert (report.count, report.total, report.largest) == (1, 2, 2)
    assert distribution_of([math.nan]).report().count == 0


@given(st.lists(FINITE, min_size=1))
@example([5e-324])
@example([5e-324, 2.0**-1073, 1.7e308, -1.7e308, 1.0])
@example([1e308] * 10)
@example([-1e308] * 10)
def test_totals_and_means_are_rounded_once(values: list[float]) -> None:
    report = distribution_of(values).report()
    total = sum(map(Fraction, values), Fraction())
    assert report.mean == float(total / len(values))
    try:
        assert report.total == float(total)
    except OverflowError:
        assert report.total == (math.inf if total > 0 else -math.inf)


def test_the_span_goes_on_where_times_do() -> None:
    summary = Summary()
    for hours in (5, 3, 4, 9, 1):
        summary.add([ChatCompletionResponse(timestamp=START + timedelta(hours=hours))])
    report = summary.report()
    assert (report.first, report.last) == (START + timedelta(hours=1), START + timedelta(hours=9))


def test_the_span_is_in_utc_as_far_as_that_has_years() -> None:
    first, last = datetime(1, 1, 1, tzinfo=EAST), datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=3)))
    report = summary_of([ChatCompletionResponse(timestamp=time) for time in (first, last)]).report()
    assert report.first == datetime.min.replace(tzinfo=timezone.utc)
    assert report.last == datetime.max.replace(tzinfo=timezone.utc)
    report = summary_of([ChatCompletionResponse(timestamp=START.astimezone(EAST))]).report()
    assert [time and time.tzinfo for time in (report.first, report.last)] == [timezone.utc] * 2


@pytest.mark.parametrize("session", ["s", "𝄞", "x" * 100_000])
def test_any_text_names_a_session(session: str) -> None:
    assert summary_of([ChatCompletionResponse(session_id=session)] * 3).report().sessions == 1
