"""The output for people: the figures and histograms of ``stats``, and a progress bar."""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._files import dropping

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import datetime

    from rich.console import RenderableType

    from chatcodec._stats.distribution import Distribution
    from chatcodec._stats.summary import Report, Summary

    from ._jobs import Meter

_EXACT = "p50 to p99 are exact."
_BAR = 40
_ROWS = 20
# Smaller steps between values are too close to zero to divide by.
_TINY = 1e-300
# The scale is logarithmic if the largest value is at least this many times the smallest.
_WIDE = 20
# The width of the figures, whatever COLUMNS is: in a narrower table, rich would cut them silently.
_WIDTH = 80
# From the first on, numbers are shown without decimals; from the second on, they would have too many digits to fit.
_WHOLE, _LONG = 1e3, 1e15
# An error of fewer sessions than this is not shown.
_ROUNDED = 0.5


def report_text(summary: Summary) -> str:
    """Return the figures of `summary`, as text for standard output."""
    console = Console(width=_WIDTH)
    report = summary.report()
    # Captured, because a console that prints to a broken pipe ends the process.
    with console.capture() as captured:
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
    return captured.get().removesuffix("\n")


def _overview(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("records", f"{report.records:,}")
    table.add_row("bad records", f"{report.bad:,}")
    table.add_row("provider errors", f"{report.errors:,}")
    table.add_row("first", _time(report.first))
    table.add_row("last", _time(report.last))
    share = report.sessions_error
    error = f" (± {share:.1%}, with 95 % confidence)" if share * report.sessions > _ROUNDED else ""
    table.add_row("sessions", f"{report.sessions:,}{error}")
    return table


def _time(time: datetime | None) -> str:
    return "-" if time is None else time.isoformat(" ", "milliseconds")


def _figures(report: Report) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("latency, ms", justify="right")
    table.add_column("cost", justify="right")
    for name in report.cost.__struct_fields__:
        table.add_row(name, _number(getattr(report.latency, name)), _number(getattr(report.cost, name)))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if _WHOLE <= abs(value) < _LONG else f"{value:.4g}"


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
    """Return a sentence on the precision of quantiles with that relative error."""
    # Rounded up, because it is a bound.
    return f"p50 to p99 are too low by {math.ceil(10_000 * error) / 10_000:.2%} at most." if error else _EXACT


def edges_between(least: float, largest: float) -> list[float]:
    """Return ascending round numbers above `least`, up to `largest`; only `largest` if there are none."""
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
    """Return `step` rounded up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10, 20) if digit * power >= step)


class _RecordsColumn(progress.ProgressColumn):
    """The number of records so far, and per second."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: progress.Task) -> Text:
        records = self._meter.records
        return Text(f"{records:,} records, {records / (task.elapsed or 1):,.0f}/s")


class _Bar(progress.Progress):
    """A bar that reads the meter whenever it is drawn, so that the work need not update it."""

    meter: Meter

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.task_ids:
            self.update(task, completed=self.meter.size)
        yield from super().get_renderables()


class _Terminal:
    """A stream to a terminal. The work continues if the terminal is closed meanwhile."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        """Write `text`, if possible."""
        with dropping(self._stream):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream, if possible."""
        with dropping(self._stream):
            self._stream.flush()


class _AboveBar(_Terminal):
    """A stream to the terminal that shows the bar: text appears above it, in lines of any length."""

    def __init__(self, stream: TextIO, console: Console) -> None:
        super().__init__(stream)
        self._console = console

    def write(self, text: str) -> None:
        """Write `text`, which ends in a newline."""
        self._console.print(text, end="", soft_wrap=True, markup=False, highlight=False, emoji=False)


@contextmanager
def progress_bar(meter: Meter, total: int | None) -> Generator[None]:
    """Show how many of `total` bytes `meter` has counted, on standard error if that is a terminal."""
    console = Console(file=cast("TextIO", _Terminal(sys.stderr)))
    if not sys.stderr.isatty() or not console.width:  # COLUMNS=0
        yield
        return
    bar = _Bar(
        progress.BarColumn(),
        progress.DownloadColumn(),
        _RecordsColumn(meter),
        progress.TimeRemainingColumn(),
        console=console,
        redirect_stdout=False,  # rich would wrap the lines
        redirect_stderr=False,
    )
    bar.meter = meter
    output: Any = _AboveBar(sys.stdout, console) if sys.stdout.isatty() else sys.stdout
    errors: Any = _AboveBar(sys.stderr, console)
    with bar, redirect_stdout(output), redirect_stderr(errors):
        bar.add_task("", total=total)
        yield
