"""Families of problems: a few parameters decide what is asked, how it is solved, and how it is checked."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np

from forge_envs.worlds.polyglot.contests.problem import Argument

P = TypeVar("P")
Check: TypeAlias = Callable[..., Any]
"""What a rule means, written another way than in a solution."""
Values = tuple[Any, ...]


class Family(ABC, Generic[P]):
    """Problems of one kind. `solution` is quick and written as a program; `brute` is slow and written here,
    another way, to be sure of it."""

    name: ClassVar[str]
    level: ClassVar[int]
    answer: ClassVar[str] = "int"
    """The type of the answer, as an annotation."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> P:
        """Parameters at random; a frozen dataclass of JSON scalars, two problems are equal if theirs are."""

    @abstractmethod
    def arguments(self, p: P) -> tuple[Argument, ...]:
        """What a program is given."""

    @abstractmethod
    def asked(self, p: P) -> str:
        """The task in words."""

    @abstractmethod
    def solution(self, p: P) -> str:
        """Source of a function `solve` that is quick enough for the largest cases."""

    @abstractmethod
    def brute(self, p: P, *values: Any) -> Any:
        """The answer by trying everything, for small cases."""

    @abstractmethod
    def sample(self, p: P, rng: np.random.Generator, size: int) -> Values:
        """Arguments at random: `size` 0 is small enough for `brute`, 1 is larger, 2 the largest."""


@dataclass(frozen=True, slots=True)
class Recode:
    """Numbers are read through a code: v stands for (a * v + b) % m. With m = 0 they mean themselves."""

    a: int
    b: int
    m: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Recode:
        """No code in one of three."""
        if rng.random() < 1 / 3:
            return cls(1, 0, 0)
        return cls(pick(rng, 2, 9), pick(rng, 0, 30), pick(rng, 50, 500))

    def __call__(self, value: int) -> int:
        """What a number stands for."""
        return (self.a * value + self.b) % self.m if self.m else value

    @property
    def asked(self) -> str:
        """A sentence for the task, with a blank behind; empty without a code."""
        if not self.m:
            return ""
        code = f"({self.a} * v + {self.b}) modulo {self.m}"
        return (
            f"The numbers are coded: each number v of the list stands for {code}, "
            "which is never negative. Decode them first. "
        )

    @property
    def source(self) -> str:
        """A line of `solve` that decodes `values`."""
        code = f"({self.a} * v + {self.b}) % {self.m}" if self.m else "v"
        return f"    values = [{code} for v in values]\n"


def pick(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(rng.integers(low, high + 1))


def choose(rng: np.random.Generator, options: Any) -> Any:
    """One of several."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


def numbers(rng: np.random.Generator, count: int, low: int, high: int) -> list[int]:
    """That many whole numbers."""
    return [int(v) for v in rng.integers(low, high + 1, size=count)]


def length(rng: np.random.Generator, size: int, small: int, medium: int, large: int) -> int:
    """How long a list of this size is."""
    return pick(rng, 0, small) if size == 0 else pick(rng, medium // 2, medium) if size == 1 else large


def key(family: str, parameters: Any) -> str:
    """What makes a problem this one and no other."""
    fields = {name: getattr(parameters, name) for name in parameters.__dataclass_fields__}
    return json.dumps([family, fields], sort_keys=True, default=repr)
