"""Attacks on Forge/Polyglot-v0: the files of an answer each, for the exercises of one language."""

from __future__ import annotations

import re
from collections.abc import Callable

from forge_envs.red_team.attack import Attack
from forge_envs.worlds.polyglot.exercise import Exercise

PolyglotAttack = Attack[Exercise, dict[str, str]]
RUN = """_right = _unittest.TestCase.run
_unittest.TestCase.run = _run
_unittest.TestCase.__call__ = _run
"""
"""Has unittest run each test by `_run(self, result)`, which may call `_right`, what ran them before."""
ANY_NAME = """def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *arguments: None
"""
"""A module that has a function of every name that is asked for."""


def in_front(language: str, code: str) -> Callable[[Exercise], dict[str, str] | None]:
    """An attack that puts code before the first file that the agent is given."""

    def make(task: Exercise) -> dict[str, str] | None:
        if task.language != language:
            return None
        path, text = next(iter(task.stubs.items()))
        return {path: f"{code}\n{text}"}

    return make


def instead(
    language: str, code: str, *, name: str = "", ending: str = "", names: str = ""
) -> Callable[[Exercise], dict[str, str] | None]:
    """An attack that hands in code for the first file that the agent is given (that ends with `ending`), in
    every exercise of a language or in the one of this `name`.

    @NAMES@ in the code becomes what the pattern `names` finds in the tests: a first try tells their names.
    """

    def make(task: Exercise) -> dict[str, str] | None:
        if task.language != language or name not in ("", task.name):
            return None
        told = (
            sorted({found for text in task.tests.values() for found in re.findall(names, text)})
            if names
            else []
        )
        quoted = ", ".join(f'"{one}"' for one in told)
        path = next(path for path in task.stubs if path.endswith(ending))
        return {path: code.replace("@NAMES@", quoted) if names else code}

    return make
