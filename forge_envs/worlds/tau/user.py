"""The customer of τ²-bench as its own runner plays them: its guidelines, its form of the notes, its marks.

Scores of a model agent compare with published ones only if the customer is played this way; the customer of
`forge_envs.people.users` follows rules of our own.
"""

from __future__ import annotations

import functools
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.errors import MachineError
from forge_envs.grammars import HERMES
from forge_envs.people.chat import Chat
from forge_envs.people.users import ENDINGS, SILENCE
from forge_envs.worlds.tau.customer import CountedHands
from forge_envs.worlds.tau.files import read_text
from forge_envs.worlds.tau.task import GREETING

LEAVES = "(The customer leaves.)"
"""What the agent is shown of a customer whose first line has a mark and nothing else."""


def guidelines(folder: Path, *, tools: bool) -> str:
    """The official guidelines, which lie beside a benchmark's domains. Raises ValueError."""
    name = "simulation_guidelines_tools.md" if tools else "simulation_guidelines.md"
    tried = [above / "user_simulator" / name for above in (folder.parent, folder.parent.parent)]
    for path in tried:
        if path.is_file():
            return read_text(path).replace("<PERSONA_GUIDELINES>", "")
    raise ValueError(
        f"protocol='official' needs the guidelines of τ²-bench, and there are none at {tried[0]} or "
        f"{tried[1]}: give the path of a whole checkout"
    )


def scenario(persona: str | None, told: str | Mapping[str, Any]) -> str:
    """A task's notes in the form in which the official runner shows them.

    >>> scenario(None, "Cancel it.")
    'Instructions:\\n\\tCancel it.'
    """
    if not isinstance(told, str):
        heads = {
            "Reason for call": told["reason_for_call"],
            "Known info": told.get("known_info"),
            "Unknown info": told.get("unknown_info"),
            "Task instructions": told["task_instructions"],
        }
        parts = [f"Domain: {told.get('domain', '')}"]
        for head, text in heads.items():
            parts += [] if text is None else [f"{head}:", textwrap.indent(text, "\t")]
        told = "\n".join(parts)
    lines = [] if persona is None else ["Persona:", textwrap.indent(persona, "\t")]
    return "\n".join([*lines, "Instructions:", textwrap.indent(told, "\t")])


@dataclass
class OfficialUser:
    """A `User` played by a chat model by the official protocol.

    The agent greets first. A mark anywhere in a line ends the talk. Tools are offered and called natively;
    what is said beside a call is said to nobody.
    """

    prompt: str
    chat: Chat
    seed: int = 0
    hands: CountedHands | None = None
    said: list[dict[str, Any]] = field(default_factory=list)
    """The talk from the customer's side, in the OpenAI form."""
    ended: str | None = None
    """Why the customer left; None while they are there."""

    @property
    def last(self) -> str:
        """What was said last, marks and all."""
        return str(self.said[-1]["content"])

    def open(self) -> str:
        """The first line; it depends on the task alone. Raises MachineError."""
        self.said, self.ended = [{"role": "user", "content": GREETING}], None
        line = self._speak(self.chat.first)
        if not self.ended:
            return line
        for mark in ENDINGS:
            line = line.replace(mark, "")
        return line.strip() or LEAVES

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the customer leaves. Raises MachineError."""
        if self.ended:
            return None
        self.said = [*self.said, {"role": "user", "content": text or SILENCE}]
        line = self._speak(functools.partial(self.chat.say, seed=self.seed))
        return None if self.ended else line

    def _speak(self, ask: Callable[..., str]) -> str:
        system = {"role": "system", "content": self.prompt}
        tools = [] if self.hands is None else [tool.schema for tool in self.hands.tools.values()]
        talk, made = self.said, 0
        while True:
            line = ask([system, *talk], tools=tools)
            action = HERMES.parse(line)
            if self.hands is None or not action.calls:
                break
            if (made := made + len(action.calls)) > _MOST_CALLS:
                what = f"the customer made more than {_MOST_CALLS} calls and said nothing"
                raise MachineError(what, kind="rubbish", stage="user", retryable=False)
            first = len(talk)
            calls = [
                {
                    "id": f"call_{first}_{n}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for n, call in enumerate(action.calls)
            ]
            self.hands.rounds += 1
            results = [
                {"role": "tool", "tool_call_id": made_call["id"], "content": self.hands.use(call)}
                for made_call, call in zip(calls, action.calls, strict=True)
            ]
            talk = [*talk, {"role": "assistant", "content": action.prose, "tool_calls": calls}, *results]
        self.said = [*talk, {"role": "assistant", "content": line}]
        self.ended = next((why for mark, why in ENDINGS.items() if mark in line), None)
        return line


_MOST_CALLS = 100
