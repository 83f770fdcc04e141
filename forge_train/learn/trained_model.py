"""A model and the optimizer that moves its weights: what the learner and the critic share.

Where the weights lie, how work on them is shared among processes, the one step of the optimizer, and what of
all this a checkpoint holds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forge_train.config import OptimConfig
from forge_train.learn.batch import Batch, Sample
from forge_train.learn.distributed import (
    IDLE,
    Processes,
    gathered,
    shared_batches,
    spread,
    together,
    within,
)
from forge_train.learn.flops import Work, peak_of
from forge_train.learn.kernels import recompute_blocks
from forge_train.learn.muon import muon
from forge_train.learn.optimizer_state import load_moments, move_moments, save_moments
from forge_train.learn.packing import Prices
from forge_train.learn.qk_clip import QKClip
from forge_train.learn.tree_attention import prepare


class TrainedModel:
    """Weights, their optimizer, and two counters.

    `dtype` "bfloat16" runs forwards under autocast, "float32" as they are; parameters keep their own dtype.
    With `processes` all of them must call every method with the same arguments (`lockstep.py` sees to that);
    they begin with rank 0's weights, share the work, and return the same.
    """

    version: int
    """Updates behind the weights."""
    steps: int
    """Optimizer steps taken; drives the schedule. Several per update when it has minibatches."""
    forgot_at: int
    """What `steps` was when the optimizer last began anew."""

    def __init__(
        self,
        model: Any,
        transformer: Any,
        optim: OptimConfig,
        *,
        device: torch.device,
        dtype: str,
        processes: Processes | None,
    ) -> None:
        """`transformer` is the part of `model` that attends; `device` is that of the only process."""
        if dtype not in ("float32", "bfloat16"):
            raise ValueError(f"dtype={dtype!r}: use float32 or bfloat16")
        self.device = processes.device if processes else device
        self.optim = optim
        self.bfloat16 = dtype == "bfloat16"
        self.processes = processes
        self.prices = Prices.of(transformer, self.device)
        self.work = Work(model, recomputes=optim.gradient_checkpointing)
        peak = peak_of(optim, self.device, bfloat16=self.bfloat16)
        self.peak = peak and peak * (processes.size if processes else 1)
        """FLOP/s of all processes together; None where nobody knows."""
        if optim.gradient_checkpointing:
            recompute_blocks(model)
        if processes and optim.qk_clip:
            raise ValueError(
                f"optim.qk_clip = {optim.qk_clip:g}: each of {processes.size} processes sees the logits of "
                "its share alone; leave it out, or learn in one process"
            )
        if processes:
            copies = optim.replicate if optim.shard else 0
            spread(model, processes, copies=copies, bfloat16=self.bfloat16)
        self.model: Any = model.to(self.device).eval()
        if optim.packing != "padded":  # it tries the model, which only now has weights everywhere
            within(self.model, prepare, transformer)
        self.qk_clip = QKClip(transformer, optim.qk_clip) if optim.qk_clip else None
        self.optimizer = muon(self.model, optim) if optim.kind == "muon" else adamw(self.model, optim)
        self.version = 0
        self.steps = 0
        self.forgot_at = 0

    def batches(self, found: Sequence[Sample]) -> Iterator[tuple[list[Sample], Batch]]:
        """This process's micro-batches of `found`, each with its samples. All processes must call it.

        What was sampled at different temperatures is never in one.
        """
        for temperature in dict.fromkeys(s.temperature for s in found):
            alike = [s for s in found if s.temperature == temperature]
            for chosen, batch in shared_batches(alike, self.optim, self.prices, self.processes, self.device):
                if IDLE not in chosen:
                    self.work.forward(chosen, batch)
                yield chosen, batch

    def scored(
        self, found: Sequence[Sample], forward: Callable[[Batch], Tensor]
    ) -> dict[tuple[int, int], Tensor]:
        """What `forward` says [N] of each sample, without gradient, on the CPU, in the order of `found`."""
        mine: dict[tuple[int, int], Tensor] = {}
        everybody: dict[tuple[int, int], Tensor] = {}
        with torch.no_grad():
            for chosen, batch in self.batches(found):
                score_N = within(self.model, forward, batch).cpu()
                pieces = torch.split(score_N, list(batch.lengths))
                mine |= {s.key: piece_N for s, piece_N in zip(chosen, pieces, strict=True)}
        for part in self.processes.gather(mine) if self.processes else [mine]:
            everybody |= part
        return {s.key: everybody[s.key] for s in found}

    def take_step(self, rate: float | None = None) -> tuple[float, bool]:
        """Clip and take the step, unless the gradient is not finite. Returns its norm, and whether.

        rate: the learning rate, where it is not the schedule's.
        """
        parameters = list(self.model.parameters())
        if self.processes and not self.optim.shard:
            self.processes.sum_gradients(parameters)
        norm = float(gathered(nn.utils.clip_grad_norm_(parameters, self.optim.grad_clip)))
        taken = math.isfinite(norm)
        if taken:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(self.steps) if rate is None else rate
            self.optimizer.step()
            self.steps += 1
            if self.qk_clip is not None:
                self.qk_clip.clip()
        self.optimizer.zero_grad(set_to_none=True)
        return norm, taken

    def learning_rate(self, step: int) -> float:
        """Of optimizer step `step`, counted from 0."""
        return self.optim.lr * schedule(step, self.optim)

    # -- state ---------------------------------------------------------------------------------

    @together("saving")
    def save_moments(self, folder: Path) -> None:
        """Write the optimizer's state into `folder`: see `optimizer_state`."""
        save_moments(folder, self.model, self.optimizer)

    @together("loading")
    def load_moments(self, folder: Path, *, version: int, steps: int, forgot_at: int = 0) -> None:
        """Continue from `save_moments` with the counters of that time; the weights are the model's."""
        load_moments(folder, self.model, self.optimizer, steps - forgot_at)
        self.version, self.steps, self.forgot_at = version, steps, forgot_at

    def forget_moments(self) -> None:
        """The optimizer begins anew; the schedule of the learning rate goes on."""
        self.optimizer.state.clear()
        self.forgot_at = self.steps

    @together("parking the moments")
    def park(self) -> None:
        """Keep the moments in main memory until `unpark`. Gradients there are none between updates."""
        move_moments(self.optimizer, torch.device("cpu"))

    @together("taking the moments back")
    def unpark(self) -> None:
        """Take the moments back to where the weights are."""
        move_moments(self.optimizer, None)

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything the next update depends on; continuing from it is exact to the bit.

        Raises ValueError with several processes.
        """
        self._refuse_many()
        return {
            "model": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "version": self.version,
            "steps": self.steps,
            "forgot_at": self.forgot_at,
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; parameters are overwritten in place."""
        self._refuse_many()
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]
        self.steps = state["steps"]
        self.forgot_at = state["forgot_at"]
        torch.set_rng_state(state["rng"])

    def _refuse_many(self) -> None:
        if self.processes:
            raise ValueError("the state of many processes is not one dict: write it into a checkpoint")


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
