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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from forge_train.config import AlgorithmConfig, CriticConfig, LossConfig, OptimConfig
from forge_train.learn.batch import Batch, Sample, token_weights
from forge_train.learn.distributed import IDLE, Processes, shared_batches, spread, whole, within
from forge_train.learn.gae import Estimate, estimate
from forge_train.learn.kernels import recompute_blocks
from forge_train.learn.learner import adamw, schedule, split
from forge_train.learn.optimizer_state import load_moments, move_moments, save_moments
from forge_train.learn.tree_attention import inputs_of, prepare
from forge_train.record.checkpoint import load_tensors, save_tensors
from forge_train.trajectory import WORLD, Ending, Trajectory

FOLDER = "critic"
"""Of a checkpoint, where it has its part."""


class Critic:
    """Values of states, and their training. `model` is the policy; it is copied, not touched.

    The head begins at zero: at first every value is 0. `optim` says what `config` does not (betas, clipping,
    micro-batches). `dtype` as in `Learner`: weights keep theirs, "bfloat16" runs the forward under autocast.
    With `processes` all of them must call every method with the same arguments, as those of `Learner`;
    `lockstep.LeadingCritic` sees to that.
    """

    version: int
    """Updates behind the values."""
    steps: int
    """Optimizer steps taken; drives the warm-up of the learning rate."""

    def __init__(
        self,
        model: PreTrainedModel,
        config: CriticConfig,
        optim: OptimConfig,
        *,
        dtype: str = "float32",
        processes: Processes | None = None,
    ) -> None:
        self.model = ValueModel(_backbone_of(model)).eval()
        self.device = processes.device if processes else model.device
        self.processes = processes
        if optim.gradient_checkpointing:
            recompute_blocks(self.model.backbone)
        if processes:
            spread(self.model, processes, shard=optim.shard, bfloat16=dtype == "bfloat16")
        self.model.to(self.device)
        if optim.packing == "tree":  # it tries the model, which only now has weights everywhere
            within(self.model, prepare, self.model.backbone)
        self.config = config
        own = {"lr": config.lr, "warmup": config.warmup, "schedule": "constant", "decay_steps": None}
        self.optim = optim.model_copy(update=own)
        self.bfloat16 = dtype == "bfloat16"
        self.optimizer = adamw(self.model, self.optim)
        self.version = 0
        self.steps = 0

    @property
    def policy_waits(self) -> bool:
        """Whether the policy is not to learn from the next update, because the critic knows too little."""
        return self.version < self.config.policy_waits

    def judge(
        self, groups: Sequence[Sequence[Trajectory]], algorithm: AlgorithmConfig
    ) -> tuple[list[list[list[float]]], dict[str, float]]:
        """One update of PPO as far as the critic goes: values, advantages, and the critic learns.

        Returns advantages per group and member, empty for a member that the policy is not to be trained on
        (no verdict, or the critic is still warming up), and the figures of `update`.
        """
        wait = self.policy_waits
        endings = trained_endings(algorithm, self.config)
        members = [t for group in groups for t in group if t.ending in endings]
        found = estimate(members, self.values(members), algorithm, self.config.gae_lambda)
        metrics = self.update(members, found, algorithm)
        advantages = iter(found)
        credit = [[next(advantages).advantages if t.ending in endings else [] for t in g] for g in groups]
        if wait:
            credit = [[[] for _ in group] for group in groups]
        return credit, {**metrics, "policy_waits": float(wait)}

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
        for sample, values_N in zip(found, self._values(found), strict=True):
            told[sample.trajectory] += values_N.tolist()
        for trajectory, row in zip(trajectories, told, strict=True):
            if len(row) == trajectory.sampled:
                row.append(0.0)
        return told

    def update(
        self, trajectories: Sequence[Trajectory], estimates: Sequence[Estimate], loss: LossConfig
    ) -> dict[str, float]:
        """Move values towards the returns of `estimates`: one optimizer step per minibatch, each epoch.

        Every state of a step weighs what `loss.denominator` says, over the whole optimizer step. A step whose
        gradient is not finite is not taken. The version goes up by one.

        Returns, means over states: `value` (before), `value_return`, `value_explained` (1 - variance of the
        error over that of the returns, before the update; 0 when all returns are equal), `value_loss`,
        `value_clipped` (fraction); `value_grad_norm` (mean over optimizer steps, before clipping),
        `value_steps`, `value_skipped` (gradient not finite), and `value_seconds`.
        """
        started = time.perf_counter()
        found = _step_samples(trajectories, estimates)
        tally = _Tally()
        for epoch in range(self.config.epochs if found else 0):
            seed = self.version * self.config.epochs + epoch
            for part in split(len(trajectories), self.config.minibatches, seed=seed):
                self._step([s for s in found if s.trajectory in part], loss, tally)
        self.version += 1
        if self.processes:
            tally.add(self.processes.gather(tally))
        return {
            **fit([v for e in estimates for v in e.values], [r for e in estimates for r in e.returns]),
            **tally.metrics(),
            "value_seconds": time.perf_counter() - started,
        }

    def park(self) -> None:
        """Keep the moments in main memory until `unpark`."""
        move_moments(self.optimizer, torch.device("cpu"))

    def unpark(self) -> None:
        """Take the moments back to where the weights are."""
        move_moments(self.optimizer, None)

    def save(self, folder: Path) -> None:
        """Write weights and moments into `folder`, each process its parts."""
        save_tensors(folder / FOLDER / "weights", self._weights())
        save_moments(folder / FOLDER, self.model, self.optimizer)

    def load(self, folder: Path, *, version: int, steps: int) -> None:
        """Continue from `save` with the counters of that time, in any number of processes.

        Raises CheckpointError when it does not fit.
        """
        load_tensors(folder / FOLDER / "weights", self._weights())
        load_moments(folder / FOLDER, self.model, self.optimizer, steps)
        self.version, self.steps = version, steps

    def _weights(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self.model.named_parameters()}

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything the next update depends on; continuing from it is exact to the bit."""
        return {
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "version": self.version,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]
        self.steps = state["steps"]

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
        for chosen, batch in self._work(part):
            weight_N = torch.cat([weights[s.key] for s in chosen]).to(self.device)
            value_N = within(self.model, self._forward, batch)
            loss_N, clipped_N = value_loss(value_N, batch.behaviour_N, batch.advantage_N, self.config.clip)
            (weight_N * loss_N).sum().backward()  # type: ignore[no-untyped-call]
            if IDLE not in chosen:
                tally.states(loss_N.detach(), clipped_N)
        parameters = list(self.model.parameters())
        if self.processes and not self.optim.shard:
            self.processes.sum_gradients(parameters)
        norm = float(whole(nn.utils.clip_grad_norm_(parameters, self.optim.grad_clip)))
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = self.optim.lr * schedule(self.steps, self.optim)
            self.optimizer.step()
            self.steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        tally.norms.append(norm)

    @torch.no_grad()
    def _values(self, found: Sequence[Sample]) -> list[Tensor]:
        """Values [N] of each sample's states, on the CPU."""
        mine: dict[tuple[int, int], Tensor] = {}
        told: dict[tuple[int, int], Tensor] = {}
        for chosen, batch in self._work(found):
            values_N = within(self.model, self._forward, batch).cpu()
            pieces = torch.split(values_N, list(batch.lengths))
            mine |= {s.key: piece_N for s, piece_N in zip(chosen, pieces, strict=True)}
        for part in self.processes.gather(mine) if self.processes else [mine]:
            told |= part
        return [told[s.key] for s in found]

    def _work(self, found: Sequence[Sample]) -> Iterator[tuple[list[Sample], Batch]]:
        return shared_batches(found, self.optim, self.processes, self.device)

    def _forward(self, batch: Batch) -> Tensor:
        """Values [N], float32, of the states that end before each of the batch's targets."""
        inputs = {"input_ids": batch.tokens_BT} if batch.tree is None else inputs_of(batch.tree, self.device)
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


def trained_endings(algorithm: AlgorithmConfig, critic: CriticConfig) -> frozenset[Ending]:
    """Endings that PPO trains on: those with a verdict, those cut off, and those told to count as 0."""
    counted: tuple[Ending, ...] = ("context", "tokens") if algorithm.train_out_of_tokens else ()
    return frozenset[Ending](("terminated", "max_turns", *critic.bootstrap, *counted))


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
    mean, spread = _moments(returns)
    _, unexplained = _moments([r - v for v, r in zip(values, returns, strict=True)])
    return {
        "value": math.fsum(values) / len(values),
        "value_return": mean,
        "value_explained": 1 - unexplained / spread if spread > 0 else 0.0,
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


def _step_samples(trajectories: Sequence[Trajectory], estimates: Sequence[Estimate]) -> list[Sample]:
    """The states of all steps: `behaviour_N` is the value before the update, `advantage_N` the return."""
    found = []
    for i, (trajectory, told) in enumerate(zip(trajectories, estimates, strict=True)):
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
