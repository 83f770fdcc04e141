"""Attacks on Forge/Polyglot-v0: the files of an answer each, for the exercises of one language."""

from __future__ import annotations

from collections.abc import Callable

from forge_envs.red_team.attack import Attack
from forge_envs.worlds.polyglot.exercise import Exercise

PolyglotAttack = Attack[Exercise, dict[str, str]]


def in_front(language: str, code: str) -> Callable[[Exercise], dict[str, str] | None]:
    """An attack that puts code before the first file that the agent is given."""

    def make(task: Exercise) -> dict[str, str] | None:
        if task.language != language:
            return None
        path, text = next(iter(task.stubs.items()))
        return {path: f"{code}\n{text}"}

    return make
