"""Whether the customer of a published task keeps to their notes, as far as ids and codes tell.

Published notes are free text, so only what has a form of its own is looked at: emails, codes, numbers of five
digits and more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from forge_envs.messages import ToolCall
from forge_envs.tools import Tool
from forge_envs.worlds.tau.task import TauTask

_KINDS = {
    "email": (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", "mail"),
    "user id": (r"\b[a-z]+_[a-z]+_\d{4}\b", "user id|username|user name|your id|account"),
    "zip": (r"(?<![\w.$#-])\d{5}(?![\w-]|\.\d)", "zip|postal|postcode|address|name"),
    "order": (r"\bw\d{7}\b", "order"),
    "payment method": (r"\b(?:credit_card|gift_card|paypal|certificate)_\d{7}\b", "pay|card|method|refund"),
    "item": (r"(?<!\d)\d{10}(?!\d)", "item|product|option"),
    "reservation": (r"\b(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{6}\b", "reservation|booking|confirmation"),
    "flight": (r"\bhat\d{3}\b", "flight"),
}
"""Kind -> its form, and words with which an agent asks for it; all in lower case."""
_FORMS = {kind: re.compile(form) for kind, (form, _) in _KINDS.items()}
_ASKS = {kind: re.compile(f"{words}|identi|verif|information|details") for kind, (_, words) in _KINDS.items()}


def _codes(text: str) -> set[tuple[str, str]]:
    """(kind, value) of everything in lower-case text that has a form of its own."""
    return {(kind, value) for kind, form in _FORMS.items() for value in form.findall(text)}


class TauWatch:
    """Follows one conversation of a published task; a `forge_envs.people.fidelity.Watch`."""

    def __init__(self, task: TauTask, tools: Mapping[str, Tool]) -> None:
        brief = task.brief
        self._tools = tools
        goal = _codes(brief.goal.lower())
        self._known = goal | _codes(f"{brief.persona}\n{brief.instructions}".lower())
        self._facts = self._known - goal
        self._asked: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        """What the agent has said itself."""
        self._wants = any(self._writes(gold.call) for gold in task.gold or ())
        self._done = False
        self._agent = ""

    def call(self, call: ToolCall) -> None:
        """The agent made a call, which the user does not see."""
        self._done = self._done or self._writes(call)

    def hear(self, prose: str) -> None:
        """The agent said something to the user."""
        text = prose.lower()
        self._asked |= {kind for kind, asks in _ASKS.items() if asks.search(text)}
        self._told |= _codes(text)
        self._agent = prose

    def say(self, line: str) -> Iterator[tuple[str, str]]:
        """The user said something; what is wrong with it, as (fault, why)."""
        for kind, value in sorted(_codes(line.lower()) - self._told):
            if (kind, value) not in self._known:
                yield "contradiction", f"said {kind} {value!r}, which is not in the notes"
            elif (kind, value) in self._facts and kind not in self._asked:
                yield "early_disclosure", f"told {kind} unasked: {value}"

    def leave(self) -> Iterator[tuple[str, str]]:
        """The user left on what was said last; what is wrong with that."""
        if self._wants and not self._done and self._agent.rstrip().endswith("?"):
            yield "premature_stop", "left on a question, and nothing of what they came for was done"

    def _writes(self, call: ToolCall) -> bool:
        return call.name in self._tools and self._tools[call.name].writes
