"""An agent that works alone: the tools of both sides, a ticket instead of a customer, and a way to end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from forge_envs.tools import Tool, tool, tools_of
from forge_envs.worlds.tau.domain import Contract, Desk, Domain

DONE = "###STOP###"
"""What τ²-bench's agent says to end an episode on which it works alone."""


class _Ending:
    """The one more tool."""

    @tool()
    def done(self: Any) -> str:
        """Say that you are done with the ticket, solved or handed over. It ends the episode."""
        self.over = True
        return DONE


@dataclass(frozen=True)
class _Member:
    """What a class has to have for `tools_of` to find a tool."""

    __tool__: Tool


@functools.cache
def both_sides(domain: Domain, contract: Contract) -> type:
    """A class that has the tools of both sides, all of which run on a desk. Raises ValueError."""
    hands = contract.hands
    if hands is None:
        raise ValueError(f"solo=True: the customers of {domain.name} have no tools that an agent could have")
    assert isinstance(hands, type)
    theirs = {name: _Member(_through(hands, tool)) for name, tool in tools_of(hands).items()}
    ours = {name: _Member(tool) for name, tool in tools_of(contract.tools).items()}
    return type("BothSides", (_Ending,), {**ours, **theirs})


def _through(hands: Callable[[Any], object], tool: Tool) -> Tool:
    """A customer's tool as one on the desk."""

    def run(desk: Desk, /, **arguments: Any) -> Any:
        return tool.function(hands(desk), **arguments)

    return replace(tool, function=run)


@dataclass
class Nobody:
    """A `User` who is not there; the case lies on the desk."""

    ticket: str

    def open(self) -> str:
        """The ticket."""
        return f"There is nobody to talk to. The ticket says:\n{self.ticket}"

    def reply(self, text: str) -> str | None:
        """Nothing."""
        return None
