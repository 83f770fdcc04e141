"""What a tracker is: three verbs, and an id by which a resumed run finds what it began.

A class of your own is named in the config by "module:Class" and is made with `Class(about, **args)`, where
`args` are its table `run.tracker_args`. It is called from one thread, one call after the other; whatever it
raises is told and costs the run nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class About:
    """What a tracker is told of the run that it follows."""

    name: str
    """`run.name`."""
    folder: Path
    """The run folder."""
    config: Mapping[str, Any]
    """The resolved config by dotted keys."""
    id: str | None = None
    """What `Tracker.id` was when the run was followed before; None for a new run."""


class Tracker(Protocol):
    """Somewhere that figures go."""

    @property
    def id(self) -> str:
        """Names the tracker's own run, so that it can be continued."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of `step`, by names like "train/success", "eval/WORLD/success" and "sft/loss".

        The steps of "sft/..." are batches of supervised training, those of all others are updates. A call is
        about one of the three kinds alone.
        """
        ...

    def rewind(self, step: int) -> None:
        """A resumed run repeats updates from `step` on: their figures come again."""
        ...

    def keep(self, path: Path) -> None:
        """Take a file: the report."""
        ...

    def close(self, failed: bool) -> None:
        """The run is over; `failed` when something stopped it."""
        ...
