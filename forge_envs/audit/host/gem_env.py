"""An env of GEM: texts in and out, with what `info` puts around the observation."""

from __future__ import annotations

import contextlib
from typing import Any

import gem

from forge_envs.audit.host.source import Origin
from forge_envs.audit.host.text_env import TextEnv


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source of `gem.make(name, **args)`."""
    return GemSource(name, args)


class GemSource(Origin):
    """Makes envs of one id."""

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        self.name, self.args = name, args
        self.make().close()

    def make(self) -> GemEnv:
        return GemEnv(gem.make(self.name, **self.args))


class GemEnv(TextEnv):
    """One env."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        text, info = self.env.reset(seed=seed)
        return _whole(text, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        text, reward, terminated, truncated, info = self.env.step(action)
        return _whole(text, info), reward, terminated, truncated, info

    def sample(self, seed: int) -> Any:
        if seed % 2 and hasattr(self.env, "sample_random_action"):
            with contextlib.suppress(NotImplementedError):
                return str(self.env.sample_random_action())
        return super().sample(seed)

    def close(self) -> None:
        if hasattr(self.env, "close"):
            self.env.close()


def _whole(text: Any, info: dict[str, Any]) -> str:
    return f"{info.get('prefix', '')}{text}{info.get('suffix', '')}"
