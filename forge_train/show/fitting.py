"""Tables that fit where they are shown: columns are left out whole, the least important first, never cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table


def fitting(widths: Sequence[int], importance: Sequence[int], room: int, gap: int = 2) -> list[int]:
    """The columns that stay, in their order: as many of the most important ones as fit into `room`.

    `importance` lists columns by index, the first one last to go.

    >>> fitting([4, 7, 6], [0, 2, 1], room=13)
    [0, 2]
    """
    kept: list[int] = []
    used = -gap
    for column in importance:
        if kept and used + gap + widths[column] > room:
            break
        used += gap + widths[column]
        kept.append(column)
    return sorted(kept)


def table_of(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    importance: Sequence[int],
    console: Console,
    *,
    title: str | None = None,
    left: Sequence[int] = (),
) -> Table:
    """A table for `console`; the columns of `left` hold words, the others numbers."""
    widths = [max(len(cell) for cell in (name, *(row[i] for row in rows))) for i, name in enumerate(headings)]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, expand=False)
    kept = fitting(widths, importance, console.width)
    for i in kept:
        justify: Literal["left", "right"] = "left" if i in left else "right"
        # One column alone may be wider than the terminal: then its words are folded.
        table.add_column(headings[i], justify=justify, no_wrap=len(kept) > 1)
    for row in rows:
        table.add_row(*(row[i] for i in kept))
    return table
