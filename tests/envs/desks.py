"""The worlds of service desks side by side, for what holds at each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.worlds.airline import env as airline_env
from forge_envs.worlds.airline import tasks as airline_tasks
from forge_envs.worlds.desk.env import DeskEnv
from forge_envs.worlds.desk.goals import DeskTask
from forge_envs.worlds.desk.tasks import task_id
from forge_envs.worlds.retail import env as retail_env
from forge_envs.worlds.retail import tasks as retail_tasks

LEVELS = range(1, 6)


@dataclass(frozen=True)
class DeskWorld:
    """One world and what belongs to it."""

    id: str
    make: Callable[..., DeskEnv[Any, Any]]
    find_task: Callable[[str], Any]
    content: Callable[[Any], tuple[Any, ...]]
    table: str
    """What its customers come for, as a table of its tasks."""
    compact: str
    done: str
    """What is said of a cancellation that was carried out."""

    @property
    def name(self) -> str:
        """How its task ids begin."""
        return self.make.name  # type: ignore[attr-defined]  # the class itself

    @property
    def sizes(self) -> Iterable[str]:
        """What it comes in."""
        return self.make.sizes  # type: ignore[attr-defined]

    def task_id(self, size: str, split: str, level: int, n: int) -> str:
        """The id of a task."""
        return task_id(self.name, size, split, level, n)

    def digest(self, text: str) -> str:
        """All of a task as text."""
        task: DeskTask = self.find_task(text)
        rows = {name: dict(getattr(task, name).rows) for name in ("users", self.table)}
        changed = sorted((repr(key), row) for key, row in task.target.items())
        return json.dumps([self.content(task), task.gold, changed, rows], default=repr, sort_keys=True)


RETAIL = DeskWorld(
    "Forge/Retail-v0",
    retail_env.RetailEnv,
    retail_tasks.find_task,
    retail_tasks.content,
    "orders",
    retail_env.COMPACT,
    "The order has been cancelled.",
)
AIRLINE = DeskWorld(
    "Forge/Airline-v0",
    airline_env.AirlineEnv,
    airline_tasks.find_task,
    airline_tasks.content,
    "reservations",
    airline_env.COMPACT,
    "The reservation has been cancelled.",
)
DESKS = {desk.name: desk for desk in (RETAIL, AIRLINE)}


def call(name: str, **arguments: Any) -> str:
    """An action that calls a tool."""
    return HERMES.write(calls=[ToolCall(name, arguments)])


def play(env: DeskEnv[Any, Any], text: str, actions: Iterable[str] | None = None) -> list[Any]:
    """What reset and each step gave, until the episode or the actions (by default gold's) end."""
    log: list[Any] = [env.reset(options={"task": text})]
    for action in env.gold_actions(text) if actions is None else actions:
        log.append(env.step(action))
        if log[-1][2] or log[-1][3]:
            break
    return log


def parts(log: list[Any], without: tuple[str, ...] = ()) -> list[dict[str, float]]:
    """The parts of each step."""
    return [{k: v for k, v in step[4]["parts"].items() if k not in without} for step in log[1:]]
