"""The other party of a conversation: whoever the agent serves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from forge_envs.errors import MachineError
from forge_envs.grammars import HERMES
from forge_envs.people.chat import Chat
from forge_envs.people.hands import Hands


class User(Protocol):
    """Speaks first, then answers the agent's prose. State is the user's own and pickles."""

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        ...

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the user leaves.

        Raises MachineError when what the user runs on fails.
        """
        ...


@dataclass(slots=True)
class ScriptedUser:
    """A `User` who says fixed lines, whatever the agent says, and leaves after the last.

    For tests and first drafts of a world; one that listens is `forge_envs.worlds.desk.customer.Customer`.

    >>> user = ScriptedUser(["Cancel order #W1.", "Yes."])
    >>> user.open(), user.reply("Shall I?"), user.reply("Done.")
    ('Cancel order #W1.', 'Yes.', None)
    """

    lines: Sequence[str]
    at: int = 0
    """Lines said so far."""

    def __post_init__(self) -> None:
        if not self.lines:
            raise ValueError("lines is empty: a user speaks first, so give at least one")

    def open(self) -> str:
        """The first line."""
        self.at = 1
        return self.lines[0]

    def reply(self, text: str) -> str | None:
        """The next line; None after the last."""
        if self.at >= len(self.lines):
            return None
        self.at += 1
        return self.lines[self.at - 1]


ENDINGS = {"###STOP###": "stop", "###TRANSFER###": "transfer", "###OUT-OF-SCOPE###": "out_of_scope"}
"""What a model says to leave, and why; the spellings are those of τ²-bench."""

GREETING = "Hello, what can I do for you?"
"""The agent's line before the user's first: chat templates want somebody else to begin."""

SILENCE = "(The agent says nothing.)"

MOST_CALLS = 20
"""Calls of its own tools that a model may make before it says something."""

RULES = """You play a customer who talks to a service agent. You are not the agent: never do its work.

How you talk
- One short message at a time, in plain everyday words. Say what your notes mean in your own words.
- Ask for one thing at a time, in the order of your notes, and go on when it is settled.
- Give a detail only when the agent asks for it. Do not list what you know.
- Know nothing beyond your notes. What they do not hold, you do not remember: say so, invent nothing.
- Stay with your notes whatever the agent proposes. Confirm only what they ask for; correct what differs.

How it ends: write one of these marks, and nothing after it.
- ###STOP### once everything you wanted is settled, by being done or by a refusal that you accept.
- ###TRANSFER### when the agent hands you over to somebody else.
- ###OUT-OF-SCOPE### when the agent needs something that your notes do not tell and the talk cannot go on.
Never write a mark before that, and never together with a new question."""
"""What every model that plays a user is told: the protocol of τ²-bench in words of our own."""


@dataclass(frozen=True)
class Brief:
    """The notes of one user. Nothing in it is for the agent's eyes."""

    persona: str
    """Who they are, and what they can tell about themselves when asked."""
    goal: str
    """What they want, one thing after the other."""
    instructions: str = ""
    """How they behave on the way."""
    opening: str = ""
    """Their first line; "" lets the model find one, the same for everybody who plays this task."""

    @property
    def prompt(self) -> str:
        """All of it, as the system message."""
        parts = {"Who you are": self.persona, "What you want": self.goal, "How you act": self.instructions}
        notes = [f"{title}\n{text.strip()}" for title, text in parts.items() if text.strip()]
        return "\n\n".join([RULES, "Your notes", *notes])


Talk: TypeAlias = list[dict[str, str]]
"""A conversation from the user's side."""


@dataclass
class ModelUser:
    """A `User` played by a chat model. It hears the agent's prose alone, no thoughts and no calls."""

    brief: Brief
    chat: Chat
    seed: int = 0
    """Decides the replies, as far as the endpoint keeps its word; the opening depends on the brief alone."""
    said: Talk = field(default_factory=list)
    """The agent's lines as `user`, their own as `assistant`, and between them what their hands did."""
    ended: str | None = None
    """Why the user left: "stop", "transfer" or "out_of_scope"."""
    hands: Hands | None = None
    """Tools of their own, in worlds of dual control."""

    def open(self) -> str:
        """The first line; it depends on the task alone. Raises MachineError."""
        heard: Talk = [{"role": "user", "content": GREETING}]
        if self.brief.opening:
            line = self.brief.opening
            self.said = [*heard, {"role": "assistant", "content": line}]
            return line
        # Asked for once in a process: a group shares its opening.
        self.said, line = self._speak(heard, self.chat.first)
        if any(mark in line for mark in ENDINGS):
            raise MachineError(
                f"the user left with the first line: {line[:80]!r}",
                kind="rubbish", stage="user", retryable=False,
            )  # fmt: skip
        return line

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the user leaves. Raises MachineError."""
        heard = [*self.said, {"role": "user", "content": text or SILENCE}]
        self.said, line = self._speak(heard, functools.partial(self.chat.say, seed=self.seed))
        self.ended = next((why for mark, why in ENDINGS.items() if mark in line), None)
        return None if self.ended else line

    def _speak(self, talk: Talk, ask: Callable[[Talk], str]) -> tuple[Talk, str]:
        """The next line that is for the agent, and the talk with it and with what was done before it."""
        for _ in range(MOST_CALLS + 1):
            line = ask([self._system, *talk])
            talk = [*talk, {"role": "assistant", "content": line}]
            results = self._use_hands(line)
            if results is None:
                return talk, line
            talk = [*talk, {"role": "user", "content": results}]
        what = f"the user made more than {MOST_CALLS} calls and said nothing"
        raise MachineError(what, kind="rubbish", stage="user", retryable=False)

    def _use_hands(self, line: str) -> str | None:
        """What calls in a line came to, None for a line that is said."""
        if self.hands is None:
            return None
        action = HERMES.parse(line)
        if action.error is not None:
            results = [f"Error: {action.error}. Nothing was done."]
        else:
            results = [self.hands.use(call) for call in action.calls]
        return "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in results) or None

    @property
    def _system(self) -> dict[str, str]:
        hands = "" if self.hands is None else f"\n\n{self.hands.prompt}"
        return {"role": "system", "content": f"{self.brief.prompt}{hands}"}
