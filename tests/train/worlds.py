"""Tiny Gymnasium worlds of the shapes the trainer has to live with, registered for its tests."""

from __future__ import annotations

import threading
import time
import zlib
from typing import Any

import gymnasium as gym

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
GATE = threading.Event()
"""What the stuck world waits for; a test opens it to let its threads go."""


class MachineDown(Exception):
    kind, stage, retryable = "sandbox", "reset", True


class Language(gym.Env[tuple[dict[str, Any], ...], str]):
    observation_space = gym.spaces.Discrete(1)  # type: ignore[assignment]
    action_space = gym.spaces.Text(1_000_000)  # type: ignore[assignment]


class Echo(Language):
    """Say the task's number `turns` times: each right answer is worth 1/turns, all of them the outcome."""

    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012

    def __init__(self, turns: int = 3, max_turns: int = 8, fault: str = "", at: int = 1) -> None:
        self.turns, self.max_turns, self.fault, self.at = turns, max_turns, fault, at
        self.closed = False

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def gold_actions(self, task: str) -> list[str]:
        return [task.split("/")[1]] * self.turns

    def close(self) -> None:
        self.closed = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        if self.fault == "reset":
            raise MachineDown("the sandbox did not start")
        self.task = (options or {}).get("task", "train/0")
        self.turn = self.right = 0
        opening = f"Say {self.task.split('/')[1]}."
        if self.fault == "opening":
            opening += f" {seed}"
        system = {"role": "system", "content": "You repeat.", "tools": TOOLS}
        return (system, {"role": "user", "content": opening}), {"task": self.task}

    def truncate(self) -> Any:
        return (), 0.0, False, True, {"task": self.task, "outcome": 0.0}

    def step(self, action: str) -> Any:
        self.turn += 1
        if self.turn == self.at:
            if self.fault == "machine":
                error = {"kind": "sandbox", "stage": "step", "retryable": False}
                return (), 0.0, False, True, {"task": self.task, "error": error}
            if self.fault == "bug":
                raise KeyError("nobody thought of this")
            if self.fault == "shape":
                return "not messages", 0.0, False, False, {}
            if self.fault == "slow":
                time.sleep(0.05)
            if self.fault == "stuck":
                GATE.wait(30)
        hit = action == self.task.split("/")[1]
        self.right += hit
        done, out = self.turn == self.turns, self.turn == self.max_turns
        info: dict[str, Any] = {"task": self.task, "turn": self.turn, "turn_reward": hit / self.turns}
        info["parts"] = {"hit": float(hit), "length": 0.5}
        reward = 0.1 * info["turn_reward"]
        if done or out:
            info["outcome"] = float(self.right == self.turns)
            reward += info["outcome"]
        answer = ({"role": "tool", "content": f"heard {action}"}, {"role": "user", "content": "Again."})
        return answer, reward, done, out and not done, info


class Slow(Echo):
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012


class Coin(Language):
    """Say anything: half of all texts are worth 1. A policy without any skill learns something here."""

    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012

    def __init__(self, turns: int = 2) -> None:
        self.turns = turns

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.said: list[str] = []
        return ({"role": "user", "content": f"Task {(options or {}).get('task')}."},), {}

    def step(self, action: str) -> Any:
        self.said.append(action)
        done = len(self.said) == self.turns
        won = float(zlib.crc32("".join(self.said).encode()) % 2)
        info = {"outcome": won} if done else {}
        return ({"role": "user", "content": "On."},), won * done, done, False, info


class Varied(Coin):
    """Say anything: each text is worth something else, so that every group has something to compare."""

    def step(self, action: str) -> Any:
        messages, _, done, cut, info = super().step(action)
        worth = zlib.crc32("".join(self.said).encode()) / 2**32
        return messages, worth * done, done, cut, {"outcome": worth} if done else info


class Foreign(Language):
    """Somebody else's world: no task ids, no outcome, only Gymnasium's own five values."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.left, self.number = 2, int(self.np_random.integers(1000))
        return ({"role": "user", "content": f"number {self.number}"},), {}

    def step(self, action: str) -> Any:
        self.left -= 1
        return ({"role": "user", "content": "on"},), 0.5, self.left == 0, False, {}


for _name, _class in {"Echo": Echo, "Slow": Slow, "Coin": Coin, "Varied": Varied, "Foreign": Foreign}.items():
    if f"Test/{_name}-v0" not in gym.registry:
        gym.register(f"Test/{_name}-v0", entry_point=_class)
