"""What a training run forwards and waits for, counted from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Intervals:
    """When something was going on; several at once, from any thread."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    @contextmanager
    def open(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spans.append((began, time.perf_counter()))

    def without(self, other: Intervals) -> float:
        """Seconds in which at least one of these was open and none of `other`."""
        edges = [(at, side, sign) for side, spans in ((0, self.spans), (1, other.spans))
                 for span in spans for at, sign in zip(span, (1, -1), strict=True)]  # fmt: skip
        total, before, open_now = 0.0, 0.0, [0, 0]
        for at, side, sign in sorted(edges):
            if open_now[0] and not open_now[1]:
                total += at - before
            open_now[side] += sign
            before = at
        return total


class Counts:
    """What one run did."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A new run begins."""
        self.world, self.sampling = Intervals(), Intervals()
        self.train_positions = self.train_real = 0
        self.sample_positions = self.sample_real = 0
        self.steps: list[tuple[float, float]] = []
        """Seconds of each step by the wall clock, and of the processor."""
        self._counting = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one optimizer step, sampling included; what is forwarded outside of steps does not count."""
        wall, processor = time.perf_counter(), time.process_time()
        self._counting = True
        try:
            yield
        finally:
            self._counting = False
            self.steps.append((time.perf_counter() - wall, time.process_time() - processor))

    def sampled(self, positions: int, real: int) -> None:
        """A forward pass for sampling; `real` positions are not padding."""
        self.sample_positions += positions * self._counting
        self.sample_real += real * self._counting

    def trained(self, positions: int, real: int) -> None:
        """A forward pass for the update."""
        self.train_positions += positions * self._counting
        self.train_real += real * self._counting

    def figures(self, least: dict[str, float]) -> dict[str, float]:
        """The comparison's figures, apart from seconds."""
        waited = self.world.without(self.sampling)
        return {
            "train_amplification": self.train_positions / least["train"],
            "train_padding": 1 - self.train_real / self.train_positions,
            "prefill_recompute": self.sample_real / least["sample"],
            "sample_positions_ratio": self.sample_positions / least["sample"],
            "world_wait": waited / least["critical_path"] if least["critical_path"] else 0.0,
        }

    def seconds(self) -> dict[str, float]:
        """Of a step: by the wall clock, what they went into, and of the processor (all threads)."""
        wall, processor = (sum(column) for column in zip(*self.steps, strict=True))
        sampling, waiting = self.sampling.without(Intervals()), self.world.without(self.sampling)
        parts = {"step": wall, "sampling": sampling, "waiting": waiting}
        parts |= {"update_and_rest": wall - sampling - waiting, "processor": processor}
        return {name: seconds / len(self.steps) for name, seconds in parts.items()}


COUNTS = Counts()
"""Of the run in progress."""


def count_forwards(model: Any, pad: int) -> Any:
    """Count the positions of every forward pass of the decoder stack; returns the hook's handle."""

    def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        tokens = kwargs["input_ids"]
        forwarded = COUNTS.trained if torch.is_grad_enabled() else COUNTS.sampled
        forwarded(positions=tokens.numel(), real=int((tokens != pad).sum()))

    return model.base_model.register_forward_pre_hook(count, with_kwargs=True)
