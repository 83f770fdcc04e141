"""A dataset of reasoning-gym as an env of one turn: a question, an answer, its score."""

from __future__ import annotations

from typing import Any

import reasoning_gym

from forge_envs.audit.host.source import Origin
from forge_envs.audit.host.text_env import TextEnv

FIRST = 10_000
"""Number of questions of which any may be asked for."""


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source of `reasoning_gym.create_dataset(name, **args)`; a seed is the number of a question."""
    return ReasoningSource(name, args)


class ReasoningSource(Origin):
    """Questions of one dataset; the oracle's answer is the gold."""

    top = 1.0
    bounds = (0.0, 1.0)

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        self.data = reasoning_gym.create_dataset(name, **{"size": FIRST, "seed": 0, **args})

    def make(self) -> ReasoningEnv:
        return ReasoningEnv(self.data)

    def tasks(self, n: int) -> list[str]:
        return [str(i) for i in range(n)]

    def gold(self, task: str | None, seed: int) -> list[str] | None:
        answer = self.data[_number(task, seed)]["answer"]
        return None if answer is None else [str(answer)]


class ReasoningEnv(TextEnv):
    """One question."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self.entry: dict[str, Any] = {}

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        self.entry = self.data[_number(task, seed or 0)]
        return self.entry["question"], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return "", self.data.score_answer(action, self.entry), True, False, {}


def _number(task: str | None, seed: int) -> int:
    return int(task) if task is not None else seed % FIRST
