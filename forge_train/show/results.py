"""The tables a run ends with: how good the policy was at each stage, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from forge_train.record.evaluation_result import Evaluation, lost_of, shares
from forge_train.record.intervals import Difference, paired
from forge_train.record.run_folder import read_lines, standing
from forge_train.show.fitting import table_of


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """The evaluation events of a run that still hold, in order."""
    return [e for e in standing(read_lines(folder / "events.jsonl")) if e["event"] == "evaluation"]


def seconds_before(folder: Path, step: int) -> float:
    """Seconds of supervised training and of the steps before `step`: a resumed run's clock goes on."""
    supervised = [e["seconds"] for e in evaluations(folder) if e["stage"] == "after SFT"]
    lines = (line for line in read_lines(folder / "metrics.jsonl") if line["step"] < step)
    return math.fsum([*supervised[-1:], *(line["seconds"]["total"] for line in lines)])


def show_run(folder: Path, console: Console | None = None) -> None:
    """One row per stage and world: held-out success, how it changed on the same tasks, turns, seconds so far.

    Both with intervals of 95%. Where machines took tasks away, it says how many were counted.
    """
    headings = (
        "stage",
        "world",
        "success",
        "95% interval",
        "change in points",
        "turns",
        "seconds",
        "not graded",
        "at T = 0",
    )
    rows = []
    before: dict[str, dict[str, Any]] = {}
    for e in evaluations(folder):
        change = changed(before.get(e["world"]), e)
        row = (
            e["stage"],
            e["world"],
            "–" if e["pass@1"] is None else f"{e['pass@1']:.1%}",
            spanned(e),
            "" if change is None else str(change).replace(" points", ""),
            "–" if e["turns"] is None else f"{e['turns']:.1f}",
            f"{e['seconds']:.0f}",
            lost_of(e),
            _greedy(e),
        )
        rows.append(row)
        before[e["world"]] = e
    console = console or Console()
    worlds, lost = len({row[1] for row in rows}) > 1, any(row[7] for row in rows)
    greedy = any(row[8] for row in rows)
    order = [0, 2, *([1] if worlds else []), 3, *([7] if lost else []), 4, *([8] if greedy else []), 5, 6]
    order += [] if worlds else [1]
    title = f"{folder}: held-out tasks"
    console.print(table_of(headings, rows, order, console, title=title, left=(0, 1)))


def _greedy(event: Mapping[str, Any]) -> str:
    """Success at temperature 0, where it was asked for."""
    score = (event.get("greedy") or {}).get("pass@1")
    return "" if score is None else f"{score:.1%}"


def changed(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Difference | None:
    """How success changed between two evaluation events, on the tasks that both graded.

    None where the tasks themselves changed in between: what is called the same would not be.
    """
    digests = [e.get("digest") for e in (before or {}, after)]
    if None not in digests and digests[0] != digests[1]:
        return None
    return paired(shares(before.get("tasks") or ()), shares(after.get("tasks") or ())) if before else None


def spanned(event: Mapping[str, Any]) -> str:
    """The interval of an evaluation event, and the tasks it stands on where some are missing.

    >>> spanned({"low": 0.25, "high": 0.75}), spanned({"low": None, "high": None, "counted": 1, "asked": 40})
    ('25.0% to 75.0%', 'no interval, 1 of 40 tasks')
    """
    low, high = event.get("low"), event.get("high")
    text = "no interval" if low is None or high is None else f"{low:.1%} to {high:.1%}"
    counted, asked = event.get("counted"), event.get("asked")
    return text if counted == asked else f"{text}, {counted} of {asked} tasks"


def show_replay(
    title: str, recorded: Mapping[str, float], replayed: Mapping[str, float], console: Console | None = None
) -> None:
    """Figures of an update as they were recorded and as they are now, and by how much they differ."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for name in ("recorded", "replayed", "change"):
        table.add_column(name, justify="right")
    for name in dict.fromkeys([*recorded, *replayed]):
        before, after = recorded.get(name), replayed.get(name)
        told = (
            "" if before is None or after is None else "same" if before == after else f"{after - before:+.3g}"
        )
        table.add_row(name, *("–" if v is None else f"{v:.6g}" for v in (before, after)), told)
    (console or Console()).print(table)


class Verdict(Protocol):
    """An episode judged again: see `forge_train.evaluation.rejudge`."""

    @property
    def world(self) -> str: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def before(self) -> float: ...  # noqa: D102
    @property
    def after(self) -> float | None: ...  # noqa: D102
    @property
    def exact(self) -> bool: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def changed(self) -> bool: ...  # noqa: D102


def show_verdicts(found: Sequence[Verdict], console: Console | None = None) -> None:
    """Outcomes that changed, a row each; counts; and what could not be played as it was."""
    out = console or Console()
    changed = [v for v in found if v.changed]
    exact = [v for v in found if v.exact]
    if changed:
        table = Table(title="outcomes that changed", title_justify="left", box=None, pad_edge=False)
        for name in ("world", "task", "was", "is"):
            table.add_column(name, justify="right" if name in ("was", "is") else "left")
        for v in changed:
            table.add_row(v.world, v.task, f"{v.before:g}", "–" if v.after is None else f"{v.after:g}")
        out.print(table)
    out.print(f"{len(changed)} of {len(exact)} outcomes changed", highlight=False)
    if exact:
        means = (sum(v.before for v in exact) / len(exact), sum(v.after or 0.0 for v in exact) / len(exact))
        out.print(f"mean outcome {means[0]:.3f} then, {means[1]:.3f} now", highlight=False)
    others = [v for v in found if not v.exact]
    if others:
        out.print(
            f"{len(others)} of {len(found)} episodes could not be played as they were, and do not count; "
            f"the first: task {others[0].task}: {others[0].why}", highlight=False, markup=False,
        )  # fmt: skip


def show_evaluation(evaluation: Evaluation, console: Console | None = None) -> None:
    """Success with its interval, pass^k and pass@k, turns, and how episodes ended."""
    table = Table(title=evaluation.world, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for what, value in evaluation.table():
        table.add_row(what, value)
    (console or Console()).print(table)
