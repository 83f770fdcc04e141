"""Plain draws from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    """Plain draws from a seeded numpy generator."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        return int(self.rng.integers(n))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.below(len(options))]

    def sample(self, options: Sequence[T], n: int) -> list[T]:
        """`n` different options."""
        return [options[int(i)] for i in self.rng.permutation(len(options))[:n]]

    def chance(self, p: float) -> bool:
        """True with probability `p`."""
        return float(self.rng.random()) < p

    def digits(self, n: int) -> str:
        """A number of `n` digits that does not begin with 0."""
        return str(10 ** (n - 1) + self.below(9 * 10 ** (n - 1)))
