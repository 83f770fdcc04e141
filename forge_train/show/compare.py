"""What a run's evaluations say beside one another: stages in pairs, what nobody graded, which was best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.record import best
from forge_train.show.results import changed, evaluations

Event = Mapping[str, Any]


def compared(folder: Path) -> list[tuple[str, str]]:
    """(What, value) to show below the table of a run, which itself compares each row with the one before."""
    found = evaluations(folder)
    rows = [*whole_way(found), *ungraded(found)]
    scored = best.scores(found)
    if best.pointed_to(folder / "checkpoints") is not None and scored:
        rows.append(("best on held-out tasks", f"{best.told(scored)}: {folder / 'checkpoints' / best.BEST}"))
    return rows


def whole_way(found: Sequence[Event]) -> list[tuple[str, str]]:
    """From each world's first stage to its last, on the tasks that both graded, where more lie between.

    In pairs, with an interval of 95% (`forge_train.record.intervals.paired`).
    """
    rows = []
    for world in dict.fromkeys(e["world"] for e in found):
        own = [e for e in found if e["world"] == world]
        if len(own) < 2:
            continue
        change = changed(own[0], own[-1])
        what = f"{world}: {own[0]['stage']} to {own[-1]['stage']}"
        if change is None:
            rows.append((what, "not comparable: no task was graded in both, or the tasks changed in between"))
        elif len(own) > 2:
            text = f"{change}, {change.better} of {change.tasks} tasks better, {change.worse} worse"
            rows.append((what, text))
    return rows


def ungraded(found: Sequence[Event]) -> list[tuple[str, str]]:
    """Evaluations of which machines took plays away, and the success had all of them been lost, or won."""
    return [
        (
            f"{e['world']}: {e['stage']}",
            f"{e['ungraded']} plays ungraded: {e['bounds'][0]:.1%} had they been lost, "
            f"{e['bounds'][1]:.1%} won",
        )
        for e in found
        if e.get("bounds") is not None
    ]
