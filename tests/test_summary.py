"""What records amount to: exact where it can be, within the stated error elsewhere, whole from any parts."""

from __future__ import annotations

import math
import pickle
from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec import ChatCompletionResponse
from chatcodec._summary import Summary, merged

START = datetime(2026, 1, 1, tzinfo=timezone.utc)

RECORDS = st.lists(
    st.builds(
        ChatCompletionResponse,
        timestamp=st.none() | st.datetimes(timezones=st.just(timezone.utc)),
        session_id=st.none() | st.sampled_from("abcdef"),
        cost=st.none() | st.integers(0, 100).map(float),
        latency=st.none() | st.integers(-5, 5).map(float),
    )
)


def summary_of(records: list[ChatCompletionResponse]) -> Summary:
    summary = Summary()
    summary.add(records)
    return summary


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
    costs = sorted(record.cost for record in records if record.cost is not None)
    assert report.records == len(records)
    assert (report.first, report.last) == ((min(times), max(times)) if times else (None, None))
    assert report.sessions == len({record.session_id for record in records} - {None})
    assert (report.quantile_error, report.cost.count, report.cost.total) == (0, len(costs), sum(costs))
    if costs:
        ranks = [math.ceil(len(costs) * part) - 1 for part in (0.5, 0.9, 0.99)]
        assert [report.cost.p50, report.cost.p90, report.cost.p99] == [costs[rank] for rank in ranks]
        assert (report.cost.mean, report.cost.largest) == (sum(costs) / len(costs), costs[-1])


@given(st.lists(RECORDS, max_size=5))
def test_parts_make_up_the_whole(parts: list[list[ChatCompletionResponse]]) -> None:
    whole = summary_of([record for part in parts for record in part]).report()
    assert merged(map(summary_of, parts)).report() == whole


def test_parts_that_were_pickled_do_too() -> None:
    parts = [summary_of([ChatCompletionResponse(session_id=f"{part}-{number}", cost=number, timestamp=START)
             for number in range(3000)]) for part in range(3)]  # fmt: skip
    parts[0].bad = 5
    sent: list[Summary] = pickle.loads(pickle.dumps(parts))
    assert merged(sent).report() == merged(parts).report()
    assert merged(sent).bad == 5


def test_many_values_are_within_the_stated_error() -> None:
    count = 200_000
    values = sorted((number * 7919 % count) ** 2 for number in range(count))
    whole = merged(
        summary_of([ChatCompletionResponse(cost=values[at], session_id=f"s-{at}") for at in range(start, count, 4)])
        for start in range(4)
    )
    report = whole.report()
    assert 0 < report.quantile_error < 0.001
    for quantile, value in ((0.5, report.cost.p50), (0.9, report.cost.p90), (0.99, report.cost.p99)):
        assert value is not None
        ranks = bisect_left(values, value) / count, bisect_right(values, value) / count
        # The error holds in 99 of 100 cases; three times it, in all that anybody will see.
        assert ranks[0] - 3 * report.quantile_error <= quantile <= ranks[1] + 3 * report.quantile_error
    assert 0 < report.sessions_error < 0.02
    assert abs(report.sessions / count - 1) < 3 * report.sessions_error
    assert (report.cost.count, report.cost.largest) == (count, values[-1])


def test_shares_are_of_what_is_below_and_between_and_from_the_edges_on() -> None:
    summary = summary_of([ChatCompletionResponse(cost=cost) for cost in (1, 2, 3, 4, 10, 11, 12, 13)])
    assert summary.cost.shares([2, 10]) == [1 / 8, 3 / 8, 4 / 8]


def test_what_is_not_finite_is_left_out() -> None:
    report = summary_of([ChatCompletionResponse(cost=cost) for cost in (math.nan, math.inf, -math.inf, 2.0)]).report()
    assert (report.cost.count, report.cost.total, report.cost.largest) == (1, 2, 2)


def test_a_total_beyond_all_numbers_is_infinite() -> None:
    assert summary_of([ChatCompletionResponse(cost=1.7e308)] * 2).report().cost.total == math.inf


def test_the_span_goes_on_where_times_do() -> None:
    summary = Summary()
    for hours in (5, 3, 4, 9, 1):
        summary.add([ChatCompletionResponse(timestamp=START + timedelta(hours=hours))])
    assert (summary.first, summary.last) == (START + timedelta(hours=1), START + timedelta(hours=9))


@pytest.mark.parametrize("session", ["s", "𝄞", "x" * 100_000])
def test_any_text_names_a_session(session: str) -> None:
    assert summary_of([ChatCompletionResponse(session_id=session)] * 3).report().sessions == 1
