"""Which checkpoint of a run is best, by held-out tasks alone, and when more training has stopped helping.

What is compared is the mean over worlds of pass@1 at each evaluation, by update; of equals the earliest. It
is read from the events of the run, so that a resumed run decides as one that was never stopped. The choice is
made on the tasks it is judged by, so the best score of many flatters its checkpoint: what may be said of it
comes from tasks of another split, or fresh plays (`forge-train eval RUN --best --split … --seed …`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from forge_train.record.checkpoint import candidates

BEST = "best"
"""The link in the folder of checkpoints that leads to the best of them."""


def scores(evaluations: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Mean over worlds of pass@1 by update; an evaluation of which a world could not be graded is left out.

    >>> scores([{"step": 0, "world": "w", "pass@1": 0.25}, {"step": 5, "world": "w", "pass@1": None}])
    {0: 0.25}
    """
    found: dict[int, dict[str, float | None]] = {}
    for e in evaluations:  # before and after supervised training are both at update 0: the later counts
        found.setdefault(int(e["step"]), {})[str(e["world"])] = e["pass@1"]
    known = {
        step: [score for score in worlds.values() if score is not None]
        for step, worlds in sorted(found.items())
        if None not in worlds.values()
    }
    return {step: fmean(values) for step, values in known.items()}


def best_of(scored: Mapping[int, float]) -> int | None:
    """The update with the highest score, of equals the first; None without any.

    >>> best_of({0: 0.2, 5: 0.6, 10: 0.6})
    5
    """
    return max(scored, key=lambda step: (scored[step], -step), default=None)


def waited(scored: Mapping[int, float]) -> int:
    """Evaluations since the best.

    >>> waited({0: 0.2, 5: 0.6, 10: 0.6, 15: 0.5})
    2
    """
    best = best_of(scored)
    return sum(step > best for step in scored) if best is not None else 0


def stops(scored: Mapping[int, float], patience: int) -> bool:
    """Whether `patience` evaluations in a row brought nothing better; never with 0."""
    return 0 < patience <= waited(scored)


def point_to(folder: Path, step: int) -> bool:
    """Let `folder/best` lead to the checkpoint of `step`, at once or not at all; False if there is none."""
    found = next((c.path for c in candidates(folder) if c.step == step), None)
    if found is None:
        return False
    aside = folder / f".tmp-{BEST}"
    aside.unlink(missing_ok=True)
    os.symlink(found.name, aside, target_is_directory=True)
    os.replace(aside, folder / BEST)
    return True


def pointed_to(folder: Path) -> int | None:
    """The update whose checkpoint is best so far; None where nothing was judged."""
    target = folder / BEST
    if not target.is_symlink():
        return None
    name = os.readlink(target)
    return next((c.step for c in candidates(folder) if c.path.name == name), None)


def best_checkpoint(run: Path) -> Path:
    """The best checkpoint of a run, to be judged or used. Raises ValueError where there is none."""
    folder = run / "checkpoints"
    step = pointed_to(folder)
    if step is None:
        raise ValueError(
            f"{run}: no best checkpoint there: a run keeps one when it is evaluated on the way; set "
            "run.eval_every, or leave --best out for the newest checkpoint"
        )
    return (folder / BEST).resolve()


def told(scored: Mapping[int, float]) -> str:
    """A line for a person.

    >>> told({0: 0.2, 5: 0.625, 10: 0.5})
    'update 5 of 10 (62.5%)'
    """
    best = best_of(scored)
    assert best is not None
    return f"update {best} of {max(scored)} ({scored[best]:.1%})"
