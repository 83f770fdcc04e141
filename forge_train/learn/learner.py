"""The learner: a causal language model, its optimizer, and one update from trajectories.

Shapes: B rows, T positions, N trained tokens, H hidden, V vocabulary.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.batch import Batch, Sample, samples, unique_tokens
from forge_train.learn.comparing import count_actions
from forge_train.learn.distributed import IDLE, Processes, together, within
from forge_train.learn.head import Head
from forge_train.learn.lora import adapter_state
from forge_train.learn.losses import PolicyLoss, holds, penalises, settled
from forge_train.learn.passes import Passes
from forge_train.learn.plain_weights import BUCKET, buckets, gather_weights
from forge_train.learn.ratios import Key, corrects_sequences, sequence_factors
from forge_train.learn.reference import Reference, read_weights
from forge_train.learn.step_loss import Known, StepLoss, crosses
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
        self.reference: Reference | None = None
        """Whom the policy is held to, where anybody is."""

    @together("in an update")
    def update(
        self,
        trajectories: Sequence[Trajectory],
        advantages: Sequence[Sequence[float]],
        loss: LossConfig,
        lessons: Sequence[Trajectory] = (),
        *,
        temperature: float = 1.0,
        weights: Sequence[float] | None = None,
        passes: Passes | None = None,
    ) -> dict[str, float]:
        """One optimizer step per minibatch, or those of `passes`; the version goes up by one.

        `advantages` has one list per trajectory with one number per action, or `TokenAdvantages`.
        `lessons`: episodes to be imitated beside, dealt over the minibatches (`ptx_weight`).
        `temperature` is the one the behaviour logprobs were sampled at, where a trajectory does not name its
        own; lessons are learned at 1. `weights` says how often each trajectory counts, as if there were
        copies of it. Segments without a signal (all advantages 0) are not forwarded but count in the
        denominators, unless the loss `holds`. A step whose gradient is not finite is not taken.

        Returns `loss` and `grad_norm` (mean over steps, before clipping), `lr` (last step),
        `optimizer_steps`, `skipped_steps` (gradient not finite), `skipped_trajectories` (no signal),
        `tokens_trained`, `tokens_forwarded` (without padding), `padding` (fraction of positions),
        `tokens_unique` (fewest that had to be forwarded: shared prefixes once), `amplification` (positions
        forwarded over these), `flops` and, where the device's peak is known, `mfu` (forge_train.learn.flops),
        `seconds` and, of these, `logprob_seconds` before the first step; and, when anything was forwarded,
        the mean over trained tokens of `entropy` (nats) and of the objective's figures, with
        `logprob_gap_max` for the largest |proximal - behaviour|, `ratio_max` for the largest ratio,
        `top_tokens_share` for the part of the gradient that 1% of the tokens hold (`top_share`), the
        figures of `sequence_correction` where the loss asks for it, `kl_reference` (k3) where it asks a
        reference, `ptx_nll` of lessons, and those of `QKClip.taken` with `qk_clip`.
        """
        started = time.perf_counter()
        self.work.taken()  # what was scored since the last update is no part of this one
        tally = Tally()
        found = samples(trajectories, advantages, weights)
        late = any(v < self.version for t in trajectories for v in t.versions)
        policy = PolicyLoss(settled(loss, late=late))
        live = forwarded(found, policy)
        parts, rates = self._plan(len(trajectories), live, loss, passes)
        taught = samples(lessons, [[1.0] * count_actions(t) for t in lessons])
        dealt = deal(len(lessons), len(parts), seed=self.version) if lessons else []
        known, figures = self._known(found, live, policy, temperature, steps=len(parts))
        prepared = time.perf_counter()
        for i, (part, rate) in enumerate(zip(parts, rates, strict=True)):
            chosen = [s for s in live if s.trajectory in part]
            step_loss = StepLoss(policy, [s for s in found if s.trajectory in part], known, self.device)
            if policy.of_trajectories and crosses(live):
                step_loss.spread(chosen, self._present(chosen, known, temperature, first=i == 0))
            beside = [s for s in taught if i < len(dealt) and s.trajectory in dealt[i]]
            self._step(chosen, step_loss, beside, temperature, tally, rate)
        self.version += 1
        tally.flops = self.work.taken()
        if self.processes:
            tally.add(self.processes.gather(tally))
        return {
            **tally.metrics(),
            **tally.utilisation(time.perf_counter() - started, self.peak),
            **figures,
            **(self.qk_clip.taken() if self.qk_clip is not None else {}),
            "lr": self.learning_rate(max(self.steps - 1, 0)) if passes is None else passes.config.lr,
            "skipped_trajectories": float(len(trajectories) - len({s.trajectory for s in live})),
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
        return self._by_segment(trajectories, partial(self._logprobs, temperature=temperature))

    @staticmethod
    def _by_segment(
        trajectories: Sequence[Trajectory], score: Callable[[list[Sample]], dict[Key, Tensor]]
    ) -> list[list[list[float]]]:
        found = samples(trajectories, [[0.0] * count_actions(t) for t in trajectories])
        filled = [[[0.0] * len(s.tokens) for s in t.segments] for t in trajectories]
        for sample, logprobs_N in zip(found, score(found).values(), strict=True):
            row = filled[sample.trajectory][sample.segment]
            for position, value in zip(sample.at_N.tolist(), logprobs_N.tolist(), strict=True):
                row[position] = value
        return filled

    @together("scoring by the reference")
    def reference_logprobs(
        self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0
    ) -> list[list[list[float]]]:
        """`logprobs` under the reference's weights. Raises ValueError where none is remembered."""
        return self._by_segment(trajectories, partial(self._reference_logprobs, temperature=temperature))

    @together("remembering a reference")
    def remember(self, *, forget_moments: bool = False) -> None:
        """The weights as they are become the reference; with `forget_moments` the optimizer begins anew."""
        self.reference = Reference(self.model)
        if forget_moments:
            self.forget_moments()

    @together("taking a reference")
    def take_reference(self, folder: Path) -> None:
        """The model in `folder`, which transformers reads, becomes the reference; only rank 0 reads it.

        Raises ValueError for one that is not like the policy.
        """
        reference = Reference(self.model)
        leads = self.processes is None or self.processes.leads
        reference.take(read_weights(folder) if leads else {}, self.processes)
        self.reference = reference

    @together("saving the reference")
    def save_reference(self, folder: Path) -> None:
        """Write the reference, each process its part."""
        assert self.reference is not None, "remember or take one before"
        self.reference.save(folder)

    @together("loading the reference")
    def load_reference(self, folder: Path) -> None:
        """What `save_reference` wrote becomes the reference."""
        reference = Reference(self.model)
        reference.load(folder)
        self.reference = reference

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

    def _plan(
        self, count: int, live: list[Sample], loss: LossConfig, passes: Passes | None
    ) -> tuple[list[set[int]], list[float | None]]:
        """The trajectories of each optimizer step, and its learning rate where that is not the schedule's."""
        if passes is None:
            parts = deal(count, loss.minibatches, seed=self.version)
            return parts, [None] * len(parts)
        parts = passes.parts(sorted({s.trajectory for s in live}), seed=self.version)
        return parts, [*passes.rates(len(parts))]

    def _known(
        self, found: list[Sample], live: list[Sample], policy: PolicyLoss, temperature: float, *, steps: int
    ) -> tuple[Known, dict[str, float]]:
        """What an update of so many steps must know before the first one, and figures of it."""
        loss, whole = policy.config, policy.of_trajectories and crosses(live)
        if not live:
            return Known(), {}
        proximal, factors, figures = None, dict[Key, Tensor](), dict[str, float]()
        # Steps after the first no longer have the weights from before the update.
        later = steps > 1 and loss.objective != "nll"  # which looks at nothing but now
        if later or whole or corrects_sequences(loss):
            signal = {s.trajectory for s in live}
            scored = [s for s in found if s.trajectory in signal] if corrects_sequences(loss) else live
            proximal = self._logprobs(scored, temperature)
            if corrects_sequences(loss):
                factors, figures = sequence_factors(scored, proximal, loss)
        held = penalises(loss) or loss.old_policy == "reference"
        reference = self._reference_logprobs(live, temperature) if held else {}
        return Known(proximal, factors, reference), figures

    def _present(
        self, chosen: list[Sample], known: Known, temperature: float, *, first: bool
    ) -> Mapping[Key, Tensor]:
        """Logprobs under the weights of now, which before the first step are those of before the update."""
        if not first:
            return self._logprobs(chosen, temperature)
        assert known.proximal is not None, "scored before the first step"
        return known.proximal

    def _step(
        self,
        live: list[Sample],
        step_loss: StepLoss,
        lessons: list[Sample],
        temperature: float,
        tally: Tally,
        rate: float | None,
    ) -> None:
        """One optimizer step on what is forwarded of one minibatch, and on `lessons`.

        rate: the learning rate, where it is not the schedule's.
        """
        if not live and not lessons:
            return
        tally.unique += unique_tokens(live) if live else 0
        self.optimizer.zero_grad(set_to_none=True)
        config, total = step_loss.policy.config, 0.0
        pushed = config.entropy_weight > 0
        for chosen, batch in self.batches(live) if live else ():
            current_N, entropy_N = within(self.model, self.forward, batch, temperature, pushed)
            current_N.retain_grad()
            summed, stats = step_loss(chosen, batch, current_N, entropy_N)
            summed.backward()  # type: ignore[no-untyped-call]
            total += float(summed.detach())
            if IDLE not in chosen:
                assert current_N.grad is not None
                tally.tokens(stats, current_N.grad, batch.real, batch.positions)
        total += self._teach(lessons, config.ptx_weight, tally) if lessons else 0.0
        tally.step(total, *self.take_step(rate))

    def _teach(self, lessons: list[Sample], weight: float, tally: Tally) -> float:
        """The gradient of `weight` times the mean negative log likelihood of `lessons`; returns its share."""
        count, total = sum(s.at_N.numel() for s in lessons), 0.0
        for chosen, batch in self.batches(lessons):
            current_N, _ = within(self.model, self.forward, batch, 1.0)
            summed = -current_N.sum() * (0.0 if IDLE in chosen else weight / count)
            summed.backward()  # type: ignore[no-untyped-call]
            total += float(summed.detach())
            if IDLE not in chosen:
                tally.lesson(-float(current_N.detach().sum()), current_N.numel())
        return total

    def _logprobs(self, found: Sequence[Sample], temperature: float) -> dict[Key, Tensor]:
        """Logprobs [N] of each sample's trained tokens, without gradient, in the order of `found`."""
        return self.scored(found, lambda batch: self.forward(batch, temperature)[0])

    def _reference_logprobs(self, found: Sequence[Sample], temperature: float) -> dict[Key, Tensor]:
        """The same under the reference."""
        if self.reference is None:
            raise ValueError("a reference is asked for and none is remembered: call remember() before")
        with self.reference.in_place():
            return self._logprobs(found, temperature)

    def forward(self, batch: Batch, temperature: float, pushed: bool = False) -> tuple[Tensor, Tensor]:
        """Logprobs [N] of the trained tokens, with gradient, and entropies [N], with it if they are `pushed`.

        Rows need no attention mask: padding stands on the right, where causal attention keeps it out of
        sight, and without a mask SDPA takes its causal kernel. The head runs only where the next token is
        trained, once for a token that several members of a tree wrote.
        """
        inputs: dict[str, Any] = {"input_ids": batch.tokens_BT}
        if batch.tree is not None:
            inputs = inputs_of(batch.tree, self.device, batch.at_N)
        if self.qk_clip is not None:
            self.qk_clip.look_at(batch)
        pair_U, of_N = torch.unique(batch.at_N * TOKEN_IDS + batch.target_N, return_inverse=True)
        at_U, target_U = pair_U // TOKEN_IDS, pair_U % TOKEN_IDS
        temperature = temperature if batch.temperature is None else batch.temperature
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.model.base_model(**inputs, use_cache=False)
            hidden_UH = output.last_hidden_state.flatten(0, 1).index_select(0, at_U)
            logprobs_U, entropy_U = self.head(hidden_UH, target_U, temperature, pushed)
        return logprobs_U.index_select(0, of_N), entropy_U.index_select(0, of_N)


def forwarded(found: Sequence[Sample], policy: PolicyLoss) -> list[Sample]:
    """The samples that a loss learns from: those with a signal, the whole trajectory where it looks at all of
    it, and every one where it `holds` the policy."""
    if holds(policy.config):
        return list(found)
    if policy.of_trajectories:
        signal = {s.trajectory for s in found if not s.silent}
        return [s for s in found if s.trajectory in signal]
    return [s for s in found if not s.silent]


def deal(count: int, parts: int, *, seed: int) -> list[set[int]]:
    """Trajectory indices dealt into `parts` minibatches of nearly equal size; a function of the seed."""
    if parts == 1:
        return [set(range(count))]
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [set(order[i::parts]) for i in range(min(parts, count))]
