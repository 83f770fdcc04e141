"""An entry of BFCL, as it is played: a dialogue over simulated systems, or one question with functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_envs.env import Task
from forge_envs.messages import Message, ToolCall
from forge_envs.worlds.bfcl.categories import Category, Version


@dataclass(frozen=True)
class BfclTask(Task):
    """One entry. `id` is "bfcl_<version>/<official id>"."""

    official: str
    """Its id in the files."""
    version: Version
    category: Category
    tools: tuple[dict[str, Any], ...]
    """Schemas of the functions that are offered first."""
    wrong: str
    """Why no agent can win it, by the official rule; "" if one can."""

    @property
    def group(self) -> int:
        """Entries that belong together have the same: variants of a dialogue, prompts for one function."""
        numbers = re.findall(r"\d+", self.official)
        return int(numbers[-2] if len(numbers) == 3 else numbers[-1])


@dataclass(frozen=True)
class Dialogue(BfclTask):
    """An entry of a multi-turn category."""

    turns: tuple[tuple[Message, ...], ...]
    """What the user says in each turn, and in one of them which functions come along."""
    systems: tuple[str, ...]
    """Class names of the simulated systems."""
    config: Mapping[str, Any]
    """How each of them starts."""
    gold: tuple[tuple[ToolCall, ...], ...]
    """The official calls by turn."""

    @property
    def long_context(self) -> bool:
        """Whether the systems are filled with official filler data."""
        return "long_context" in self.category.name


@dataclass(frozen=True)
class OneShot(BfclTask):
    """An entry of a single-turn category."""

    messages: tuple[Message, ...]
    functions: tuple[dict[str, Any], ...]
    """As the files describe them, which is what the verdict goes by."""
    answers: tuple[dict[str, dict[str, list[Any]]], ...]
    """The calls, each with the accepted values of its arguments; empty where no call or any is right."""
