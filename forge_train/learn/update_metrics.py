"""What an update measured, added up over micro-batches, optimizer steps and processes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from forge_train.learn.flops import Flops
from forge_train.learn.losses import Stats

TOP = 0.01
"""Of all trained tokens, the share whose part of the gradient is told apart."""
PEAKS = {"logprob_gap": "logprob_gap_max", "ratio": "ratio_max"}
"""Figures of tokens whose largest is told beside their mean, and its name."""


class Tally:
    """Sums until `metrics` turns them into the figures of `Learner.update`."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.peaks: dict[str, list[float]] = {}
        self.pushes: list[Tensor] = []
        self.trained = self.forwarded = self.positions = self.unique = 0
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.skipped = 0
        self.taught = 0.0
        self.lessons = 0
        self.flops = Flops()

    def tokens(self, stats: Stats, push_N: Tensor, forwarded: int, positions: int) -> None:
        """Count a micro-batch: figures of its trained tokens, positions without and with padding.

        push_N: derivative of the step's loss by each trained token's logprob, weights included.
        """
        columns_SN = torch.stack([v.detach().float() for v in stats.values()])
        for name, value in zip(stats, columns_SN.sum(1).tolist(), strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + value
        for name, peak in PEAKS.items():
            if name in stats:
                self.peaks.setdefault(peak, []).append(float(stats[name].max()))
        self.pushes.append(push_N.detach().abs().cpu())
        self.trained += columns_SN.shape[1]
        self.forwarded += forwarded
        self.positions += positions

    def lesson(self, nll: float, tokens: int) -> None:
        """Count a micro-batch of lessons: the negative log likelihood of so many tokens together."""
        self.taught += nll
        self.lessons += tokens

    def add(self, shares: Sequence[Tally]) -> None:
        """Become the sum of what all processes measured, this one included; steps were taken together."""
        names = {name: None for share in shares for name in share.sums}
        self.sums = {name: sum(share.sums.get(name, 0.0) for share in shares) for name in names}
        peaks = {name: None for share in shares for name in share.peaks}
        self.peaks = {name: [p for s in shares for p in s.peaks.get(name, [])] for name in peaks}
        self.pushes = [push_N for share in shares for push_N in share.pushes]
        self.losses = [sum(parts) for parts in zip(*(share.losses for share in shares), strict=True)]
        self.trained = sum(share.trained for share in shares)
        self.taught = sum(share.taught for share in shares)
        self.lessons = sum(share.lessons for share in shares)
        self.forwarded = sum(share.forwarded for share in shares)
        self.positions = sum(share.positions for share in shares)
        self.flops = sum((share.flops for share in shares), Flops())

    def step(self, loss: float, norm: float, taken: bool) -> None:
        """Count an optimizer step."""
        self.losses.append(loss)
        self.norms.append(norm)
        self.skipped += not taken

    def metrics(self) -> dict[str, float]:
        """Means over tokens and steps, and counts; names as in `Learner.update`."""
        steps = max(len(self.losses), 1)
        found = {name: value / self.trained for name, value in self.sums.items()}
        # Not max(): it would pass over a NaN, and a NaN must not look like agreement.
        found |= {name: float(torch.tensor(values).max()) for name, values in self.peaks.items()}
        if self.pushes:
            found["top_tokens_share"] = top_share(torch.cat(self.pushes))
        if self.lessons:
            found["ptx_nll"] = self.taught / self.lessons
        return {
            **found,
            "loss": sum(self.losses) / steps,
            "grad_norm": sum(self.norms) / steps,
            "optimizer_steps": float(len(self.losses) - self.skipped),
            "skipped_steps": float(self.skipped),
            "tokens_trained": float(self.trained),
            "tokens_forwarded": float(self.forwarded),
            "padding": 1 - self.forwarded / self.positions if self.positions else 0.0,
            "tokens_unique": float(self.unique),
            "amplification": self.positions / self.unique if self.unique else 1.0,
            "flops": self.flops.needed,
        }

    def utilisation(self, seconds: float, peak: float | None) -> dict[str, float]:
        """`mfu`, and `hfu` where something was computed again; nothing where no peak is known (FLOP/s)."""
        if not peak:
            return {}
        able, found = peak * seconds, self.flops
        again = {"hfu": (found.needed + found.again) / able} if found.again else {}
        return {"mfu": found.needed / able, **again}


def top_share(push_N: Tensor) -> float:
    """Which part of all tokens' push, |d loss / d logprob|, the `TOP` of them that push most have together.

    At least `TOP`, where all push the same; 1 where a single one decides. 0 where nothing pushes.

    >>> top_share(torch.ones(200)), top_share(torch.tensor([3.0, 0.0, 1.0]))
    (0.01, 0.75)
    """
    count = math.ceil(TOP * push_N.numel())
    total = float(push_N.double().sum())
    return float(push_N.topk(count).values.double().sum()) / total if total else 0.0
