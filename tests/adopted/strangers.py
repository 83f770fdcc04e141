"""Gymnasium environments of somebody else, of texts, each with a habit."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
from gymnasium.spaces import Text

WORDS = ("north", "south", "east", "west")


class Echo(gym.Env[str, str]):
    """Asks for a word of the seed's choice; 1 for saying it, within three turns.

    `habit`: "" or what it does wrong: "raises", "sleeps", "nan", "number", "fails" or "reset".
    """

    def __init__(self, habit: str = "") -> None:
        self.observation_space = Text(200)
        self.action_space = Text(24, min_length=1, charset="abcdefghijklmnopqrstuvwxyz <>|_/")
        self.habit = habit
        self.closed = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        if self.habit == "reset":
            raise OSError("the disk is full")
        self.word = str(self.np_random.choice(WORDS))
        self.turn = 0
        return f"Say {self.word}.", {"answer": self.word}

    def step(self, action: str) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.turn += 1
        if self.habit == "raises":
            raise RuntimeError("this was not foreseen")
        if self.habit == "sleeps":
            time.sleep(30)
        if self.habit == "fails":
            error = {"kind": "fire", "stage": "step", "retryable": True, "message": "it burns"}
            return "", 0.0, False, True, {"error": error}
        right = self.word in action
        reward: Any = {"nan": float("nan"), "number": "much"}.get(self.habit, 1.0 if right else -0.25)
        info = {"answer": self.word, "parts": {"right": float(right)}}
        return "Well done." if right else "No.", reward, right, self.turn >= 3 and not right, info

    def close(self) -> None:
        self.closed += 1


class Numbers(gym.Env[int, int]):
    """Speaks in numbers."""

    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)


gym.register("Strangers/Echo-v0", Echo)
gym.register("Strangers/Numbers-v0", Numbers)
