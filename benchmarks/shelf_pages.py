"""Writes what `shelf.py` found into docs/algorithms/: a table between markers, and a picture of the curves.

A picture has a panel an entry: its own curve, and that of the table's first entry, dashed, to compare with.
Colours of middle brightness and no background: readable on white and on black.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

PAGES = Path(__file__).resolve().parents[1] / "docs" / "algorithms"
PLACES = {
    "baselines": "baselines",
    "parts": "baselines",
    "minibatches_4": "objectives",
    "lag_4": "objectives",
    "lag_16": "objectives",
    "regularisers": "regularisers",
    "off_policy": "regularisers",
    "sampling": "sampling",
    "shaping": "sampling",
    "curriculum": "curriculum",
}
"""The page of each table."""
TOLD = {"kept": "old skill kept", "length": "tokens a turn"}
"""What is told beside tokens, where it is what the table is for."""
SHOWN = {"regularisers": "kept", "shaping": "length"}
T_OF_FIVE = 2.776
"""Student's t of four degrees of freedom, for 95%."""
WIDE, HIGH, ACROSS = 176, 104, 4
"""Of a panel, in pixels, and panels in a row."""
INK, LINE = "#808080", "#d9730d"

Rows = Mapping[str, Mapping[str, Any]]


def write_pages(found: Mapping[str, Rows]) -> None:
    """Tables and pictures of all shelves; of one that was not run, how it is."""
    for shelf, page in PLACES.items():
        lines = [f"Not run yet: `python benchmarks/shelf.py --shelves {shelf}`."]
        if rows := found.get(shelf):
            picture = f"pictures/{shelf}.svg"
            (PAGES / picture).write_text(svg(rows))
            lines = [*table(shelf, rows), "", f"![curves of {shelf}]({picture})"]
        section(PAGES / f"{page}.md", shelf, lines)


def section(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put `lines` between the markers of `name`. ValueError where the page has none."""
    begin, end = f"<!-- shelf {name} -->", f"<!-- /shelf {name} -->"
    text = page.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{page}: put one {begin} and one {end} where the table shall stand")
    head, tail = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n{end}{tail}")


def table(shelf: str, rows: Rows) -> list[str]:
    """An entry a line; the first one is what the others are compared with."""
    extra = SHOWN.get(shelf)
    heads = [
        "entry",
        "rate",
        "tokens to 60% [95%]",
        "of the first",
        "at the end",
        *([TOLD[extra]] if extra else []),
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    first = next(iter(rows.values()))
    for name, row in rows.items():
        end = [f"{row['curve'][-1][1]:.0%}", *([told(row["told_seeds"][extra], extra)] if extra else [])]
        cells = [f"`{name}`", f"{row['rate']:g}", arrived(row["tokens"]), compared(row, first), *end]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def arrived(tokens: Sequence[int | None]) -> str:
    """Mean and interval over seeds; how many arrived, where not all did."""
    there = [n for n in tokens if n is not None]
    if len(there) < len(tokens):
        return f"{len(there)} of {len(tokens)} arrive"
    mean, low, high = spanned(there)
    return f"{mean:,.0f} [{low:,.0f}, {high:,.0f}]"


def compared(row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Tokens by those of the first entry: the geometric mean over seeds, which play the same tasks, and its
    interval; in bold where that leaves out 1."""
    if row is first:
        return "1"
    if None in row["tokens"] or None in first["tokens"]:
        return "–"
    pairs = zip(row["tokens"], first["tokens"], strict=True)
    mean, low, high = map(math.exp, spanned([math.log(ours / theirs) for ours, theirs in pairs]))
    cell = f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    return f"**{cell}**" if low > 1 or high < 1 else cell


def told(values: Sequence[float], kind: str) -> str:
    mean, low, high = spanned(values)
    return f"{mean:.0%} [{low:.0%}, {high:.0%}]" if kind == "kept" else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def spanned(numbers: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95% interval over five seeds."""
    mean = fmean(numbers)
    half = T_OF_FIVE * stdev(numbers) / math.sqrt(len(numbers))
    return mean, mean - half, mean + half


def svg(rows: Rows) -> str:
    """The curves, a panel an entry: chance to solve a task over sampled tokens."""
    most = max(row["curve"][-1][0] for row in rows.values())
    first = next(iter(rows.values()))["curve"]
    down = math.ceil(len(rows) / ACROSS)
    width, height = WIDE * min(ACROSS, len(rows)) + 8, HIGH * down + 4
    panels = []
    for i, (name, row) in enumerate(rows.items()):
        x, y = WIDE * (i % ACROSS) + 8, HIGH * (i // ACROSS) + 4
        dashed = "" if row["curve"] is first else line(first, most, INK, ' stroke-dasharray="4 3"')
        end = WIDE - 16
        panels.append(
            f'<g transform="translate({x},{y})">'
            f'<text x="0" y="12" font-weight="600">{html.escape(name)}</text>'
            f'<path d="M0 20V88H{end}" fill="none" stroke="{INK}"/>'
            f'<path d="M0 {level(0.6):.1f}H{end}" stroke="{INK}" stroke-width=".6" stroke-dasharray="1 3"/>'
            f"{dashed}{line(row['curve'], most, LINE)}"
            f'<text x="{end}" y="99" text-anchor="end" font-size="9">{most:,} tokens</text></g>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="{INK}">\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


def level(chance: float) -> float:
    """Where a chance stands in a panel."""
    return 88 - 68 * chance


def line(curve: Sequence[Sequence[float]], most: float, colour: str, how: str = "") -> str:
    """A curve in a panel."""
    points = " ".join(f"{tokens / most * (WIDE - 16):.1f},{level(chance):.1f}" for tokens, chance in curve)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{how}/>'
