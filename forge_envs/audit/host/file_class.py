"""A class in a file, for an environment of no kind known here: `wrapper.py:Name`.

The class takes the arguments and has what `source.Origin` has, as far as it wishes: `make()` gives an object
with `reset(seed, task) -> (observation, info)`, `step(text) -> (observation, reward, terminated, truncated,
info)` and `close()`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from forge_envs.audit.host.source import Origin
from forge_envs.audit.host.text_env import TextEnv


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source that the class makes."""
    path, _, wanted = name.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return FileSource(getattr(module, wanted)(**args))


class FileSource(Origin):
    """What the class tells, and nothing where it is silent."""

    def __init__(self, given: Any) -> None:
        self.given = given
        for name in ("talks", "deterministic", "top", "bounds"):
            if hasattr(given, name):
                setattr(self, name, getattr(given, name))

    def make(self) -> FileEnv:
        return FileEnv(self.given.make())

    def tasks(self, n: int) -> list[str]:
        return list(self.given.tasks(n)) if hasattr(self.given, "tasks") else []

    def gold(self, task: str | None, seed: int) -> list[str] | None:
        return self.given.gold(task, seed) if hasattr(self.given, "gold") else None


class FileEnv(TextEnv):
    """One session of it."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed, task)  # type: ignore[no-any-return]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self.env.step(action)  # type: ignore[no-any-return]

    def close(self) -> None:
        self.env.close()

    def sample(self, seed: int) -> Any:
        return self.env.sample(seed) if hasattr(self.env, "sample") else super().sample(seed)
