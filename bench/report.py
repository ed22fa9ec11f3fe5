"""What was measured, as text and as a picture."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

if TYPE_CHECKING:
    from bench.measure import Figure

    Results = dict[str, dict[str, list[Figure]]]

HERE = Path(__file__).parent
PEERS = (
    "chatcodec", "msgspec", "orjson", "fastsimdjson", "pysimdjson", "pydantic", "msgpack", "ormsgpack", "httpx",
    "aiohttp", "jsonlines", "polars", "pyarrow",
)  # fmt: skip
READING = """A figure is a contender's time over the time of the limit, the bare msgspec call on the same work.
It is the median of the rounds, with the quartiles. *Lost*: records that do not come out as they went in.
"""
# The work that a gateway does most, for the picture.
SHOWN = (
    "json.decode",
    "json.peek",
    "json.patch, two fields present",
    "json_to_msgpack",
    "ndjson feed, records, 16384 bytes a chunk",
    "ndjson feed, envelopes, 16384 bytes a chunk",
)


def versions() -> str:
    """Return the versions of everything that was measured, and of the machine."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    peers = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PEERS)
    return f"CPython {platform.python_version()}, {platform.system()} {platform.machine()}, {cpu}; {peers}."


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def text(results: Results, process: dict[str, Any], tables: dict[str, str], corpus: str) -> str:
    """Return the results as Markdown, `tables` behind them."""
    parts = [
        "# Results\n",
        f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} with `python -m bench`, corpus: {corpus}.\n",
        versions() + "\n",
        READING,
    ]
    for name, corpora in results.items():
        parts.append(_table(name, corpora))
    parts.append(_process(process))
    parts += [f"## {title}\n\n{table}\n" for title, table in tables.items()]
    return "\n".join(parts)


def _table(name: str, corpora: dict[str, list[Figure]]) -> str:
    columns = list(corpora)
    rows = {figure.contender: [""] * len(columns) for figures in corpora.values() for figure in figures}
    for column, figures in enumerate(corpora.values()):
        for position, figure in enumerate(figures):
            cell = f"{figure.nanoseconds:,.0f} ns" if not position else _ratio(figure)
            rows[figure.contender][column] = cell
    lines = [f"## {name}\n", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
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


def chart(results: Results, gateway: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the work that a gateway does most, and what it adds to a gateway's CPU time."""
    panels = [_work_panel(name, results[name]) for name in SHOWN if name in results]
    panels += [_gateway_panel(case, added) for case, added in gateway.items()]
    mpl.rcParams["svg.hashsalt"] = "chatcodec"
    canvas = Canvas(figsize=(10, 2.1 * ((len(panels) + 1) // 2)), layout="constrained")
    axes = canvas.subplots((len(panels) + 1) // 2, 2, squeeze=False).flat
    for axis in list(axes)[len(panels) :]:
        axis.remove()
    for axis, (title, bars) in zip(canvas.axes, panels, strict=True):
        names = list(bars)[::-1]
        colors = ["#c2410c" if name.startswith("chatcodec") else "#94a3b8" for name in names]
        axis.barh(names, [bars[name] for name in names], color=colors)
        axis.set_title(title, fontsize=9, loc="left")
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    canvas.supxlabel(
        "whole responses: time over the bare msgspec call; gateway: CPU time added, orjson = 1; shorter is better",
        fontsize=8,
    )
    canvas.savefig(path, metadata={"Date": None})


def _work_panel(name: str, corpora: dict[str, list[Figure]]) -> tuple[str, dict[str, float]]:
    figures = corpora.get("responses") or next(iter(corpora.values()))
    return name, {figure.contender: figure.ratio for figure in figures}


def _gateway_panel(case: str, added: dict[str, float]) -> tuple[str, dict[str, float]]:
    return f"gateway: {case}", {name: time / added["orjson"] for name, time in added.items() if name != "untouched"}
