"""Measure what chatcodec and its peers add to a gateway's CPU time.

python -m bench.gateway             # two minutes
python -m bench.gateway --quick     # a few seconds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.command import command, corpus_in
from bench.gateway import handlers, load
from bench.gateway.cases import TARGETS

if TYPE_CHECKING:
    from pathlib import Path


def main() -> None:
    """Measure as the arguments ask."""
    command("bench.gateway", "Measure a gateway's added CPU time.", "few rounds", run, table)


def run(folder: Path | None = None, *, quick: bool = False) -> load.Figures:
    """Return microseconds a response, by case and contender: the floor's CPU time, and what others add to it."""
    with corpus_in(folder, 500, 8000) as place:
        return load.measure(place, 8 if quick else 100)


def table(figures: load.Figures) -> str:
    """Return the figures as Markdown."""
    rows = [["Case", "Contender", "µs added", "Share of orjson's", "Target"], ["---", "---", "--:", "--:", "--:"]]
    for case, added in figures.items():
        for name, time in added.items():
            share = "" if name == handlers.FLOOR else f"{time / added['orjson']:.2f}"
            target = TARGETS.get((case, name))
            rows.append([case, name, f"{time:.1f}", share, "" if target is None else f"{target:.2f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
