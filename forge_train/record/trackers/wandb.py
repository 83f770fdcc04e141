"""Weights & Biases."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_train.record.trackers.tracker import About


class Wandb:
    """A run of the project `project`; other arguments go to `wandb.init`.

    mode: "online", "offline" (`wandb sync RUN/wandb/offline-run-*` sends it later); without it that of
    WANDB_MODE, or else online exactly when WANDB_API_KEY is set, so that nobody is asked for a key.
    """

    def __init__(self, about: About, *, project: str = "forge", mode: str | None = None, **init: Any) -> None:
        import wandb

        mode = mode or os.environ.get("WANDB_MODE")
        mode = mode or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        # Its own capture of the terminal would garble the live table, and its statistics cost a thread.
        settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, save_code=False)
        self._wandb = wandb
        self._run = wandb.init(
            **{
                "project": project,
                "name": about.name,
                "id": about.id or secrets.token_hex(4),
                "resume": "allow",
                "dir": str(about.folder),
                "config": dict(about.config),
                "mode": mode,
                "settings": settings,
                **init,
            }
        )
        # Its own counter only goes up; a run that is resumed goes back to its checkpoint.
        for axis, kinds in (("step", ("train", "eval")), ("batch", ("sft",))):
            self._run.define_metric(axis, hidden=True)
            for kind in kinds:
                self._run.define_metric(f"{kind}/*", step_metric=axis)

    @property
    def id(self) -> str:
        """That of wandb's run."""
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row, with its step beside the figures."""
        supervised = all(name.startswith("sft/") for name in values)
        self._run.log({"batch" if supervised else "step": step, **values})

    def rewind(self, step: int) -> None:
        """Rows are never taken back: what is repeated stands there twice, equal where the run is exact."""

    def keep(self, path: Path) -> None:
        """As an artifact of the run."""
        artifact = self._wandb.Artifact(f"{path.stem}-{self.id}", type=path.stem)
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        """Send what is left."""
        self._run.finish(exit_code=int(failed))
