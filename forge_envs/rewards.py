"""The verdict on an episode, and how a world composes it from named criteria."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Score:
    """The outcome in [0, 1] and what it was made of.

    >>> Score(0.0, {"rows": 1.0, "told": 0.0})
    Score(outcome=0.0, parts={'rows': 1.0, 'told': 0.0})
    """

    outcome: float
    parts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.outcome <= 1.0:
            raise ValueError(f"outcome={self.outcome!r}: it must be a number in [0, 1]; parts: {self.parts}")


@dataclass(frozen=True, slots=True)
class Criterion(Generic[StateT]):
    """One named thing that must hold at the end, as a number in [0, 1]."""

    name: str
    check: Callable[[StateT], float]


@dataclass(frozen=True, slots=True)
class Rubric(Generic[StateT]):
    """Criteria that must all hold: the outcome is their product, as in τ-bench.

    >>> Rubric([Criterion("even", lambda n: float(n % 2 == 0)), Criterion("big", lambda n: float(n > 9))])(12)
    Score(outcome=1.0, parts={'even': 1.0, 'big': 1.0})
    """

    criteria: Sequence[Criterion[StateT]]

    def __post_init__(self) -> None:
        names = [criterion.name for criterion in self.criteria]
        if len(set(names)) < len(names):
            raise ValueError(f"criteria must have different names, not {names}")

    def __call__(self, state: StateT) -> Score:
        """Check every criterion on `state`."""
        parts = {criterion.name: float(criterion.check(state)) for criterion in self.criteria}
        outcome = 1.0
        for value in parts.values():
            outcome *= value
        return Score(outcome, parts)
