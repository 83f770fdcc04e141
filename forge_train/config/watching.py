"""Who watches a run, beside its folder: trackers and the profiler."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from forge_train.config.explain import closest
from forge_train.config.section import Section

TRACKERS = {
    name: f"forge_train.record.trackers.{name}:{kind}"
    for name, kind in {
        "tensorboard": "TensorBoard", "wandb": "Wandb", "mlflow": "MLflow", "trackio": "Trackio",
    }.items()
}  # fmt: skip
"""Trackers by name, and where their class is."""


class ProfileConfig(Section):
    """What torch's profiler records: whole steps, as a trace that a browser opens."""

    steps: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(), strict=False)
    """Steps to record, counted from 0, for example [3, 4]; the first ones warm up. A recorded step is slower,
    all others are not."""
    folder: str = ""
    """Where traces are written; empty is `profile` in the run folder."""


def check_trackers(trackers: Sequence[str], tables: Iterable[str]) -> None:
    """Raise ValueError for a tracker that cannot be, and for a table of one that is not asked for."""
    for i, name in enumerate(trackers):
        if name not in TRACKERS and not re.fullmatch(r"[\w.]+:\w+", name):
            guess = closest(name, TRACKERS)
            raise ValueError(
                f'trackers = ["{name}"]: no such tracker; known: {", ".join(TRACKERS)}, or "module:Class"'
                + (f'; did you mean "{guess}"?' if guess else "")
            )
        if name in trackers[:i]:
            raise ValueError(f'trackers = {list(trackers)}: "{name}" stands there twice')
    for name in tables:
        if name not in trackers:
            raise ValueError(f'tracker_args.{name} is set, but trackers does not name "{name}"; add it there')
