"""Trackio: a database on this machine, or a Space of the Hugging Face hub."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_train.record.trackers.tracker import About


class Trackio:
    """A run of the project `project`; other arguments (`space_id`, ...) go to `trackio.init`.

    `trackio show --project PROJECT` opens it.
    """

    def __init__(self, about: About, *, project: str = "forge", **init: Any) -> None:
        import trackio

        self._name = about.id or f"{about.name}-{zlib.crc32(str(about.folder.resolve()).encode()):08x}"
        self._run = trackio.init(
            project=project, name=self._name, resume="allow", config=dict(about.config), embed=False, **init
        )

    @property
    def id(self) -> str:
        """The name of Trackio's run."""
        return self._name

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(values), step=step)

    def rewind(self, step: int) -> None:
        """Rows are never taken back: what is repeated stands there twice."""

    def keep(self, path: Path) -> None:
        """Beside the rows, where this version of Trackio keeps files."""

    def close(self, failed: bool) -> None:
        """Write what is left."""
        self._run.finish()
