"""Exercises of our own: two tasks in each of six languages, with hidden tests and a solution."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.worlds.polyglot.exercise import Exercise

PREFIX = "forge"


class Builtin:
    """The built-in exercises."""

    def ids(self, language: str, split: str | None = None) -> list[str]:
        """Ids of a language's exercises."""
        prompts = _load("prompts")
        names = [e["name"] for e in _load(language)["exercise"]]
        return [f"{PREFIX}/{language}/{n}" for n in names if split in (None, prompts[n]["split"])]

    def find(self, task_id: str) -> Exercise:
        """The exercise of an id such as "forge/go/water-meter". Raises TaskError."""
        found = _exercises().get(task_id)
        if found is None:
            raise TaskError(f"unknown task {task_id!r}; tasks are called like {next(iter(_exercises()))!r}")
        return found


@cache
def _exercises() -> dict[str, Exercise]:
    made = (
        _make(language, entry, _load(language).get("shared", {}))
        for language in ("python", "javascript", "go", "rust", "java", "cpp")
        for entry in _load(language)["exercise"]
    )
    return {exercise.id: exercise for exercise in made}


def _make(language: str, entry: dict[str, Any], shared: dict[str, str]) -> Exercise:
    name, support = entry["name"], {**shared, **entry.get("support", {})}
    return Exercise(
        id=f"{PREFIX}/{language}/{name}",
        language=language,
        name=name,
        prompt=f"{_load('prompts')[name]['text'].strip()}\n\n{entry['append'].strip()}",
        stubs=entry["stubs"],
        tests=entry["tests"],
        support={path: text.encode() for path, text in support.items()},
        example=entry["example"],
    )


@cache
def _load(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
