"""One update of a run again, from what is stored: with the same settings the same numbers, or with others.

The checkpoint before the step is loaded, updates between the two are repeated as they were, and then the one
that was asked for is done with whatever is changed. Nobody plays, no engine and no world is needed, and
nothing is written. It is for questions like these: which setting would have kept that gradient small? Is it
the data or the optimizer?
"""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from forge_train.config import CRITIC_ESTIMATORS, Config, ConfigError, asks_reference, flatten, load
from forge_train.engine import Completion, Sampling
from forge_train.learn.critic import Critic
from forge_train.learn.kernels import fuse_kernels
from forge_train.learn.learner import Learner
from forge_train.learn.mixture import mixture_of
from forge_train.learn.passes import passes_of
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum, Draw
from forge_train.play.world_pool import World
from forge_train.policy import make_policy
from forge_train.record import checkpoint
from forge_train.record.checkpoint import MOMENTS, Checkpoint
from forge_train.record.run_folder import read_lines
from forge_train.record.stored_steps import Group, StoredSteps
from forge_train.reference_keeper import ReferenceKeeper
from forge_train.trainer import Trainer

FREE = ("algorithm.", "optim.", "critic.", "distill.", "model.dtype", "model.device", "model.kernels",
        "run.threads", "rollout.temperature", "rollout.min_members", "curriculum.duplicate",
        "curriculum.top_spread")  # fmt: skip
"""Keys that an update looks at."""


@dataclass(frozen=True, slots=True)
class Replay:
    """An update as it was and as it is now."""

    recorded: dict[str, float]
    """Its figures in metrics.jsonl; {} for a step at which the run stopped."""
    replayed: dict[str, float]
    learner: Learner
    """With the weights after the update."""
    notes: list[str]
    """Why it may differ from the record though nothing was changed."""


@dataclass(slots=True)
class Replayed(Trainer):
    """The trainer with groups that are stored."""

    stored: dict[int, tuple[list[Group], list[Group], list[int]]] = field(default_factory=dict)

    async def collect(self, step: int) -> tuple[list[Group], list[Group], list[int]]:
        """What the update of `step` once took."""
        return self.stored[step]


class Nobody:
    """An engine that has the learner's weights and is never asked."""

    version = 0
    max_context = 0
    reproducible = True
    shares_weights = True

    async def start(self) -> None:
        """There is nothing to start."""

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Nobody plays in a replay."""
        raise AssertionError("a replay plays nothing")

    def forget(self, conversation: str) -> None:
        """It knows none."""

    async def prove(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> Mapping[str, Sequence[Completion]]:
        """There is no copy of the weights."""
        return {}

    async def weights_changed(self, version: int) -> None:
        """They are the learner's."""

    async def close(self) -> None:
        """Nothing is held."""


def replay(path: Path, step: int, overrides: Sequence[str] = ()) -> Replay:
    """Do the update of `step` (counted from 0, as in metrics.jsonl) of the run in `path` again.

    Raises ValueError for a folder, a step or a key with which that cannot be done.
    """
    if not (path / "config.toml").is_file():
        raise ValueError(f"{path}: no run here (no config.toml); give the folder of a run, as in runs/demo")
    config, changed = load(path / "config.toml"), load(path / "config.toml", overrides)
    _refuse_idle(config, changed)
    if config.algorithm.ptx_weight or changed.algorithm.ptx_weight:
        raise ValueError(
            f"algorithm.ptx_weight = {changed.algorithm.ptx_weight}: what was imitated beside is not stored "
            "with the groups, so an update cannot be done again"
        )
    _refuse_beside(path, config, changed)
    stored = StoredSteps(path)
    saved = _before(path, step, stored)
    torch.set_num_threads(changed.run.threads)
    with tempfile.TemporaryDirectory() as aside, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        learner, critic = _loaded(config if saved.step < step else changed, saved)
        keeper = _held(config, changed, path, learner, saved.step)
        for earlier in range(saved.step, step):
            _step(config, learner, critic, earlier, stored)
            if keeper:
                keeper.after(earlier + 1, save=False)
        if saved.step < step and changed != config:
            reference = learner.reference
            learner, critic = _changed(changed, learner, critic, Path(aside))
            learner.reference = reference  # of the same weights
        metrics = _step(changed, learner, critic, step, stored)
    lines = read_lines(path / "metrics.jsonl")
    recorded = next((line for line in lines if line["step"] == step), {})
    notes = [str(w.message) for w in warned if issubclass(w.category, UserWarning)]
    return Replay(_figures(recorded), _figures(metrics), learner, notes)


def _before(path: Path, step: int, stored: StoredSteps) -> Checkpoint:
    """The newest whole checkpoint from which every update up to `step` is stored.

    Rather an older one that has the optimizer's state than a newer one without: see `run.keep_optimizer`.
    """
    found = [c for c in checkpoint.candidates(path / "checkpoints") if c.problem() is None]
    able = sorted({s for c in found for s in _onwards(c.step, stored)})
    fit = [saved for saved in found if saved.step <= step and step in _onwards(saved.step, stored)]
    if fit:
        return next((saved for saved in fit if _has_state(saved)), fit[0])
    kept = f"steps {able[0]} to {able[-1]} can be replayed" if able else "no step of it can be replayed now"
    raise ValueError(
        f"--step {step}: {path} holds no checkpoint before it with all groups since; {kept}. Groups are kept "
        "since the oldest checkpoint: run.keep_checkpoints keeps more"
    )


def _has_state(saved: Checkpoint) -> bool:
    """Whether its optimizer goes on as it was; one that has taken no step has none."""
    steps = saved.state().get("learner", {}).get("steps", 0)
    return not steps or (saved.path / MOMENTS).is_dir()


def _onwards(step: int, stored: StoredSteps) -> list[int]:
    """The steps from `step` on that are stored without a gap."""
    steps = []
    while step in stored:
        steps.append(step)
        step += 1
    return steps


def _held(config: Config, changed: Config, path: Path, learner: Learner, step: int) -> ReferenceKeeper | None:
    """The reference that the run had at `step`, where the update asks one."""
    if not asks_reference(config.algorithm) and not asks_reference(changed.algorithm):
        return None
    keeper = ReferenceKeeper(config, path, learner)
    if not keeper.restore(step):
        raise ValueError(
            f"algorithm.kl_weight = {changed.algorithm.kl_weight}, old_policy = "
            f'"{changed.algorithm.old_policy}": {path} kept no reference of step {step}; '
            "only a run that had one can be replayed with it"
        )
    return keeper


def _refuse_idle(config: Config, changed: Config) -> None:
    """Keys that only decide what is played, or what a run leaves behind, would change nothing."""
    before, after = (flatten(c.model_dump(mode="json")) for c in (config, changed))
    idle = [k for k in after if after[k] != before.get(k) and not k.startswith(FREE)]
    if idle:
        raise ConfigError(
            [f"{', '.join(idle)}: a replay learns from what was played and does not look at it; it looks at "
             "algorithm.*, optim.*, critic.*, model.dtype, rollout.temperature, rollout.min_members, "
             "curriculum.duplicate and curriculum.top_spread"]
        )  # fmt: skip


def _refuse_beside(path: Path, config: Config, changed: Config) -> None:
    """Rounds of expert iteration learn from more than a replay has."""
    for distill in (config.distill, changed.distill):
        if distill.past or distill.amend or distill.demonstrations:
            raise ValueError(
                f"{path}: its rounds learn beside what they played (distill.past, amend, demonstrations), "
                "and a replay has only that; replay a run without these"
            )


def _loaded(config: Config, saved: Checkpoint) -> tuple[Learner, Critic | None]:
    """Learner and critic as a run has them that continues from a checkpoint."""
    apart = bool(config.model.lora_rank) and not config.model.path  # what its adapters stand on is built anew
    worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in config.worlds} if apart else {}
    try:
        model, _ = make_policy(config, worlds, saved)
    finally:
        for world in worlds.values():
            world.close()
    if config.model.kernels == "liger":
        fuse_kernels(model, config.model.device)
    return _learners(config, model, saved.path, saved.state())


def _learners(
    config: Config, model: Any, folder: Path, state: Mapping[str, Any]
) -> tuple[Learner, Critic | None]:
    critic = None
    if config.algorithm.advantage in CRITIC_ESTIMATORS:
        critic = Critic(model, config.critic, config.optim, dtype=config.model.dtype)
        if "critic" in state:
            critic.load(folder, **state["critic"])
    learner = Learner(model, config.optim, device=config.model.device, dtype=config.model.dtype)
    if "learner" in state:
        learner.load_moments(folder, **state["learner"])
    return learner, critic


def _changed(
    config: Config, learner: Learner, critic: Critic | None, aside: Path
) -> tuple[Learner, Critic | None]:
    """The same weights, moments and counters under other settings."""
    counters = {"version": learner.version, "steps": learner.steps, "forgot_at": learner.forgot_at}
    state: dict[str, Any] = {"learner": counters}
    learner.save_moments(aside)
    if critic is not None:
        critic.save(aside)
        state["critic"] = {"version": critic.version, "steps": critic.steps}
    return _learners(config, learner.model, aside, state)


def _step(
    config: Config, learner: Learner, critic: Critic | None, step: int, stored: StoredSteps
) -> dict[str, Any]:
    """One step of the trainer without playing; returns its metrics."""

    async def nobody(draw: Draw) -> Group:
        raise AssertionError(f"a replay plays nothing, not even {draw.group}")

    back = range(step - config.curriculum.recalls, step)
    trainer = Replayed(
        runner=nobody,
        engine=Nobody(),
        learner=learner,
        algorithm=config.algorithm,
        curriculum=Curriculum({"none": ["none"]}, {"none": 1.0}, seed=0),
        admission=Admission(config.rollout.groups, config.rollout.max_lag, version=step),
        temperature=config.rollout.temperature,
        identity_tolerance=float("inf"),  # a gap is what one may be looking for
        patience=config.rollout.patience,
        min_members=config.rollout.min_members,
        max_bugs=2**31,
        critic=critic,
        mixture=mixture_of(config, {k: stored.groups(k)[0] for k in back if k in stored}),
        passes=passes_of(config.distill),
        stored={step: stored.groups(step)},
    )
    metrics, _, _ = asyncio.run(trainer.step(step))
    return metrics


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a step that no clock is in, nor what was before it."""
    clocked = {"step", "bugs", "mfu", "hfu", "sampled_so_far"}
    return {
        k: float(v)
        for k, v in metrics.items()
        if k not in clocked and not k.endswith("seconds") and isinstance(v, int | float)
    }
