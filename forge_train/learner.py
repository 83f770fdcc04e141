"""The learner: a causal language model, its optimizer, and one update from trajectories.

Shapes: B rows, T positions, N trained tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from forge_train.advantages import count_actions
from forge_train.batch import Batch, Sample, microbatches, samples, token_weights
from forge_train.config import LossConfig, OptimConfig
from forge_train.losses import OBJECTIVES, Stats
from forge_train.trajectory import Trajectory

LOGITS_AT_ONCE = 2**24
"""Most logits (tokens x vocabulary) that exist at one time: 64 MB in float32."""


class Learner:
    """Trains `model` in place; whoever shares its parameters (the in-process engine) sees every update.

    `model` is a Hugging Face causal language model; its parameters keep their dtype. `dtype`
    "bfloat16" runs the forward under autocast, "float32" as it is. Dropout stays off: it would make the
    logprobs of the learner differ from the engine's.
    """

    version: int
    """Updates behind the weights."""
    steps: int
    """Optimizer steps taken; drives the schedule. Several per update when it has minibatches."""

    def __init__(
        self, model: PreTrainedModel, optim: OptimConfig, *, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={dtype!r}: use float32 or bfloat16")
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            value = getattr(model.config, name, None)
            if value not in (None, 1.0):
                raise ValueError(
                    f"{name}={value}: the learner scores with head(hidden) alone, and this model "
                    f"({model.config.model_type}) changes logits after it; use one that does not"
                )
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.optim = optim
        self.bfloat16 = dtype == "bfloat16"
        self.optimizer = _adamw(self.model, optim)
        self.version = 0
        self.steps = 0

    def update(
        self,
        trajectories: Sequence[Trajectory],
        advantages: Sequence[Sequence[float]],
        loss: LossConfig,
        *,
        temperature: float = 1.0,
    ) -> dict[str, float]:
        """One optimizer step per minibatch; the version goes up by one.

        `advantages` has one list per trajectory with one number per action. `temperature` is the one the
        behaviour logprobs were sampled at. Segments without a signal (all advantages 0) are not
        forwarded but count in the denominators. A step whose gradient is not finite is not taken.

        Returns `loss` and `grad_norm` (mean over steps, before clipping), `lr` (last step),
        `optimizer_steps`, `skipped_steps` (gradient not finite), `skipped_trajectories` (no signal),
        `tokens_trained`, `tokens_forwarded` (without padding), `padding` (fraction of positions),
        `seconds`; and, when anything was forwarded, the mean over trained tokens of `entropy` (nats) and
        of the objective's figures, with `logprob_gap_max` for the largest |proximal - behaviour|.
        """
        started = time.perf_counter()
        tally = _Tally()
        parts = _split(len(trajectories), loss.minibatches, seed=self.version)
        found = samples(trajectories, advantages)
        signal = {s.trajectory for s in found if not s.silent}
        # Steps after the first no longer have the weights from before the update.
        proximal = self._logprobs([s for s in found if not s.silent], temperature) if len(parts) > 1 else None
        for part in parts:
            self._step([s for s in found if s.trajectory in part], proximal, loss, temperature, tally)
        self.version += 1
        return {
            **tally.metrics(),
            "lr": self._lr(max(self.steps - 1, 0)),
            "skipped_trajectories": float(len(trajectories) - len(signal)),
            "seconds": time.perf_counter() - started,
        }

    def logprobs(
        self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0
    ) -> list[list[list[float]]]:
        """Logprobs of sampled tokens under the weights as they are: [trajectory][segment][token].

        0.0 at the world's tokens, like `Segment.logprobs`.
        """
        found = samples(trajectories, [[0.0] * count_actions(t) for t in trajectories])
        filled = [[[0.0] * len(s.tokens) for s in t.segments] for t in trajectories]
        for sample, logprobs_N in zip(found, self._logprobs(found, temperature).values(), strict=True):
            row = filled[sample.trajectory][sample.segment]
            for position, value in zip(sample.at_N.tolist(), logprobs_N.tolist(), strict=True):
                row[position] = value
        return filled

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything the next update depends on; continuing from it is exact to the bit."""
        return {
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "version": self.version,
            "steps": self.steps,
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; parameters are overwritten in place."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]
        self.steps = state["steps"]
        torch.set_rng_state(state["rng"])

    def _step(
        self,
        part: list[Sample],
        proximal: dict[tuple[int, int], Tensor] | None,
        loss: LossConfig,
        temperature: float,
        tally: _Tally,
    ) -> None:
        """One optimizer step on the samples of one minibatch."""
        weight_of = token_weights(part, loss.denominator, loss.constant)
        weights = {s.key: weight_N for s, weight_N in zip(part, weight_of, strict=True)}
        live = [s for s in part if not s.silent]
        if not live:
            return
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch in microbatches(live, self.optim.micro_tokens):
            batch = batch.to(self.device)
            keys = [live[i].key for i in batch.samples]
            weight_N = torch.cat([weights[k] for k in keys]).to(self.device)
            current_N, entropy_N = self._forward(batch, temperature)
            proximal_N = current_N.detach()
            if proximal is not None:
                proximal_N = torch.cat([proximal[k] for k in keys]).to(self.device)
            loss_N, stats = OBJECTIVES[loss.objective](
                current_N, proximal_N, batch.behaviour_N, batch.advantage_N, loss
            )
            summed = (weight_N * loss_N).sum()
            summed.backward()  # type: ignore[no-untyped-call]
            total += float(summed.detach())
            real = sum(live[i].forwarded for i in batch.samples)
            tally.tokens({"entropy": entropy_N, **stats}, real, batch.positions)
        tally.step(total, *self._apply())

    def _apply(self) -> tuple[float, bool]:
        """Clip and take the step, unless the gradient is not finite. Returns its norm, and whether."""
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.grad_clip))
        taken = math.isfinite(norm)
        if taken:
            for group in self.optimizer.param_groups:
                group["lr"] = self._lr(self.steps)
            self.optimizer.step()
            self.steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        return norm, taken

    def _lr(self, step: int) -> float:
        return self.optim.lr * schedule(step, self.optim)

    def _logprobs(self, found: Sequence[Sample], temperature: float) -> dict[tuple[int, int], Tensor]:
        """Logprobs [N] of each sample's trained tokens, without gradient, in the order of `found`."""
        result = {s.key: s.behaviour_N for s in found}  # sets the order; every value is replaced
        with torch.no_grad():
            for batch in microbatches(found, self.optim.micro_tokens):
                current_N, _ = self._forward(batch.to(self.device), temperature)
                pieces = torch.split(current_N.cpu(), list(batch.lengths))
                for i, piece_N in zip(batch.samples, pieces, strict=True):
                    result[found[i].key] = piece_N
        return result

    def _forward(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """Logprobs [N] of the trained tokens, with gradient, and entropies [N], without.

        No attention mask: padding stands on the right, where causal attention keeps it out of sight, and
        without a mask SDPA takes its causal kernel. The head runs only where the next token is trained.
        """
        head = self.model.get_output_embeddings()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model.base_model(input_ids=batch.tokens_BT, use_cache=False)
            hidden_NH = output.last_hidden_state.flatten(0, 1).index_select(0, batch.at_N)
            rows = max(LOGITS_AT_ONCE // head.weight.shape[0], 1)
            if len(hidden_NH) <= rows:
                return score(head, hidden_NH, batch.target_N, temperature)
            # Several chunks: the backward computes each one's logits again, so that one at a time exists.
            pieces = [
                checkpoint(score, head, hidden_CH, target_C, temperature, use_reentrant=False)
                for hidden_CH, target_C in zip(
                    torch.split(hidden_NH, rows), torch.split(batch.target_N, rows), strict=True
                )
            ]
        return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])


def score(head: nn.Module, hidden_NH: Tensor, target_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logprobs of the targets, float32 with gradient, and entropies of the distributions, without."""
    logits_NV = head(hidden_NH).float()
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    normalizer_N = logits_NV.logsumexp(-1)
    logprobs_N = logits_NV.gather(-1, target_N[:, None]).squeeze(-1) - normalizer_N
    with torch.no_grad():
        # H = log Z - sum(p * logit)
        probs_NV = (logits_NV - normalizer_N[:, None]).exp_()
        entropy_N = normalizer_N - probs_NV.mul_(logits_NV).sum(-1)
    return logprobs_N, entropy_N


def schedule(step: int, optim: OptimConfig) -> float:
    """Factor on the learning rate of optimizer step `step`, counted from 0.

    Warm-up is linear and its first step already moves; linear and cosine reach 0 at `decay_steps`.

    >>> [schedule(s, OptimConfig(warmup=4, schedule="linear", decay_steps=8)) for s in (0, 3, 4, 6, 8)]
    [0.25, 1.0, 1.0, 0.5, 0.0]
    """
    if step < optim.warmup:
        return (step + 1) / optim.warmup
    if optim.schedule == "constant" or optim.decay_steps is None:
        return 1.0
    done = min((step - optim.warmup) / (optim.decay_steps - optim.warmup), 1.0)
    return 1 - done if optim.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2


def _adamw(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW; norms and biases do not decay (they are no matrices)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": optim.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=optim.lr,
        betas=optim.betas,
        eps=optim.eps,
        fused=True,
    )


def _split(count: int, parts: int, *, seed: int) -> list[set[int]]:
    """Trajectory indices dealt into `parts` minibatches of nearly equal size; a function of the seed."""
    if parts == 1:
        return [set(range(count))]
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [set(order[i::parts]) for i in range(min(parts, count))]


class _Tally:
    """What an update measured, added up over its steps and micro-batches."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.gaps: list[float] = []
        self.trained = self.forwarded = self.positions = 0
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.skipped = 0

    def tokens(self, stats: Stats, forwarded: int, positions: int) -> None:
        columns_SN = torch.stack([v.detach().float() for v in stats.values()])
        for name, value in zip(stats, columns_SN.sum(1).tolist(), strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + value
        if "logprob_gap" in stats:
            self.gaps.append(float(stats["logprob_gap"].max()))
        self.trained += columns_SN.shape[1]
        self.forwarded += forwarded
        self.positions += positions

    def step(self, loss: float, norm: float, taken: bool) -> None:
        self.losses.append(loss)
        self.norms.append(norm)
        self.skipped += not taken

    def metrics(self) -> dict[str, float]:
        steps = max(len(self.losses), 1)
        found = {name: value / self.trained for name, value in self.sums.items()}
        if self.gaps:
            # Not max(): it would pass over a NaN, and a NaN must not look like agreement.
            found["logprob_gap_max"] = float(torch.tensor(self.gaps).max())
        return {
            **found,
            "loss": sum(self.losses) / steps,
            "grad_norm": sum(self.norms) / steps,
            "optimizer_steps": float(len(self.losses) - self.skipped),
            "skipped_steps": float(self.skipped),
            "tokens_trained": float(self.trained),
            "tokens_forwarded": float(self.forwarded),
            "padding": 1 - self.forwarded / self.positions if self.positions else 0.0,
        }
