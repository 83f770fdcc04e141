"""The stand-in for the customer of a published task, whom only a model could play as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forge_envs.messages import ToolCall
from forge_envs.people.hands import Hands
from forge_envs.people.users import Brief
from forge_envs.tools import Tool
from forge_envs.worlds.tau.tools import official_tools

PATIENCE = 4
"""Turns in which nothing is said, after which the customer leaves."""


@dataclass(slots=True)
class PlainCustomer:
    """A `User` who tells their whole case at once, agrees to whatever is asked, and takes anything else as
    the last word.

    >>> customer = PlainCustomer(Brief(persona="", goal="You want to cancel order #W1."))
    >>> customer.open()
    'Please help me. My case is this.\\nYou want to cancel order #W1.'
    >>> customer.reply("Shall I cancel #W1?"), customer.reply("It is cancelled.")
    ('Yes, please.', None)
    """

    brief: Brief
    patience: int = PATIENCE

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        notes = (self.brief.persona, self.brief.goal, self.brief.instructions)
        return "\n".join(["Please help me. My case is this.", *(text for text in notes if text)])

    def reply(self, text: str) -> str | None:
        """Yes to a question; None to anything else, and after too much silence."""
        if text:
            return "Yes, please." if text.endswith("?") else None
        self.patience -= 1
        return "Hello? Are you there?" if self.patience > 0 else None


@dataclass
class CountedHands(Hands):
    """Hands with tools as the official code has them, whose rounds and refusals are counted: they count
    against the limits of an episode.
    """

    refused: int = 0
    rounds: int = 0
    """Times that calls were made before anything was said again."""

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The customer's tools by name, which take any values."""
        return official_tools(type(self.toolkit))

    def use(self, call: ToolCall) -> str:
        """Do it; the result or the refusal, as the customer reads it."""
        result = super().use(call)
        self.refused += result.startswith("Error: ")
        return result
