"""The learner: a causal language model, its optimizer, and one update from trajectories.

Shapes: B rows, T positions, N trained tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.batch import Batch, Sample, samples, token_weights, unique_tokens
from forge_train.learn.comparing import count_actions
from forge_train.learn.distributed import IDLE, Processes, together, within
from forge_train.learn.head import Head
from forge_train.learn.lora import adapter_state
from forge_train.learn.losses import Objective, corrects_sequences, nll, objective_of, sequence_factors
from forge_train.learn.passes import Passes
from forge_train.learn.plain_weights import BUCKET, buckets, gather_weights
from forge_train.learn.trained_model import TrainedModel
from forge_train.learn.tree_attention import inputs_of
from forge_train.learn.update_metrics import Tally
from forge_train.record.model_files import write_model
from forge_train.trajectory import Trajectory

TOKEN_IDS = 2**32
"""More than any vocabulary has, to write a position and a token as one number."""


class Learner(TrainedModel):
    """Trains `model` in place; whoever shares its parameters (the in-process engine) sees every update.

    `model` is a Hugging Face causal language model. Dropout stays off: it would make the logprobs of the
    learner differ from the engine's. `dtype` and `processes` as in `TrainedModel`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optim: OptimConfig,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        processes: Processes | None = None,
    ) -> None:
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            value = getattr(model.config, name, None)
            if value not in (None, 1.0):
                raise ValueError(
                    f"{name}={value}: the learner scores with head(hidden) alone, and this model "
                    f"({model.config.model_type}) changes logits after it; use one that does not"
                )
        super().__init__(model, model, optim, device=torch.device(device), dtype=dtype, processes=processes)
        self.head = Head(self.model, optim, self.device)

    @together("in an update")
    def update(
        self,
        trajectories: Sequence[Trajectory],
        advantages: Sequence[Sequence[float]],
        loss: LossConfig,
        *,
        temperature: float = 1.0,
        passes: Passes | None = None,
    ) -> dict[str, float]:
        """One optimizer step per minibatch, or those of `passes`; the version goes up by one.

        `advantages` has one list per trajectory with one number per action, or `TokenAdvantages`.
        `temperature` is the one the behaviour logprobs were sampled at. Segments without a signal (all
        advantages 0) are not forwarded but count in the denominators. A step whose gradient is not finite is
        not taken.

        Returns `loss` and `grad_norm` (mean over steps, before clipping), `lr` (last step),
        `optimizer_steps`, `skipped_steps` (gradient not finite), `skipped_trajectories` (no signal),
        `tokens_trained`, `tokens_forwarded` (without padding), `padding` (fraction of positions),
        `tokens_unique` (fewest that had to be forwarded: shared prefixes once), `amplification` (positions
        forwarded over these), `flops` and, where the device's peak is known, `mfu` (forge_train.learn.flops),
        `seconds` and, of these, `logprob_seconds` before the first step; and, when anything was forwarded,
        the mean over trained tokens of `entropy` (nats) and of the objective's figures, with
        `logprob_gap_max` for the largest |proximal - behaviour|, `ratio_max` for the largest ratio,
        `top_tokens_share` for the part of the gradient that 1% of the tokens hold (`top_share`), and the
        figures of `sequence_correction` where the loss asks for it.
        """
        started = time.perf_counter()
        self.work.taken()  # what was scored since the last update is no part of this one
        tally = Tally()
        found = samples(trajectories, advantages)
        signal = {s.trajectory for s in found if not s.silent}
        parts = deal(len(trajectories), loss.minibatches, seed=self.version)
        rates: list[float | None] = [None] * len(parts)
        if passes is not None:
            parts = passes.parts(sorted(signal), seed=self.version)
            rates = [*passes.rates(len(parts))]
        objective = objective_of(loss, late=any(v < self.version for t in trajectories for v in t.versions))
        by_trajectory = corrects_sequences(loss)
        scored = [s for s in found if (s.trajectory in signal if by_trajectory else not s.silent)]
        proximal, factors, figures = None, dict[tuple[int, int], Tensor](), dict[str, float]()
        # Steps after the first no longer have the weights from before the update.
        if (len(parts) > 1 and objective is not nll) or by_trajectory:
            proximal = self._logprobs(scored, temperature)
            if by_trajectory:
                factors, figures = sequence_factors(scored, proximal, loss)
        prepared = time.perf_counter()
        for part, rate in zip(parts, rates, strict=True):
            chosen = [s for s in found if s.trajectory in part]
            self._step(chosen, proximal, factors, objective, loss, temperature, tally, rate)
        self.version += 1
        tally.flops = self.work.taken()
        if self.processes:
            tally.add(self.processes.gather(tally))
        return {
            **tally.metrics(),
            **tally.utilisation(time.perf_counter() - started, self.peak),
            **figures,
            "lr": self.learning_rate(max(self.steps - 1, 0)) if passes is None else passes.config.lr,
            "skipped_trajectories": float(len(trajectories) - len(signal)),
            "seconds": time.perf_counter() - started,
            "logprob_seconds": prepared - started,
        }

    @together("scoring")
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

    def weights(self, dtype: torch.dtype | None = None, at_once: int = BUCKET) -> Iterator[dict[str, Tensor]]:
        """The plain model's weights by name, in buckets of about `at_once` bytes: see `plain_weights`."""
        for names in buckets(self.model, dtype, at_once):
            yield self.gather(names, dtype)

    @together("gathering weights")
    def gather(self, names: list[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Some of the plain model's weights: whole, adapters merged, to be read before the next update."""
        return gather_weights(self.model, names, dtype)

    def full_weights(self) -> dict[str, Tensor]:
        """All of `weights` at once, on the CPU."""
        return {name: value.cpu() for bucket in self.weights() for name, value in bucket.items()}

    def save_pretrained(self, folder: Path) -> None:
        """Write the plain model as transformers reads it."""
        write_model(self.model, self.weights(), folder)

    @together("gathering adapters")
    def adapter(self) -> dict[str, Tensor]:
        """A copy of the adapters' weights, whole: for `load_adapter`, and `save_adapter`."""
        return adapter_state(self.model)

    def _step(
        self,
        part: list[Sample],
        proximal: dict[tuple[int, int], Tensor] | None,
        factors: dict[tuple[int, int], Tensor],
        objective: Objective,
        loss: LossConfig,
        temperature: float,
        tally: Tally,
        rate: float | None,
    ) -> None:
        """One optimizer step on the samples of one minibatch; `factors` as of `sequence_factors`.

        rate: the learning rate, where it is not the schedule's.
        """
        weight_of = token_weights(part, loss.denominator, loss.constant)
        weights = {s.key: w_N * factors.get(s.key, 1.0) for s, w_N in zip(part, weight_of, strict=True)}
        weights[IDLE.key] = torch.zeros(1)
        live = [s for s in part if not s.silent]
        if not live:
            return
        tally.unique += unique_tokens(live)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for chosen, batch in self.batches(live):
            keys = [s.key for s in chosen]
            weight_N = torch.cat([weights[k] for k in keys]).to(self.device)
            current_N, entropy_N = within(self.model, self.forward, batch, temperature)
            current_N.retain_grad()
            proximal_N = current_N.detach()
            if proximal is not None:
                proximal_N = torch.cat([proximal.get(s.key, s.behaviour_N) for s in chosen]).to(self.device)
            loss_N, stats = objective(current_N, proximal_N, batch.behaviour_N, batch.advantage_N, loss)
            summed = (weight_N * loss_N).sum()
            summed.backward()  # type: ignore[no-untyped-call]
            total += float(summed.detach())
            if IDLE not in chosen:
                assert current_N.grad is not None
                tally.tokens({"entropy": entropy_N, **stats}, current_N.grad, batch.real, batch.positions)
        tally.step(total, *self.take_step(rate))

    def _logprobs(self, found: Sequence[Sample], temperature: float) -> dict[tuple[int, int], Tensor]:
        """Logprobs [N] of each sample's trained tokens, without gradient, in the order of `found`."""
        return self.scored(found, lambda batch: self.forward(batch, temperature)[0])

    def forward(self, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
        """Logprobs [N] of the trained tokens, with gradient, and entropies [N], without.

        Rows need no attention mask: padding stands on the right, where causal attention keeps it out of
        sight, and without a mask SDPA takes its causal kernel. The head runs only where the next token is
        trained, once for a token that several members of a tree wrote.
        """
        inputs: dict[str, Any] = {"input_ids": batch.tokens_BT}
        if batch.tree is not None:
            inputs = inputs_of(batch.tree, self.device, batch.at_N)
        pair_U, of_N = torch.unique(batch.at_N * TOKEN_IDS + batch.target_N, return_inverse=True)
        at_U, target_U = pair_U // TOKEN_IDS, pair_U % TOKEN_IDS
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model.base_model(**inputs, use_cache=False)
            hidden_UH = output.last_hidden_state.flatten(0, 1).index_select(0, at_U)
            logprobs_U, entropy_U = self.head(hidden_UH, target_U, temperature)
        return logprobs_U.index_select(0, of_N), entropy_U.index_select(0, of_N)


def deal(count: int, parts: int, *, seed: int) -> list[set[int]]:
    """Trajectory indices dealt into `parts` minibatches of nearly equal size; a function of the seed."""
    if parts == 1:
        return [set(range(count))]
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [set(order[i::parts]) for i in range(min(parts, count))]
