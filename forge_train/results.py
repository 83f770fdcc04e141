"""The tables a run ends with: how good the policy was at each stage, with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from forge_train.evaluate import Evaluation
from forge_train.live import duration
from forge_train.log import read_lines, standing


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
    """Success with its interval, pass^k and pass@k, how episodes ended, and the hardest tasks."""
    out = console or Console()
    data = evaluation.as_dict()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("success (pass@1)", f"{data['pass@1']:.1%}  ({data['low']:.1%} to {data['high']:.1%})")
    for kind in ("pass@k", "pass^k"):
        for k, value in data[kind].items():
            table.add_row(kind.replace("k", str(k)), f"{value:.1%}")
    table.add_row("mean turns", f"{data['turns']:.2f}")
    table.add_row("endings", ", ".join(f"{name} {count}" for name, count in data["endings"].items()))
    table.add_row("seconds", duration(data["seconds"]))
    out.print(table)
