"""The tables a run ends with: how good the policy was at each stage, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from forge_train.record.evaluation_result import Evaluation
from forge_train.record.run_folder import read_lines, standing


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """The evaluation events of a run that still hold, in order."""
    return [e for e in standing(read_lines(folder / "events.jsonl")) if e["event"] == "evaluation"]


def show_run(folder: Path, console: Console | None = None) -> None:
    """One row per stage and world: held-out success with its 95% interval, mean turns, seconds so far."""
    table = Table(title=f"{folder}: held-out tasks", title_justify="left", box=None, pad_edge=False)
    for name in ("stage", "world", "success", "95% interval", "turns", "seconds"):
        table.add_column(name, justify="left" if name in ("stage", "world") else "right")
    for e in evaluations(folder):
        table.add_row(
            e["stage"],
            e["world"],
            f"{e['pass@1']:.1%}",
            f"{e['low']:.1%} to {e['high']:.1%}",
            f"{e['turns']:.1f}",
            f"{e['seconds']:.0f}",
        )
    (console or Console()).print(table)


def show_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Success with its interval, pass^k and pass@k, turns, and how episodes ended."""
    table = Table(title=evaluation.world, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for what, value in evaluation.table():
        table.add_row(what, value)
    (console or Console()).print(table)
