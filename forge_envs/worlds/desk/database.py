"""What the rows of every desk are drawn from: a seed's dice, and the names and places of people."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
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


@dataclass(frozen=True)
class People:
    """All words people are drawn from."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    streets: tuple[str, ...]
    places: tuple[tuple[str, str, str], ...]
    """City, state and the first three digits of its zip codes."""


@functools.cache
def people() -> People:
    """The words, read once."""
    text = resources.files(__package__).joinpath("people.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return People(
        tuple(data["first_names"]),
        tuple(data["last_names"]),
        tuple(data["streets"]),
        tuple((city, state, prefix) for city, state, prefix in data["places"]),
    )


def draw_address(dice: Dice, second_line: float) -> dict[str, str]:
    """A postal address, which has a second line with the chance `second_line`."""
    city, state, prefix = dice.choice(people().places)
    return {
        "address1": f"{1 + dice.below(999)} {dice.choice(people().streets)}",
        "address2": f"Unit {1 + dice.below(99)}" if dice.chance(second_line) else "",
        "city": city,
        "country": "USA",
        "state": state,
        "zip": f"{prefix}{dice.below(100):02d}",
    }
