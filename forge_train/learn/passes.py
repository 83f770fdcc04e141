"""One update as supervised training on what it is given: several passes, in batches, at a falling rate."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from forge_train.config import DistillConfig, OptimConfig
from forge_train.learn.trained_model import schedule


@dataclass(frozen=True, slots=True)
class Passes:
    """How an update of expert iteration goes over its trajectories.

    >>> [len(part) for part in Passes(DistillConfig(epochs=2, batch=2)).parts([4, 5, 7], seed=0)]
    [2, 1, 2, 1]
    """

    config: DistillConfig

    def parts(self, which: Sequence[int], *, seed: int) -> list[set[int]]:
        """Of these trajectories those of each optimizer step: each once a pass, dealt anew by the seed."""
        found = []
        for epoch in range(self.config.epochs):
            order = list(which)
            random.Random(f"{seed}/{epoch}").shuffle(order)
            found += [set(order[i : i + self.config.batch]) for i in range(0, len(order), self.config.batch)]
        return found

    def rates(self, steps: int) -> list[float]:
        """Learning rate of each of `steps` optimizer steps.

        >>> Passes(DistillConfig(epochs=1, lr=1.0, warmup=2)).rates(4)
        [0.5, 1.0, 1.0, 0.5]
        """
        own = self.config
        warmup = min(own.warmup, steps - 1)
        optim = OptimConfig(
            warmup=warmup,
            schedule=own.schedule,
            decay_steps=None if own.schedule == "constant" else max(steps, 1),
        )
        return [own.lr * schedule(step, optim) for step in range(steps)]


def passes_of(config: DistillConfig) -> Passes | None:
    """None where an update is one of reinforcement."""
    return Passes(config) if config.used else None
