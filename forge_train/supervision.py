"""The first stage of a run: imitate episodes that somebody else played."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from forge_train import interrupt
from forge_train.amending import Amender
from forge_train.config import Config, LossConfig, OptimConfig, SFTConfig
from forge_train.learn.learner import Learner
from forge_train.play.grounded import Grounding
from forge_train.play.renderer import Renderer
from forge_train.play.world_pool import World
from forge_train.policy import lessons, shown
from forge_train.record.library import Library
from forge_train.record.run_folder import RunFolder
from forge_train.show.live import Progress

UNDER_WAY = "sft"
"""Folder of this stage's checkpoints, as long as a run may have to go on from one."""
KEPT = "supervised"
"""Folder of the weights it ended with: a model that other runs can begin with."""


class SupervisedRun(Protocol):
    """What is read here of a `Run`, which knows this module."""

    config: Config
    folder: RunFolder
    worlds: dict[str, World]
    renderer: Renderer

    def learner(self, optim: OptimConfig) -> Learner:
        """One for this stage."""
        ...

    def load(self, learner: Learner, folder: Path) -> int:
        """Continue from the newest checkpoint; returns the step to go on with."""
        ...

    def save(self, folder: Path, step: int, learner: Learner) -> float:
        """Write a checkpoint; returns the seconds it took."""
        ...

    def due(self, done: int) -> bool:
        """Whether a checkpoint is to be written after so many steps."""
        ...


async def supervise(run: SupervisedRun) -> None:
    """Learn from gold or stored episodes of the train split, from where the newest checkpoint of this stage
    ends."""
    config, folder = run.config, run.folder.path / UNDER_WAY
    with interrupt.at_once():
        batches = lessons(config, run.worlds, run.renderer)
    learner = run.learner(optim_of(config.sft, config.optim, len(batches)))
    start = run.load(learner, folder)
    objective = LossConfig(objective="nll")
    with Progress("supervised", total=len(batches) - start) as progress:
        for step, batch in enumerate(batches):
            if step < start:
                continue
            stats = learner.update(batch, [[1.0] * len(t.versions) for t in batch], objective)
            run.folder.event("sft", step=0, batch=step, loss=stats["loss"], lr=stats["lr"])
            progress.advance(loss=stats["loss"])
            try:
                await interrupt.breathe()
            except asyncio.CancelledError:
                run.save(folder, step + 1, learner)
                raise
            if run.due(step + 1):
                run.save(folder, step + 1, learner)


def optim_of(sft: SFTConfig, optim: OptimConfig, steps: int) -> OptimConfig:
    """The optimizer of this stage, which takes `steps` steps: a schedule that falls is at 0 after the last.

    >>> optim_of(SFTConfig(schedule="linear", lr=1e-3), OptimConfig(), 40).decay_steps
    40
    """
    falls = sft.schedule != "constant"
    own = {"lr": sft.lr, "warmup": sft.warmup, "schedule": sft.schedule, "decay_steps": None}
    return optim.model_copy(update=own | ({"decay_steps": max(steps, sft.warmup + 1)} if falls else {}))


def library_of(
    config: Config, folder: Path, worlds: Mapping[str, World], renderer: Renderer
) -> Library | None:
    """What rounds of expert iteration learn beside what they played; None where steps are no such rounds."""
    if not config.distill.used:
        return None
    again = shown(config, worlds, renderer) if config.distill.demonstrations else []
    amend = Amender(config, worlds, renderer) if config.distill.amend else None
    return Library(folder, config.distill, again, amend)


def grounding_of(config: Config) -> Grounding | None:
    """Further plays of what taught nothing, where the config asks for them."""
    asked = config.distill.grounded
    return Grounding(asked, config.algorithm.flawless) if asked else None


def leave(run: RunFolder, config: SFTConfig) -> None:
    """The checkpoint of update 0 is whole: those of this stage go, and its weights stay where asked for.

    Their files are links to those of that checkpoint, so that they cost room only once it is gone.
    """
    first, kept = run.checkpoints / "step-000000", run.path / KEPT
    if config.keep and config.used and first.is_dir() and not kept.exists():
        aside = run.path / f".tmp-{KEPT}"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(first, aside, copy_function=_link)
        os.rename(aside, kept)
    shutil.rmtree(run.path / UNDER_WAY, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """A second name for a file; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
