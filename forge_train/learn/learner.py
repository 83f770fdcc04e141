"""The learner: a causal language model, its optimizer, and one update from trajectories.

Shapes: B rows, T positions, N trained tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.advantages import count_actions
from forge_train.learn.batch import Batch, Sample, samples, token_weights, unique_tokens
from forge_train.learn.distributed import IDLE, Processes, shared_batches, spread, whole, within
from forge_train.learn.kernels import recompute_blocks
from forge_train.learn.lora import adapter_state, gather_weights, weight_names
from forge_train.learn.losses import Objective, corrects_sequences, objective_of, sequence_factors
from forge_train.learn.optimizer_state import load_moments, move_moments, save_moments
from forge_train.learn.tree_attention import inputs_of, prepare
from forge_train.learn.update_metrics import Tally
from forge_train.trajectory import Trajectory

LOGITS_AT_ONCE = 2**24
"""Most logits (tokens x vocabulary) that exist at one time: 64 MB in float32."""
TOKEN_IDS = 2**32
"""More than any vocabulary has, to write a position and a token as one number."""


class Learner:
    """Trains `model` in place; whoever shares its parameters (the in-process engine) sees every update.

    `model` is a Hugging Face causal language model; its parameters keep their dtype. `dtype`
    "bfloat16" runs the forward under autocast, "float32" as it is. Dropout stays off: it would make the
    logprobs of the learner differ from the engine's.

    With `processes` all of them must call every method with the same arguments (`lockstep.py` sees to that);
    they begin with rank 0's weights, share the work, and return the same.
    """

    version: int
    """Updates behind the weights."""
    steps: int
    """Optimizer steps taken; drives the schedule. Several per update when it has minibatches."""

    def __init__(
        self,
        model: PreTrainedModel,
        optim: OptimConfig,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        processes: Processes | None = None,
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
        self.device = processes.device if processes else torch.device(device)
        self.optim = optim
        self.bfloat16 = dtype == "bfloat16"
        self.processes = processes
        if optim.gradient_checkpointing:
            recompute_blocks(model)
        if processes:
            spread(model, processes, shard=optim.shard, bfloat16=self.bfloat16)
        self.model = model.to(self.device).eval()
        if optim.packing == "tree":  # it tries the model, which only now has weights everywhere
            within(self.model, prepare, self.model)
        self.optimizer = adamw(self.model, optim)
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

        `advantages` has one list per trajectory with one number per action, or `TokenAdvantages`.
        `temperature` is the one the behaviour logprobs were sampled at. Segments without a signal (all
        advantages 0) are not forwarded but count in the denominators. A step whose gradient is not finite is
        not taken.

        Returns `loss` and `grad_norm` (mean over steps, before clipping), `lr` (last step),
        `optimizer_steps`, `skipped_steps` (gradient not finite), `skipped_trajectories` (no signal),
        `tokens_trained`, `tokens_forwarded` (without padding), `padding` (fraction of positions),
        `tokens_unique` (fewest that had to be forwarded: shared prefixes once), `amplification` (positions
        forwarded over these), `seconds` and, of these, `logprob_seconds` before the first step; and, when
        anything was forwarded, the mean over trained tokens of `entropy` (nats) and of the objective's
        figures, with `logprob_gap_max` for the largest
        |proximal - behaviour|, and the figures of `sequence_correction` where the loss asks for it.
        """
        started = time.perf_counter()
        tally = Tally()
        parts = split(len(trajectories), loss.minibatches, seed=self.version)
        found = samples(trajectories, advantages)
        signal = {s.trajectory for s in found if not s.silent}
        objective = objective_of(loss, late=any(v < self.version for t in trajectories for v in t.versions))
        whole_needed = corrects_sequences(loss)
        scored = [s for s in found if (s.trajectory in signal if whole_needed else not s.silent)]
        proximal, factors, figures = None, dict[tuple[int, int], Tensor](), dict[str, float]()
        # Steps after the first no longer have the weights from before the update.
        if len(parts) > 1 or whole_needed:
            proximal = self._logprobs(scored, temperature)
            if whole_needed:
                factors, figures = sequence_factors(scored, proximal, loss)
        prepared = time.perf_counter()
        for part in parts:
            chosen = [s for s in found if s.trajectory in part]
            self._step(chosen, proximal, factors, objective, loss, temperature, tally)
        self.version += 1
        if self.processes:
            tally.add(self.processes.gather(tally))
        return {
            **tally.metrics(),
            **figures,
            "lr": self._lr(max(self.steps - 1, 0)),
            "skipped_trajectories": float(len(trajectories) - len(signal)),
            "seconds": time.perf_counter() - started,
            "logprob_seconds": prepared - started,
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

    def weights(self, at_once: int = 2**26) -> Iterator[dict[str, Tensor]]:
        """The plain model's weights by name, in buckets of about `at_once` numbers: see `gather`."""
        bucket: list[str] = []
        size = 0
        for name, count in weight_names(self.model).items():
            if bucket and size + count > at_once:
                yield self.gather(bucket)
                bucket, size = [], 0
            bucket.append(name)
            size += count
        yield self.gather(bucket)

    def gather(self, names: list[str]) -> dict[str, Tensor]:
        """Some of the plain model's weights: whole, adapters merged, to be read before the next update."""
        return gather_weights(self.model, names)

    def full_weights(self) -> dict[str, Tensor]:
        """All of `weights` at once, on the CPU."""
        return {name: value.cpu() for bucket in self.weights() for name, value in bucket.items()}

    def save_pretrained(self, folder: Path) -> None:
        """Write the plain model as transformers reads it."""
        self.model.save_pretrained(folder, state_dict=self.full_weights())

    def adapter(self) -> dict[str, Tensor]:
        """A copy of the adapters' weights, whole: for `load_adapter`, and `save_adapter`."""
        return adapter_state(self.model)

    def save_moments(self, folder: Path) -> None:
        """Write the optimizer's state into `folder`: see `forge_train.learn.optimizer_state`."""
        save_moments(folder, self.model, self.optimizer)

    def load_moments(self, folder: Path, *, version: int, steps: int) -> None:
        """Continue from `save_moments` with the counters of that time; the weights are the model's."""
        self.version, self.steps = version, steps
        load_moments(folder, self.model, self.optimizer, steps)

    def park(self) -> None:
        """Keep the moments in main memory until `unpark`. Gradients there are none between updates."""
        move_moments(self.optimizer, torch.device("cpu"))

    def unpark(self) -> None:
        """Take the moments back to where the weights are."""
        move_moments(self.optimizer, None)

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
        factors: dict[tuple[int, int], Tensor],
        objective: Objective,
        loss: LossConfig,
        temperature: float,
        tally: Tally,
    ) -> None:
        """One optimizer step on the samples of one minibatch; `factors` as of `sequence_factors`."""
        weight_of = token_weights(part, loss.denominator, loss.constant)
        weights = {s.key: w_N * factors.get(s.key, 1.0) for s, w_N in zip(part, weight_of, strict=True)}
        weights[IDLE.key] = torch.zeros(1)
        live = [s for s in part if not s.silent]
        if not live:
            return
        tally.unique += unique_tokens(live)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for chosen, batch in self._work(live):
            keys = [s.key for s in chosen]
            weight_N = torch.cat([weights[k] for k in keys]).to(self.device)
            current_N, entropy_N = within(self.model, self._forward, batch, temperature)
            proximal_N = current_N.detach()
            if proximal is not None:
                proximal_N = torch.cat([proximal.get(s.key, s.behaviour_N) for s in chosen]).to(self.device)
            loss_N, stats = objective(current_N, proximal_N, batch.behaviour_N, batch.advantage_N, loss)
            summed = (weight_N * loss_N).sum()
            summed.backward()  # type: ignore[no-untyped-call]
            total += float(summed.detach())
            if IDLE not in chosen:
                tally.tokens({"entropy": entropy_N, **stats}, batch.real, batch.positions)
        tally.step(total, *self._apply())

    def _apply(self) -> tuple[float, bool]:
        """Clip and take the step, unless the gradient is not finite. Returns its norm, and whether."""
        parameters = list(self.model.parameters())
        if self.processes and not self.optim.shard:
            self.processes.sum_gradients(parameters)
        norm = float(whole(nn.utils.clip_grad_norm_(parameters, self.optim.grad_clip)))
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
        scored: dict[tuple[int, int], Tensor] = {}
        result: dict[tuple[int, int], Tensor] = {}
        with torch.no_grad():
            for chosen, batch in self._work(found):
                current_N, _ = within(self.model, self._forward, batch, temperature)
                pieces = torch.split(current_N.cpu(), list(batch.lengths))
                scored |= {s.key: piece_N for s, piece_N in zip(chosen, pieces, strict=True)}
        for part in self.processes.gather(scored) if self.processes else [scored]:
            result |= part
        return {s.key: result[s.key] for s in found}

    def _work(self, found: Sequence[Sample]) -> Iterator[tuple[list[Sample], Batch]]:
        return shared_batches(found, self.optim, self.processes, self.device)

    def _forward(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """Logprobs [N] of the trained tokens, with gradient, and entropies [N], without.

        Rows need no attention mask: padding stands on the right, where causal attention keeps it out of
        sight, and without a mask SDPA takes its causal kernel. The head runs only where the next token is
        trained, once for a token that several members of a tree wrote.
        """
        inputs = {"input_ids": batch.tokens_BT} if batch.tree is None else inputs_of(batch.tree, self.device)
        pair_U, of_N = torch.unique(batch.at_N * TOKEN_IDS + batch.target_N, return_inverse=True)
        at_U, target_U = pair_U // TOKEN_IDS, pair_U % TOKEN_IDS
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model.base_model(**inputs, use_cache=False)
            hidden_UH = output.last_hidden_state.flatten(0, 1).index_select(0, at_U)
            logprobs_U, entropy_U = self._score(hidden_UH, target_U, temperature)
        return logprobs_U.index_select(0, of_N), entropy_U.index_select(0, of_N)

    def _score(self, hidden_NH: Tensor, target_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """`score`, a chunk at a time where all logits at once would be too large."""
        head = self.model.get_output_embeddings()
        rows = max(LOGITS_AT_ONCE // head.weight.shape[0], 1)
        if len(hidden_NH) <= rows:
            return score(head, hidden_NH, target_N, temperature)
        # The backward computes each chunk's logits again, so that only one chunk's exist.
        pieces = [
            checkpoint(score, head, hidden_CH, target_C, temperature, use_reentrant=False)
            for hidden_CH, target_C in zip(
                torch.split(hidden_NH, rows), torch.split(target_N, rows), strict=True
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


def adamw(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
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


def split(count: int, parts: int, *, seed: int) -> list[set[int]]:
    """Trajectory indices dealt into `parts` minibatches of nearly equal size; a function of the seed."""
    if parts == 1:
        return [set(range(count))]
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [set(order[i::parts]) for i in range(min(parts, count))]
