"""The demo's world behind a slow line: every answer takes as long as its task and turn say."""

from __future__ import annotations

import random
import time
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds

ID = "Bench/WaitingRetail-v0"


class WaitingRetail(gym.Env[Any, Any]):
    """`Forge/Retail-v0`, each step `low` to `high` seconds later; the same step takes the same time."""

    def __init__(self, low: float = 0.02, high: float = 0.14, **args: Any) -> None:
        self.env: Any = gym.make("Forge/Retail-v0", disable_env_checker=True, **args).unwrapped
        self.metadata = {**self.env.metadata, "quick": False}
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self._bounds, self._turn, self._task = (low, high), 0, ""

    def task_ids(self, split: str, n: int) -> list[str]:
        ids: list[str] = self.env.task_ids(split, n)
        return ids

    def gold_actions(self, task: str) -> list[str]:
        actions: list[str] = self.env.gold_actions(task)
        return actions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = self.env.reset(seed=seed, options=options)
        self._turn, self._task = 0, info["task"]
        return observation, info

    def step(self, action: Any) -> Any:
        self._turn += 1
        time.sleep(random.Random(repr((self._task, self._turn))).uniform(*self._bounds))
        return self.env.step(action)


if ID not in gym.registry:
    gym.register(ID, entry_point=WaitingRetail)
