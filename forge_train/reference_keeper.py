"""Which weights a run holds its policy to at each step, and where they lie, so that it goes on with them.

reference/step-000000/    the weights with which reinforcement began
reference/step-000040/    those of step 40, with reference.refresh = 40
"""

from __future__ import annotations

import shutil
from pathlib import Path

from forge_train.config import Config
from forge_train.learn.learner import Learner
from forge_train.record import checkpoint


class ReferenceKeeper:
    """The reference of a run: read or made when it begins, made anew every `refresh` steps."""

    def __init__(self, config: Config, run: Path, learner: Learner) -> None:
        self._settings = config.reference
        self._keep = config.run.keep_checkpoints
        self._checkpoints = run / "checkpoints"
        self._folder = run / "reference"
        self._learner = learner

    def begin(self, start: int) -> None:
        """Before step `start`: what was the reference then is it again, or there is one now.

        What a run that was killed had made later is removed. Raises ValueError where it is gone.
        """
        for step in self._steps():
            if step > start:
                shutil.rmtree(self._at(step))
        if not self.restore(start):
            if start:
                raise ValueError(
                    f"{self._folder}: the reference of step {start} is not there; restore it from a copy, or "
                    "start anew in another run.out"
                )
            self._learner.remember()
            self._save(0)

    def restore(self, start: int) -> bool:
        """Take what was the reference at step `start`; whether there was one."""
        kept = [step for step in self._steps() if step <= start]
        if kept:
            self._learner.load_reference(self._at(max(kept)))
        elif self._settings.path:
            self._learner.take_reference(Path(self._settings.path).expanduser())
        return bool(kept or self._settings.path)

    def after(self, done: int, *, save: bool = True) -> None:
        """When `done` steps are: the policy becomes the reference where it is due, and is written."""
        every = self._settings.refresh
        if not every or done % every:
            return
        self._learner.remember(forget_moments=self._settings.reset_optimizer)
        if save:
            self._save(done)
            back = checkpoint.oldest(self._checkpoints, self._keep)
            needed = max((step for step in self._steps() if step <= back), default=0)
            for step in self._steps():
                if step < needed:
                    shutil.rmtree(self._at(step))

    def _save(self, step: int) -> None:
        """Whole or not at all."""
        aside = self._folder / ".writing"
        shutil.rmtree(aside, ignore_errors=True)
        self._learner.save_reference(aside)
        shutil.rmtree(self._at(step), ignore_errors=True)
        aside.rename(self._at(step))

    def _steps(self) -> list[int]:
        return sorted(int(path.name.removeprefix("step-")) for path in self._folder.glob("step-*"))

    def _at(self, step: int) -> Path:
        return self._folder / f"step-{step:06d}"
