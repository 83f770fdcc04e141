"""A world of one short question, for a real model on a small machine: an episode has about thirty tokens."""

from __future__ import annotations

import zlib
from typing import Any

import gymnasium as gym

from tests.train.worlds import Language

QUESTION = "Say a number."


class Number(Language):
    """Any number will do and gold is as good as random, so that a taught policy says many; some pay more."""

    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def gold_actions(self, task: str) -> list[str]:
        return [str(10 + zlib.crc32(task.encode()) % 90)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.task = (options or {}).get("task", "train/0")
        return ({"role": "user", "content": QUESTION},), {"task": self.task}

    def step(self, action: str) -> Any:
        number = int(action) if action.isascii() and action.isdigit() else 0
        info = {"task": self.task, "turn": 1, "turn_reward": 0.0, "outcome": float(number > 0)}
        return (), number % 10 / 10, True, False, info

    def truncate(self) -> Any:
        return (), 0.0, False, True, {"task": self.task, "outcome": 0.0}


if "Test/Number-v0" not in gym.registry:
    gym.register("Test/Number-v0", entry_point=Number)
