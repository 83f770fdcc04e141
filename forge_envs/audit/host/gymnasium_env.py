"""A Gymnasium id, ours included: those tell their tasks and their gold."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import gymnasium as gym

from forge_envs.audit.host.source import Env, Origin

WORDS = (
    "hello",
    "yes",
    "no",
    "1",
    "2",
    "look",
    "help",
    "stop",
    "a",
    "answer",
    "go north",
    "42",
    "0 0",
    "[1]",
)
SAMPLE = 200
"""Most characters of a sampled text, where the space takes fewer: evidence is typed again by a person."""


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source of `gymnasium.make(name, **args)`."""
    return GymnasiumSource(name, args)


class GymnasiumSource(Origin):
    """Makes envs of one id. An env is spoken to if its actions are text."""

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        self.name, self.args = name, args
        made = self._made()
        self.talks = _is_text(made.action_space)
        self.deterministic = made.spec is None or not made.spec.nondeterministic
        self.world: Any = made.unwrapped if hasattr(made.unwrapped, "gold_actions") else None
        if self.world is not None:
            self.top = 1.0
            self.shell = "bash" in getattr(self.world, "tools", ())
        else:
            with contextlib.suppress(Exception):  # some cannot be closed before they are reset
                made.close()

    def _made(self) -> gym.Env[Any, Any]:
        return gym.make(self.name, disable_env_checker=True, **self.args)

    def make(self) -> Env:
        return GymnasiumEnv(self._made(), self.talks)

    def tasks(self, n: int) -> list[str]:
        if self.world is None:
            return []
        free = set(getattr(self.world, "silence_solves", ()))  # as their benchmark has them
        ids = self.world.task_ids(self.world.splits[0], n + len(free))
        return [str(task) for task in ids if task not in free][:n]

    def gold(self, task: str | None, seed: int) -> list[str] | None:
        return None if self.world is None or task is None else list(self.world.gold_actions(task))

    def command(self, line: str) -> Any:
        from forge_envs.messages import ToolCall

        return self.world.grammar.write(calls=[ToolCall("bash", {"command": line})])


class GymnasiumEnv(Env):
    """One env; actions that are no text travel in the form of `Space.to_jsonable`."""

    def __init__(self, env: gym.Env[Any, Any], talks: bool) -> None:
        self.env, self.talks = env, talks

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=None if task is None else {"task": task})

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if not self.talks:
            action = self.env.action_space.from_jsonable(action)[0]
        return self.env.step(action)

    def close(self) -> None:
        self.env.close()

    def sample(self, seed: int) -> Any:
        if self.talks and random.Random(seed).random() < 0.5:
            return random.Random(seed).choice(WORDS)
        self.env.action_space.seed(seed)
        action = self.env.action_space.sample()
        if not self.talks:
            return _jsonable(self.env.action_space, action)
        short = str(action)[:SAMPLE]
        return short if self.env.action_space.contains(short) else str(action)

    def fits(self, observation: Any) -> bool | None:
        return bool(self.env.observation_space.contains(observation))

    def admits(self, action: Any) -> bool | None:
        return bool(self.env.action_space.contains(action)) if self.talks else None


def _jsonable(space: gym.Space[Any], action: Any) -> Any:
    import json

    return json.loads(json.dumps(space.to_jsonable([action]), default=lambda value: value.tolist()))


def _is_text(space: gym.Space[Any]) -> bool:
    return isinstance(space, gym.spaces.Text) or type(space).__name__ == "Utterance"
