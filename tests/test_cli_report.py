"""Where the histograms are cut: at round numbers, few enough to be seen at once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcodec.cli._report import edges_between, precision

from .commands import call, varied, written

pytestmark = pytest.mark.extras

FINITE = st.floats(allow_nan=False, allow_infinity=False)
EDGES: list[tuple[float, float, list[float]]] = [
    (1, 20, [2, 5, 10, 20]),
    (0.3, 45, [0.5, 1, 2, 5, 10, 20]),
    (0, 10, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    (90, 130, [95, 100, 105, 110, 115, 120, 125, 130]),
    (-1, 1, [-0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]),
    (7, 7, [7]),
    (0, 0, [0]),
    (1e-9, 1e3, [1e-9 * factor for factor in (2, 10, 50, 200, 1e3, 5e3, 2e4, 1e5, 5e5, 2e6, 1e7, 5e7)]),
]


@pytest.mark.parametrize(("least", "largest", "edges"), EDGES)
def test_edges_are_round(least: float, largest: float, edges: list[float]) -> None:
    assert edges_between(least, largest)[: len(edges)] == pytest.approx(edges)


@given(FINITE, FINITE)
def test_edges_rise_between_the_least_and_the_largest(one: float, other: float) -> None:
    least, largest = sorted((one, other))
    edges = edges_between(least, largest)
    assert 1 <= len(edges) <= 20
    assert all(low < high for low, high in pairwise(edges))
    assert edges == [largest] or least < edges[0] <= edges[-1] <= largest


def test_bars_are_as_long_as_their_share_and_the_rarest_values_have_one(tmp_path: Path) -> None:
    same = written(tmp_path / "same.ndjson", *[b'{"cost":0}'] * 3)
    rare = written(tmp_path / "rare.ndjson", *[b'{"cost":1}'] * 999, b'{"cost":50}')
    assert bars(same) == [["below", "0", "0.0%"], ["from", "0", "█" * 40, "100.0%"]]
    empty = [["from", edge, "0.0%"] for edge in ("2", "5", "10", "20")]
    assert bars(rare) == [["below", "2", "█" * 40, "99.9%"], *empty, ["from", "50", "█", "0.1%"]]


def bars(path: Path) -> list[list[str]]:
    return [line.split() for line in call("stats", path).out.splitlines() if "%" in line]


def test_estimates_come_with_their_error_and_a_histogram_of_all_values(tmp_path: Path) -> None:
    out = call("stats", varied(tmp_path / "varied.ndjson")).out
    assert "%, with 95 % confidence)" in out
    histograms = out[out.index("latency, ms", out.index("too low")) :]
    shares = [float(line.split()[-1][:-1]) for line in histograms.splitlines() if "%" in line]
    assert sum(shares) == pytest.approx(200, abs=2)


@pytest.mark.parametrize("columns", ["0", "20"])
def test_no_figure_is_cut_however_narrow_the_terminal_and_long_the_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    path = written(tmp_path / "long.ndjson", b'{"cost":-1e300}', b'{"cost":999999999999999}')
    out = call("stats", path).out
    assert {"records", "-1e+300", "-5e+299", "999,999,999,999,999"} <= set(out.split())
    assert "…" not in out


@pytest.mark.parametrize(("error", "percent"), [(2**-2, "25.00%"), (2**-9, "0.20%"), (2**-12, "0.03%")])
def test_the_error_is_rounded_up(error: float, percent: str) -> None:
    assert precision(error) == f"p50 to p99 are too low by {percent} at most."
