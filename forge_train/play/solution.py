"""What a world tells of a task to who makes training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Call = tuple[str, Mapping[str, Any]]
"""Name and arguments."""


@dataclass(frozen=True)
class Solution:
    """What a world tells of a task to who makes training data; it is never shown to a player."""

    parse: Callable[[str], Any]
    """Its grammar: an action with `calls` (`name`, `arguments`) and `error`, None if it could be read."""
    gold: Sequence[str]
    writers: frozenset[str]
    """Names of the tools that can change the world."""

    @cached_property
    def calls(self) -> list[Call]:
        """The calls of gold, in order."""
        return [call for action in self.gold for call in self.calls_in(action)]

    @property
    def reads_only(self) -> bool:
        """Whether gold changes nothing."""
        return not any(name in self.writers for name, _ in self.calls)

    def calls_in(self, action: str) -> list[Call]:
        """The calls that an action makes."""
        return [(call.name, call.arguments) for call in self.parse(action).calls]


def solution_of(env: Any, task: str) -> Solution | None:
    """What an environment tells of a task: its gold, its grammar and its tools; None where it lacks one.

    Its episode in play, if any, is not touched.
    """
    asked = ("find", "gold_actions", "grammar_for", "toolbox", "tools")
    if not all(hasattr(env, name) for name in asked):
        return None
    try:
        found, gold = env.find(task), env.gold_actions(task)
    except ValueError:  # an exercise whose solution nobody has written, for example
        return None
    box = env.toolbox(found)
    tools = env.tools if box is None else box.tools
    writers = frozenset(name for name, tool in tools.items() if tool.writes)
    return Solution(env.grammar_for(found).parse, tuple(gold), writers)
