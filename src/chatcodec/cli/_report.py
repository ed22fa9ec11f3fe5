"""What ``stats`` prints for a person: figures, and a histogram of what a person would rather see than read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from chatcodec._stats.distribution import FieldReport

if TYPE_CHECKING:
    from datetime import datetime

    from chatcodec._stats.distribution import Distribution
    from chatcodec._stats.summary import Report, Summary

_EXACT = "p50 to p99 are exact."
_BAR = 40
_ROWS = 20
# Differences below are too near to nothing to be divided by.
_TINY = 1e-300
# Values that reach over so many times the smallest of them are shown on a logarithmic scale.
_WIDE = 20
# From here on, figures behind the point say nothing more.
_WHOLE = 1000
# An error that rounding takes away again.
_ONE = 0.5


def show(summary: Summary) -> None:
    """Print `summary`."""
    console = Console()
    report = summary.report()
    console.print(_overview(report))
    console.print(_figures(report))
    console.print(precision(report.quantile_error), highlight=False)
    block = "#" if console.options.ascii_only else "█"
    for title, field, values in (
        ("latency, ms", report.latency, summary.latency),
        ("cost", report.cost, summary.cost),
    ):
        if field.largest is not None:
            console.print(_histogram(title, values, field.largest, block))


def _overview(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("records", f"{report.records:,}")
    table.add_row("bad records", f"{report.bad:,}")
    table.add_row("first", _time(report.first))
    table.add_row("last", _time(report.last))
    off = report.sessions_error
    error = f" ({off:.1%} off at most in 95 of 100 cases)" if off * report.sessions > _ONE else ""
    table.add_row("sessions", f"{report.sessions:,}{error}")
    return table


def _time(time: datetime | None) -> str:
    return "-" if time is None else time.isoformat(" ", "milliseconds")


def _figures(report: Report) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("latency, ms", justify="right")
    table.add_column("cost", justify="right")
    for name in FieldReport.__struct_fields__:
        table.add_row(name, _number(getattr(report.latency, name)), _number(getattr(report.cost, name)))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.4g}"


def _histogram(title: str, values: Distribution, largest: float, block: str) -> Table:
    edges = edges_between(values.quantile(1), largest)
    shares = values.shares(edges)
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_column(justify="right")
    most = max(shares)
    names = [f"below {_number(edges[0])}", *(f"from {_number(edge)}" for edge in edges)]
    for name, share in zip(names, shares, strict=True):
        table.add_row(name, block * math.ceil(_BAR * share / most), f"{share:.1%}")
    return table


def precision(error: float) -> str:
    """Return what to say of quantiles that are up to such a part of themselves too low."""
    # Rounded up, for it is what holds at the most.
    return f"p50 to p99 are {math.ceil(10_000 * error) / 10_000:.2%} too low at the most." if error else _EXACT


def edges_between(least: float, largest: float) -> list[float]:
    """Return round numbers above `least`, rising to `largest` at the most; `largest` alone where there is none."""
    if least > 0 and largest / least >= _WIDE:
        edges = [digit * 10.0**power for power in _powers(least, largest) for digit in (1, 2, 5)]
    elif (step := largest / 10 - least / 10) > _TINY:
        step = _round(step)
        edges = [step * number for number in range(math.floor(least / step), math.floor(largest / step) + 1)]
    else:
        edges = []
    edges = sorted({edge for edge in edges if least < edge <= largest}) or [largest]
    return edges[:: math.ceil(len(edges) / _ROWS)]


def _powers(least: float, largest: float) -> range:
    return range(math.floor(math.log10(least)), math.floor(math.log10(largest)) + 1)


def _round(step: float) -> float:
    """Return the least of 1, 2, 5 times the powers of ten that is `step` or above."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10, 20) if digit * power >= step)
