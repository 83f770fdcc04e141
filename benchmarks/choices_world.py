"""A chain of independent choices: every turn shows a sign, and one of a few words is right for it.

The outcome is 1 only where every turn was right, so that it is nearly never seen by a policy that knows
little; the turn rewards say of each turn whether it was. With `luck` a right word counts as wrong that often,
and a wrong one as right: then no single episode tells much, as in worlds where other things matter as well.
With `late` a turn reward comes so many turns after the turn that it is for, or with the outcome at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from forge_envs.env import AgentEnv, Episode, Task, opening
from forge_envs.messages import Observation
from forge_envs.rewards import Score

ID = "Bench/Choices-v0"
SIGNS = 32
WORDS = ("ash", "elm", "fir", "oak", "yew", "bay", "box", "fig")


@dataclass(frozen=True)
class Chain(Task):
    """The signs of one episode, in order."""

    signs: tuple[int, ...] = ()


@dataclass
class ChainEpisode(Episode[Chain]):
    """Which turns counted as right so far."""

    right: list[bool] = field(default_factory=list)


def word_for(sign: int) -> str:
    """The right answer: a table that is nowhere to be read."""
    return WORDS[(sign * 3 + sign // 8) % len(WORDS)]


class Choices(AgentEnv[Chain, ChainEpisode]):
    """Say the right word for each of `length` signs."""

    def __init__(self, *, length: int = 16, luck: float = 0.0, late: int = 0, **base: Any) -> None:
        self.length = length
        self.late = late
        self.luck = luck
        super().__init__(max_turns=length + 1, **base)

    takes_others = True

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        return [f"{split or 'train'}/{i}" for i in range(n or 64)]

    def find(self, task_id: str) -> Chain:
        rng = np.random.default_rng([*task_id.encode()])
        return Chain(task_id, tuple(int(s) for s in rng.integers(SIGNS, size=self.length)))

    def draw(self, rng: np.random.Generator) -> Chain:
        return self.find(f"train/{int(rng.integers(64))}")

    def begin(self, task: Chain) -> tuple[ChainEpisode, Observation]:
        return ChainEpisode(task), opening(
            "Answer each sign.", [{"role": "user", "content": self.sign(task, 0)}]
        )

    def sign(self, task: Chain, turn: int) -> str:
        return f"sign {task.signs[turn]}"

    def hear(self, text: str) -> Observation | None:
        episode = self.playing
        right = text == word_for(episode.task.signs[len(episode.right)])
        episode.right.append(right != (self.np_random.random() < self.luck))
        if len(episode.right) == self.length:
            return None
        return ({"role": "user", "content": self.sign(episode.task, len(episode.right))},)

    def progress(self) -> float:
        """The state in play is not there yet when an episode begins."""
        right = self.state.right if self.state else []
        told = right if len(right) == self.length else right[: max(len(right) - self.late, 0)]
        return sum(told) / self.length

    def grade(self) -> Score:
        right = self.playing.right
        return Score(float(len(right) == self.length and all(right)))

    def gold(self, task: Chain) -> list[str]:
        return [word_for(sign) for sign in task.signs]


if ID not in gym.registry:
    gym.register(ID, entry_point=Choices)
