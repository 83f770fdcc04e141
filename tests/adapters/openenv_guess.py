"""A guessing game as an OpenEnv server, which can crash, sleep, and end without a reward."""

from __future__ import annotations

import random
import threading
from typing import Any

from openenv.core.env_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State

AWAKE = threading.Event()
"""Ends the sleep."""


class Guess(Action):
    guess: str


class Told(Observation):
    text: str


class Game(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, **_: Any) -> Told:
        self.number, self.turn = random.Random(seed).randint(1, 9), 0
        return Told(text=f"Guess {self.number}, from 1 to 9.", done=False, reward=None)

    def step(self, action: Guess, timeout_s: float | None = None, **_: Any) -> Told:
        self.turn += 1
        if action.guess == "crash":
            raise RuntimeError("the dice are lost")
        if action.guess == "sleep":
            AWAKE.wait(60)
        if action.guess == "unscored":
            return Told(text="", done=True, reward=None)
        right = action.guess == str(self.number)
        over = right or self.turn == 3
        return Told(text="Right." if right else "Wrong.", done=over, reward=float(right))

    @property
    def state(self) -> State:
        return State(episode_id="", step_count=self.turn)


def application(most: int) -> Any:
    return create_app(Game, Guess, Told, env_name="guess", max_concurrent_envs=most)
