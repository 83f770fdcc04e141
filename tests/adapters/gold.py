"""What the tests of all doors play: tasks with known actions, and machines that fail when told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forge_envs import MachineError
from forge_envs.adapters import Session
from forge_envs.worlds.retail.env import RetailEnv

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
WORLD = "Forge/Retail-v0"
ARGS: dict[str, Any] = {"turn_weight": 0.5}
TASK = "retail/small/train/2/1"


def gold(task: str = TASK, world: str = WORLD) -> list[str]:
    with Session(world) as session:
        return session.env.gold_actions(task)


def played(actions: Sequence[str], task: str = TASK, world: str = WORLD, **args: Any) -> dict[str, Any]:
    """The record of these actions played directly, without any library."""
    with Session(world, args or ARGS) as session:
        session.begin(task)
        for action in actions:
            session.act(action)
        return session.record()


class Failing:
    """Makes the customer's line fail at calls `times` of all (from 0), in whatever world asks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: Sequence[int] | range) -> None:
        self.asked = 0
        hear = RetailEnv.hear

        def answer(env: RetailEnv, text: str) -> Any:
            self.asked += 1
            if self.asked - 1 in times:
                raise MachineError("no answer", kind="timeout", stage="user", retryable=True)
            return hear(env, text)

        monkeypatch.setattr(RetailEnv, "hear", answer)


class Open:
    """Counts worlds that hold an episode: begun and not yet let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: set[int] = set()
        begin, close = RetailEnv.begin, RetailEnv.close

        def begun(env: RetailEnv, task: Any) -> Any:
            self.held.add(id(env))
            return begin(env, task)

        def closed(env: RetailEnv) -> None:
            self.held.discard(id(env))
            close(env)

        monkeypatch.setattr(RetailEnv, "begin", begun)
        monkeypatch.setattr(RetailEnv, "close", closed)
