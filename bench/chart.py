"""The chart: a panel for each of four jobs, as SVG that is legible on light and dark pages."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from bench.summary import CHATCODEC, rows

if TYPE_CHECKING:
    from bench.summary import Added, Results, Row

PANELS = 4
WIDTH, HEIGHT = 400, 170  # of a panel
LABELS, FIGURES = 170, 60  # room for the names of bars, and for the figures after them
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #0f172a }
.title { font-weight: 600 }
.chatcodec { fill: #c2410c }
.other { fill: #94a3b8 }
""".strip()


def draw(results: Results, added: Added) -> str:
    """Return the chart of the first four jobs, without the one that only writes."""
    panels = [row for row in rows(results, added) if not row.job.startswith("writing")][:PANELS]
    parts = [_panel(row, 20 + WIDTH * (at % 2), 20 + HEIGHT * (at // 2)) for at, row in enumerate(panels)]
    width, height = 2 * WIDTH + 20, HEIGHT * ((len(panels) + 1) // 2) + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            "<title>CPU time of four jobs with chatcodec and by hand; shorter is better</title>",
            f"<style>{STYLE}</style>",
            # A background of its own, because pages can be light or dark.
            f'<rect width="{width}" height="{height}" rx="8" fill="#f8fafc"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _panel(row: Row, left: int, top: int) -> str:
    longest = max(row.figures.values())
    lines = [
        f'<text class="title" x="{left}" y="{top + 14}">{escape(row.job)}, {escape(row.unit)}</text>',
    ]
    for number, (name, value) in enumerate(row.figures.items()):
        y = top + 28 + 28 * number
        length = round((WIDTH - LABELS - FIGURES - 20) * value / longest, 1)
        kind = "chatcodec" if name.startswith(CHATCODEC) else "other"
        lines += [
            f'<text x="{left + LABELS - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{left + LABELS}" y="{y}" width="{length}" height="20" rx="2"/>',
            f'<text x="{left + LABELS + length + 6}" y="{y + 15}">{figure(value)}</text>',
        ]
    return "\n".join(lines)


def figure(value: float) -> str:
    """Return `value` as text, with one decimal if it is below 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
