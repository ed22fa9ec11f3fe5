"""The results as Markdown."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import summary, tail
from bench.chart import figure as digits
from bench.gateway import __main__ as gateway
from bench.gateway import end_to_end

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.measure import Figure
    from bench.summary import Added, Results

HERE = Path(__file__).parent
PEERS = (
    "chatcodec", "msgspec", "orjson", "fastsimdjson", "pysimdjson", "pydantic", "msgpack", "ormsgpack", "httpx",
    "aiohttp", "fastapi", "uvicorn", "jsonlines", "polars", "pyarrow",
)  # fmt: skip
READING = """Each figure is a contender's CPU time divided by the base's: the median of the rounds, with the quartiles.
The base is the first row, in nanoseconds per record. *Lost*: records that do not come out as they went in.
"""


def versions() -> str:
    """Return a description of the machine, and the versions of everything that was measured."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    peers = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PEERS)
    return f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}, {cpu}; {peers}."


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def text(
    results: Results,
    added: Added,
    recipe: end_to_end.Figures,
    process: dict[str, Any],
    collections: dict[str, tail.Row],
    corpus: str,
) -> str:
    """Return the results as Markdown."""
    parts = [
        "# Results\n",
        f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} with `python -m bench`, corpus: {corpus}.\n",
        versions() + "\n",
        "## Five rows\n",
        "CPU time in µs; for the gateway, the time that its job adds: read cost and session, stamp a field, forward.\n",
        _rows(summary.rows(results, added)),
        "## Targets\n",
        "The time of one contender divided by that of another.\n",
        _targets(results),
        "## In a gateway: added CPU time per response\n",
        gateway.table(added) + "\n",
        "## The README's gateway, end to end: CPU time per response\n",
        "On FastAPI, aiohttp and uvicorn, beside a gateway on the same stack that does little more than forward.\n",
        end_to_end.table(recipe) + "\n",
        "## Workloads\n",
        READING,
        *(_table(name, corpora) for name, corpora in results.items()),
        _process(process),
        "## With a heap of ten million objects: the time that garbage collection adds\n",
        tail.table(collections) + "\n",
    ]
    return "\n".join(parts)


def _rows(rows: Iterable[summary.Row]) -> str:
    columns = [summary.CHATCODEC, summary.MSGSPEC, summary.ORJSON]
    lines = [f"| | {' | '.join(columns)} | |", "|---" + "|--:" * len(columns) + "|---|"]
    for row in rows:
        others = [f"{name} {digits(value)}" for name, value in row.figures.items() if name not in columns]
        cells = [row.job, *(digits(row.figures[column]) for column in columns), ", ".join(others)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _targets(results: Results) -> str:
    lines = ["| | corpus | over | target | measured | |", "|---|---|---|--:|--:|---|"]
    for target, corpus, bound, seen in summary.targets(results):
        met = "" if seen <= bound else "missed"
        job = target.workload if target.contender == summary.CHATCODEC else f"{target.workload}: {target.contender}"
        lines.append(f"| {job} | {corpus} | {target.base} | {bound:.2f} | {seen:.2f} | {met} |")
    return "\n".join(lines) + "\n"


def _table(name: str, corpora: dict[str, list[Figure]]) -> str:
    columns = list(corpora)
    rows = {figure.contender: [""] * len(columns) for figures in corpora.values() for figure in figures}
    for column, figures in enumerate(corpora.values()):
        for position, figure in enumerate(figures):
            cell = f"{figure.nanoseconds:,.0f} ns" if not position else _ratio(figure)
            rows[figure.contender][column] = cell
    lines = [f"### {name}\n", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {contender} | {' | '.join(cells)} |" for contender, cells in rows.items()]
    return "\n".join(lines) + "\n"


def _ratio(figure: Figure) -> str:
    lost = f", *lost {figure.lost:,}*" if figure.lost else ""
    return f"{figure.ratio:.2f} ({figure.low:.2f} to {figure.high:.2f}){lost}"


def _process(process: dict[str, Any]) -> str:
    lines = ["## The process\n"]
    for title, values in process.items():
        lines.append(f"- {title}: " + ", ".join(f"{name} {value:,.2f}" for name, value in values.items()) + ".")
    return "\n".join(lines) + "\n"
