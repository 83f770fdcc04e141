"""The critic: what return to expect from here. A copy of the policy's backbone with one number for a head.

The backbone is a model of its own: its gradients never pull at the policy, and the policy's updates do not
move its values. It costs the memory and the forward passes of a second policy, and is spread over processes
as the policy is.

Shapes: B rows, T positions, N states with a value, H hidden.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from forge_train.config import AlgorithmConfig, CriticConfig, LossConfig, OptimConfig
from forge_train.learn.batch import Batch, Sample, token_weights
from forge_train.learn.distributed import IDLE, Processes, together, within
from forge_train.learn.gae import Targets, targets_of
from forge_train.learn.learner import deal
from forge_train.learn.masks import trained_endings
from forge_train.learn.trained_model import TrainedModel
from forge_train.learn.tree_attention import inputs_of
from forge_train.record.checkpoint import load_tensors, save_tensors
from forge_train.trajectory import WORLD, Trajectory

FOLDER = "critic"
"""Of a checkpoint, where it has its part."""


class Critic(TrainedModel):
    """Values of states, and their training. `model` is the policy; it is copied, not touched.

    The head begins at zero: at first every value is 0. `optim` says what `config` does not (betas, clipping,
    micro-batches). `dtype` and `processes` as in `TrainedModel`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: CriticConfig,
        optim: OptimConfig,
        *,
        dtype: str = "float32",
        processes: Processes | None = None,
    ) -> None:
        values = ValueModel(_backbone_of(model))
        own = {"lr": config.lr, "warmup": config.warmup, "schedule": "constant", "decay_steps": None}
        super().__init__(
            values,
            values.backbone,
            optim.model_copy(update=own),
            device=model.device,
            dtype=dtype,
            processes=processes,
        )
        self.config = config

    @property
    def policy_waits(self) -> bool:
        """Whether the policy is not to learn from the next update, because the critic knows too little."""
        return self.version < self.config.policy_waits

    def assign_credit(
        self, groups: Sequence[Sequence[Trajectory]], algorithm: AlgorithmConfig
    ) -> tuple[list[list[list[float]]], dict[str, float]]:
        """One update of PPO as far as the critic goes: values, advantages, and the critic learns.

        Returns advantages per group and member, empty for a member that the policy is not to be trained on
        (no verdict, or the critic is still warming up), and the figures of `update`.
        """
        wait = self.policy_waits
        endings = trained_endings(algorithm, self.config)
        members = [t for group in groups for t in group if t.ending in endings]
        found = targets_of(members, self.values(members), algorithm, self.config.gae_lambda)
        metrics = self.update(members, found, algorithm)
        advantages = iter(found)
        credit = [[next(advantages).advantages if t.ending in endings else [] for t in g] for g in groups]
        if wait:
            credit = [[[] for _ in group] for group in groups]
        return credit, {**metrics, "policy_waits": float(wait)}

    @together("valuing")
    def values(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """The values of each trajectory's states: one more than the tokens that the policy wrote.

        First those before each of these tokens, segments concatenated, and last that of what comes after:
        0.0, unless the ending is one of `config.bootstrap`.
        """
        found = [
            _states(i, j, segment.tokens, at, [0] * len(at))
            for i, trajectory in enumerate(trajectories)
            for j, segment in enumerate(trajectory.segments)
            if (at := self._places(trajectory, j))
        ]
        told: list[list[float]] = [[] for _ in trajectories]
        for sample, values_N in zip(found, self.scored(found, self._forward).values(), strict=True):
            told[sample.trajectory] += values_N.tolist()
        for trajectory, row in zip(trajectories, told, strict=True):
            if len(row) == trajectory.sampled:
                row.append(0.0)
        return told

    @together("in an update of the critic")
    def update(
        self, trajectories: Sequence[Trajectory], targets: Sequence[Targets], loss: LossConfig
    ) -> dict[str, float]:
        """Move values towards the returns of `targets`: one optimizer step per minibatch, each epoch.

        Every state of a step weighs what `loss.denominator` says, over the whole optimizer step. A step whose
        gradient is not finite is not taken. The version goes up by one.

        Returns, means over states: `value` (before), `value_return`, `value_explained` (1 - variance of the
        error over that of the returns, before the update; 0 when all returns are equal), `value_loss`,
        `value_clipped` (fraction); `value_grad_norm` (mean over optimizer steps, before clipping),
        `value_steps`, `value_skipped` (gradient not finite), and `value_seconds`.
        """
        started = time.perf_counter()
        found = _step_samples(trajectories, targets)
        tally = _Tally()
        for epoch in range(self.config.epochs if found else 0):
            seed = self.version * self.config.epochs + epoch
            for part in deal(len(trajectories), self.config.minibatches, seed=seed):
                self._step([s for s in found if s.trajectory in part], loss, tally)
        self.version += 1
        if self.processes:
            tally.add(self.processes.gather(tally))
        return {
            **fit([v for e in targets for v in e.values], [r for e in targets for r in e.returns]),
            **tally.metrics(),
            "value_seconds": time.perf_counter() - started,
        }

    @together("saving the critic")
    def save(self, folder: Path) -> None:
        """Write weights and moments into `folder`, each process its parts."""
        save_tensors(folder / FOLDER / "weights", self._weights())
        self.save_moments(folder / FOLDER)

    @together("loading the critic")
    def load(self, folder: Path, *, version: int, steps: int) -> None:
        """Continue from `save` with the counters of that time, in any number of processes.

        Raises CheckpointError when it does not fit.
        """
        load_tensors(folder / FOLDER / "weights", self._weights())
        self.load_moments(folder / FOLDER, version=version, steps=steps)

    def _weights(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self.model.named_parameters()}

    def _places(self, trajectory: Trajectory, index: int) -> list[int]:
        """Where in a segment states end: before each token of the policy, and after all where it goes on."""
        segment = trajectory.segments[index]
        at = [i for i, action in enumerate(segment.action) if action != WORLD]
        goes_on = trajectory.ending in self.config.bootstrap and index == len(trajectory.segments) - 1
        return [*at, len(segment.tokens)] if goes_on else at

    def _step(self, part: list[Sample], loss: LossConfig, tally: _Tally) -> None:
        """One optimizer step on the states of one minibatch."""
        if not part:
            return
        weight_of = token_weights(part, loss.denominator, loss.constant)
        weights = {s.key: weight_N for s, weight_N in zip(part, weight_of, strict=True)}
        weights[IDLE.key] = torch.zeros(1)
        self.optimizer.zero_grad(set_to_none=True)
        for chosen, batch in self.batches(part):
            weight_N = torch.cat([weights[s.key] for s in chosen]).to(self.device)
            value_N = within(self.model, self._forward, batch)
            loss_N, clipped_N = value_loss(value_N, batch.behaviour_N, batch.advantage_N, self.config.clip)
            (weight_N * loss_N).sum().backward()  # type: ignore[no-untyped-call]
            if IDLE not in chosen:
                tally.states(loss_N.detach(), clipped_N)
        norm, _ = self.take_step()
        tally.norms.append(norm)

    def _forward(self, batch: Batch) -> Tensor:
        """Values [N], float32, of the states that end before each of the batch's targets."""
        if self.qk_clip is not None:
            self.qk_clip.look_at(batch)
        inputs: dict[str, Any] = {"input_ids": batch.tokens_BT}
        if batch.tree is not None:
            inputs = inputs_of(batch.tree, self.device, batch.at_N)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model.backbone(**inputs, use_cache=False)
            hidden_NH = output.last_hidden_state.flatten(0, 1).index_select(0, batch.at_N)
        # A return is a sum over a whole episode: three digits of bfloat16 are too few for it.
        values_N1: Tensor = self.model.head(hidden_NH.float())
        return values_N1.sum(-1)  # of one column: a view is what FSDP must not be given


class ValueModel(nn.Module):
    """A backbone, and a head that turns what it makes of a state into one number."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.head = _zero_head(backbone)
        self.exact = (self.head,)
        self._no_split_modules = backbone._no_split_modules

    def tie_weights(self) -> None:
        """None are."""


def value_loss(value_N: Tensor, before_N: Tensor, return_N: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Half the squared error of each value, and, 0 or 1, where clipping held it back.

    max((V - R)^2, (clip(V, V_old - c, V_old + c) - R)^2) / 2, from the code of PPO2 (Engstrom et al. 2020,
    arXiv 2005.12729, §3): no gradient where the value has moved by more than c towards its return. A `clip`
    of 0 leaves the bound out.
    """
    error_N = (value_N - return_N).square()
    if clip == 0:
        return error_N / 2, torch.zeros_like(before_N)
    bounded_N = before_N + (value_N - before_N).clamp(-clip, clip)
    held_N = (bounded_N - return_N).square()
    return torch.maximum(error_N, held_N) / 2, (held_N > error_N).float()


def fit(values: Sequence[float], returns: Sequence[float]) -> dict[str, float]:
    """How well values foretold returns: means, and the explained variance.

    >>> fit([0.0, 1.0], [0.0, 1.0])
    {'value': 0.5, 'value_return': 0.5, 'value_explained': 1.0}
    """
    if not returns:
        return {}
    mean, scatter = _moments(returns)
    _, unexplained = _moments([r - v for v, r in zip(values, returns, strict=True)])
    return {
        "value": math.fsum(values) / len(values),
        "value_return": mean,
        "value_explained": 1 - unexplained / scatter if scatter > 0 else 0.0,
    }


def _moments(numbers: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(numbers) / len(numbers)
    return mean, math.fsum((x - mean) ** 2 for x in numbers) / len(numbers)


def _backbone_of(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of the policy without its head, all of it trainable."""
    backbone = model.base_model
    if not isinstance(backbone, PreTrainedModel) or any(hasattr(p, "placements") for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} is wrapped by a library or sharded: the critic copies a plain model; "
            "make the critic before, or use an advantage that needs none (grpo, rloo)"
        )
    return copy.deepcopy(backbone).requires_grad_(True)


def _zero_head(backbone: Any) -> nn.Linear:
    head = nn.Linear(backbone.config.hidden_size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _states(trajectory: int, segment: int, tokens: Sequence[int], at: list[int], action: list[int]) -> Sample:
    """The states before tokens[i], for i in `at`, as a sample: what predicts a token also has its value.

    The state after everything is that before a token that is not there; any one does, it is not looked at.
    """
    assert at[0] > 0, "a policy token stands before anything the world said"
    count = len(at)
    return Sample(
        trajectory=trajectory,
        segment=segment,
        tokens=torch.tensor([*tokens, 0][: at[-1] + 1], dtype=torch.int64),
        at_N=torch.tensor(at, dtype=torch.int64),
        action_N=torch.tensor(action, dtype=torch.int64),
        behaviour_N=torch.zeros(count),
        advantage_N=torch.zeros(count),
    )


def _step_samples(trajectories: Sequence[Trajectory], targets: Sequence[Targets]) -> list[Sample]:
    """The states of all steps: `behaviour_N` is the value before the update, `advantage_N` the return."""
    found = []
    for i, (trajectory, told) in enumerate(zip(trajectories, targets, strict=True)):
        steps = {at: (v, r) for at, v, r in zip(told.at, told.values, told.returns, strict=True)}
        written = 0
        for j, segment in enumerate(trajectory.segments):
            own: list[tuple[int, int, float, float]] = []
            for place, action in enumerate(segment.action):
                if action != WORLD:
                    if written in steps:
                        own.append((place, action, *steps[written]))
                    written += 1
            if own:
                at, actions, values, returns = (list(column) for column in zip(*own, strict=True))
                sample = _states(i, j, segment.tokens, at, actions)
                sample.behaviour_N.copy_(torch.tensor(values))
                sample.advantage_N.copy_(torch.tensor(returns))
                found.append(sample)
    return found


class _Tally:
    """What an update measured, added up over its steps and micro-batches."""

    def __init__(self) -> None:
        self.loss = self.clipped = 0.0
        self.count = 0
        self.norms: list[float] = []

    def add(self, shares: Sequence[_Tally]) -> None:
        """Become the sum of what all processes measured, this one included; steps were taken together."""
        self.loss = sum(share.loss for share in shares)
        self.clipped = sum(share.clipped for share in shares)
        self.count = sum(share.count for share in shares)

    def states(self, loss_N: Tensor, clipped_N: Tensor) -> None:
        self.loss += float(loss_N.sum())
        self.clipped += float(clipped_N.sum())
        self.count += loss_N.numel()

    def metrics(self) -> dict[str, float]:
        skipped = sum(not math.isfinite(norm) for norm in self.norms)
        return {
            "value_loss": self.loss / max(self.count, 1),
            "value_clipped": self.clipped / max(self.count, 1),
            "value_grad_norm": sum(self.norms) / max(len(self.norms), 1),
            "value_steps": float(len(self.norms) - skipped),
            "value_skipped": float(skipped),
        }
