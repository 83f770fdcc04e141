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

LEAVES = "(The customer leaves without a word.)"
"""What the agent is shown of a user whose first line is a mark and nothing else."""

REMINDER = "(You said nothing. Say your next line to the agent, or write a mark if you leave.)"
"""What a model is told that gave an empty reply."""

MOST_CALLS = 20
"""Calls of its own tools that a model may make at once, and times it may make some before it speaks."""

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
    """Why the user left, "stop", "transfer" or "out_of_scope"; None while they are there."""
    hands: Hands | None = None
    """Tools of their own, in worlds of dual control."""

    def open(self) -> str:
        """The first line; it depends on the task alone. Raises MachineError."""
        heard: Talk = [{"role": "user", "content": GREETING}]
        self.ended = None
        if self.brief.opening:
            line = self.brief.opening
            self.said = [*heard, {"role": "assistant", "content": line}]
            return line
        # Asked for once in a process: a group shares its opening.
        self.said, line = self._speak(heard, self.chat.first)
        self.ended = _ending(line)
        return (_without_marks(line) or LEAVES) if self.ended else line

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the user leaves. Raises MachineError."""
        if self.ended:  # with the first line
            return None
        heard = [*self.said, {"role": "user", "content": text or SILENCE}]
        self.said, line = self._speak(heard, functools.partial(self.chat.say, seed=self.seed))
        self.ended = _ending(line)
        return None if self.ended else line

    def _speak(self, talk: Talk, ask: Callable[..., str]) -> tuple[Talk, str]:
        """What is next said to the agent, and the talk with it and with what was done before it.

        What was said beside calls is said, too; it is all there is when nothing follows the calls.
        """
        beside: list[str] = []
        for _ in range(MOST_CALLS + 1):
            line = self._line(talk, ask)
            if not line:
                if not beside:
                    what = f"{self.chat.spec.url}: an empty reply, and another one after a reminder"
                    raise MachineError(what, kind="empty", stage="user", retryable=True)
                said = "\n\n".join(beside)
                return [*talk, {"role": "assistant", "content": said}], said
            talk = [*talk, {"role": "assistant", "content": line}]
            prose, results = self._use_hands(line)
            if not results:
                before = map(_without_marks, beside)  # they stayed to see what came of it
                return talk, "\n\n".join([*(one for one in before if one not in line), line])
            talk = [*talk, {"role": "user", "content": results}]
            if prose:
                beside.append(prose)
        what = f"the user made more than {MOST_CALLS} calls and said nothing"
        raise MachineError(what, kind="rubbish", stage="user", retryable=False)

    def _line(self, talk: Talk, ask: Callable[..., str]) -> str:
        """The model's next line; after an empty one it is reminded once. "" if that does not help."""
        line = ask([self._system, *talk], may_be_empty=True)
        if line:
            return line
        last = talk[-1]  # in one message: many templates want the roles to take turns
        reminded = {**last, "content": f"{last['content']}\n\n{REMINDER}"}
        return ask([self._system, *talk[:-1], reminded], may_be_empty=True)

    def _use_hands(self, line: str) -> tuple[str, str]:
        """The prose of a line and what its calls came to, "" for a line without any."""
        if self.hands is None:
            return line, ""
        action = HERMES.parse(line)
        if action.error is not None:
            results = [f"Error: {action.error}. Nothing was done."]
        elif len(action.calls) > MOST_CALLS:
            results = [f"Error: more than {MOST_CALLS} calls at once. Nothing was done."]
        else:
            results = [self.hands.use(call) for call in action.calls]
        told = "\n".join(f"<tool_response>\n{result}\n</tool_response>" for result in results)
        return action.prose, told

    @property
    def _system(self) -> dict[str, str]:
        hands = "" if self.hands is None else f"\n\n{self.hands.prompt}"
        return {"role": "system", "content": f"{self.brief.prompt}{hands}"}


def has_left(user: User) -> bool:
    """Whether a user left with what they said last, as a model may with its first line."""
    return getattr(user, "ended", None) is not None


def _ending(line: str) -> str | None:
    """Why a line ends the talk."""
    return next((why for mark, why in ENDINGS.items() if mark in line), None)


def _without_marks(line: str) -> str:
    for mark in ENDINGS:
        line = line.replace(mark, "")
    return line.strip()
