"""Measure what chatcodec and its peers add to a gateway's CPU time.

python -m bench.gateway             # two minutes
python -m bench.gateway --quick     # a few seconds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.command import command, corpus_in
from bench.gateway import handlers, load

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = {
    "stamp a whole response": 0.45,
    "stamp every line of 200": 1.0,
    "read 200 lines, stamp the last": 0.5,
    "JSON in, MessagePack out": 1.0,
}


def main() -> None:
    """Measure as the arguments ask."""
    command("bench.gateway", "Measure a gateway's added CPU time.", "few rounds", run, table)


def run(folder: Path | None = None, *, quick: bool = False) -> load.Figures:
    """Return microseconds a response, by case and contender: the floor's CPU time, and what others add to it."""
    with corpus_in(folder, 500, 8000) as place:
        return load.measure(place, 10 if quick else 240)


def table(figures: load.Figures) -> str:
    """Return the figures as Markdown: microseconds added, and in brackets the share of what orjson adds."""
    names = list(dict.fromkeys(name for case in figures.values() for name in case))
    rows = [["", *names, "target"], ["---", *["--:"] * (len(names) + 1)]]
    for case, added in figures.items():
        cells = [_cell(added, name) for name in names]
        rows.append([case, *cells, f"{TARGETS[case]:.2f}" if case in TARGETS else ""])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(added: dict[str, float], name: str) -> str:
    if name not in added:
        return ""
    if name == handlers.FLOOR:
        return f"{added[name]:.0f}"
    return f"{added[name]:.1f} ({added[name] / added['orjson']:.2f})"


if __name__ == "__main__":
    main()
