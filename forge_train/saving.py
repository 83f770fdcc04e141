"""What of a run goes into a checkpoint, and comes out of it again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from forge_train.config import Config
from forge_train.learn.critic import Critic
from forge_train.learn.learner import Learner
from forge_train.learn.lora import ADAPTER, has_lora, save_adapter
from forge_train.record import best, checkpoint, retention
from forge_train.record.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Parts:
    """What learns in a stage."""

    model: nn.Module
    tokenizer: Any
    learner: Learner
    critic: Critic | None


def save(
    config: Config, run: RunFolder, folder: Path, step: int, parts: Parts, *, fresh: bool = False
) -> float:
    """Write a checkpoint of `step` into `folder`, `fresh` when its optimizer is not to go on.

    Returns the seconds it took.
    """
    began = time.perf_counter()
    model, learner, critic = parts.model, parts.learner, parts.critic

    def beside(aside: Path) -> None:
        if "adapter" in state:  # the weights have it merged: this is for those who want it apart
            save_adapter(model, state["adapter"], aside / ADAPTER, base=config.model.path or None)
        if fresh:
            return
        learner.save_moments(aside)
        if critic is not None:
            critic.save(aside)

    state: dict[str, Any] = {"step": step, "rng": torch.get_rng_state()}
    if not fresh:
        state["learner"] = {
            "version": learner.version,
            "steps": learner.steps,
            "forgot_at": learner.forgot_at,
        }
    if has_lora(model):
        state["adapter"] = learner.adapter()
    if critic is not None:
        state["critic"] = {"version": critic.version, "steps": critic.steps}
    checkpoint.save(
        folder,
        step,
        model=learner,
        tokenizer=parts.tokenizer,
        state=state,
        keep=config.run.keep_checkpoints,
        pinned=best.pointed_to(folder),
        also=beside,
    )
    retention.thin(folder, config.run.keep_optimizer)
    told, seconds = step if folder == run.checkpoints else 0, time.perf_counter() - began
    run.event("checkpoint", step=told, seconds=round(seconds, 4))
    return seconds


def load(folder: Path, parts: Parts) -> int:
    """Continue from the newest checkpoint in `folder`, if there is one; returns the step to go on with."""
    saved = checkpoint.latest(folder)
    if saved is None:
        return 0
    state = saved.state()
    if "learner" in state:
        parts.learner.load_moments(saved.path, **state["learner"])
    if parts.critic is not None and "critic" in state:
        parts.critic.load(saved.path, **state["critic"])
    torch.set_rng_state(state["rng"])
    return saved.step
