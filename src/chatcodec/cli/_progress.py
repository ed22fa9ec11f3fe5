"""What can be seen of the work on a terminal: a bar, bytes, records a second, the time left."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from ._jobs import Meter


class _RecordsColumn(progress.ProgressColumn):
    """How many records there were, and how many a second."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: progress.Task) -> Text:
        records = self._meter.counts[1]
        return Text(f"{records:,} records, {records / (task.elapsed or 1):,.0f}/s")


class _Bar(progress.Progress):
    """A bar that looks at the meter whenever it is drawn, so that the work need not tell it anything."""

    meter: Meter

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.task_ids:
            self.update(task, completed=self.meter.counts[0])
        yield from super().get_renderables()


@contextmanager
def shown(meter: Meter, total: int | None) -> Iterator[None]:
    """Show how far `meter` is on the way to `total` bytes, on standard error if that is a terminal."""
    bar = _Bar(
        progress.BarColumn(),
        progress.DownloadColumn(),
        _RecordsColumn(meter),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        # What is printed meanwhile goes above the bar, unless it goes elsewhere.
        redirect_stdout=sys.stdout.isatty(),
        disable=not sys.stderr.isatty(),
    )
    bar.meter = meter
    with bar:
        bar.add_task("", total=total)
        yield
