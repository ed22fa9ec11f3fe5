"""Measure what chatcodec and its peers add to a gateway's CPU time.

python -m bench.gateway             # two minutes
python -m bench.gateway --quick     # a few seconds
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import msgspec

from bench import corpus
from bench.gateway import handlers, load

TARGETS = {
    "stamp a whole response": 0.45,
    "stamp every line of 200": 1.0,
    "read 200 lines, stamp the last": 0.5,
    "JSON in, MessagePack out": 1.0,
}


def main() -> None:
    """Measure as the arguments ask."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description="Measure a gateway's added CPU time.")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="where responses.ndjson and deltas.ndjson are")
    arguments = parser.parse_args()
    figures = run(arguments.corpus, quick=arguments.quick)
    print(table(figures))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))


def run(folder: Path | None = None, *, quick: bool = False) -> load.Figures:
    """Return microseconds a response, by case and contender: the floor's CPU time, and what others add to it."""
    with tempfile.TemporaryDirectory() as own:
        return load.measure(folder or _write(Path(own)), 10 if quick else 240)


def _write(folder: Path) -> Path:
    (folder / "responses.ndjson").write_bytes(b"".join(corpus.lines(corpus.responses(500))))
    (folder / "deltas.ndjson").write_bytes(b"".join(corpus.lines(corpus.deltas(8000))))
    return folder


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
