"""Who comes to a desk: their words, the scripted customer, and the listener beside one that a model plays.

The scripted customer answers what is asked, confirms what is right, insists, changes their mind, leaves. They
understand what is meant (`hearing`), so a paraphrase works as well as the gold's words. All state is
`Customer`'s fields.
"""

from __future__ import annotations

import functools
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import ClassVar, TypeAlias

from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief
from forge_envs.worlds.desk.goals import DeskTask, Goal
from forge_envs.worlds.desk.hearing import Ear, Heard, Question

PATIENCE = 4
"""Useless turns after which the customer leaves."""
GRACE = 3
"""Turns of manners, or about a plan, that cost nothing while one request is in hand."""
Find: TypeAlias = Callable[[str], set[str]]
"""All values of one kind in lower-case text."""

_ENDLESS = 1 << 30
_MANNERS = """Agree to a change with "yes" once the agent has listed it and it is what you want.
When the agent says clearly that something cannot be done, accept it and go on, except where you insist.
You have said the first thing already."""


@functools.cache
def lines(package: str) -> dict[str, list[str]]:
    """Place -> sentences that may stand there, from a world's lines.toml."""
    text = resources.files(package).joinpath("lines.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def choose(package: str, place: str, voice: int, tiny: bool, **words: str) -> str:
    """A world's sentence for a place; `voice`, a large number of the task, picks it."""
    options = lines(package)[place][:2] if tiny else lines(package)[place]
    return options[voice // (1 + len(place)) % len(options)].format(**words)


def listing(parts: Sequence[str]) -> str:
    """Parts in one phrase.

    >>> listing(["your email", "the reason", "the new address"])
    'your email, the reason and the new address'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


@dataclass(slots=True)
class Customer(ABC):
    """A `User`: says the first goal's request, then replies until all goals are settled.

    A world says what its customers understand and tell, and what they mind.
    """

    facts: ClassVar[Mapping[str, Callable[[str], set[str]]]] = {}
    """Facts a customer may ask for -> all values of that kind in lower-case text. Naming several tells
    none."""

    task: DeskTask
    at: int = 0
    """Index of the goal in hand."""
    patience: int = PATIENCE
    grace: int = GRACE
    pushed: bool = False
    """Already insisted on the goal in hand."""
    heard: dict[int, str] = field(default_factory=dict)
    """Goal index -> what the agent said about it: a fact's value, "refused" or "done"."""
    told: int = 0
    """How many of the things they must hear the customer has heard, and truly."""
    listed: str = ""
    """What the agent last said that names the request in hand: a bare "Shall I go ahead?" means that."""

    @property
    @abstractmethod
    def ear(self) -> Ear:
        """What they understand."""

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        return self.task.goals[0].request

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the customer leaves."""
        if not text:
            return self._puzzled("Hello? Are you there?")
        goal = self.task.goals[self.at]
        heard = self.ear.listen(text)
        answer = self._listen(goal, heard)
        return self._answer(goal, heard) if answer == "" else answer

    # -- what the agent claims -------------------------------------------------------------------

    def _listen(self, goal: Goal, heard: Heard) -> str | None:
        """React to what was stated; "" if nothing stated settles the goal in hand."""
        refused = self.ear.refuses(goal.kind, heard)
        if goal.fact and not (goal.forbidden and refused):
            values = self._stated(goal, heard.claims)
            if len(values) > 1:
                return self._puzzled("Which one is it?")
            if values:
                return self._settle(values.pop())
        done = goal.call is not None and self.ear.finished(goal.kind, heard)
        if refused and not (done and not goal.forbidden):
            return self._refused(goal)
        return self._settle("done") if done else ""

    def _stated(self, goal: Goal, claims: str) -> set[str]:
        """All values of what a goal asks for that were stated."""
        return self.facts[goal.fact](claims)

    def _refused(self, goal: Goal) -> str | None:
        if goal.forbidden:
            self._note("refused")
            if not goal.insists or self.pushed:
                return self._settle("refused")
            self.pushed = True
            return "Please make an exception."
        if self.pushed:
            return self._settle("given up")
        self.pushed = True
        return f"I am sure that it is possible. {goal.request}"

    def _note(self, what: str) -> None:
        self.heard[self.at] = what
        goals = self.task.goals
        self.told = sum(bool(goals[n].truth) and said == goals[n].truth for n, said in self.heard.items())

    def _settle(self, what: str) -> str | None:
        """Note what was heard; go on to the next goal, or leave."""
        self._note(what)
        self._go_on()
        if self.at == len(self.task.goals):
            self.at -= 1
            return None
        return f"Thanks. {self.task.goals[self.at].request}"

    def _go_on(self) -> None:
        """To the next goal, of which nothing was said yet."""
        self.at += 1
        self.pushed, self.listed, self.grace = False, "", GRACE

    # -- what the agent asks ---------------------------------------------------------------------

    def _answer(self, goal: Goal, heard: Heard) -> str | None:
        lists = self._lists(goal, heard)
        if lists:
            self.listed = heard.text
        asked = heard.questions
        if not asked and not self.listed:  # there is nothing to say yes to: "Could I start with your email?"
            asked = heard.wanted
        told: list[str] = []
        for question in asked:
            for line in self._tell(goal, question):
                if line and line not in told:
                    told.append(line)
        if told:
            return " ".join(told)
        if heard.confirm:
            return self._confirm(goal, heard)
        if self.grace and (heard.more or heard.manners or lists):
            self.grace -= 1
            return goal.request if heard.more else "I am listening."
        return self._puzzled(goal.request if heard.more else f"I do not understand. {goal.request}")

    def _lists(self, goal: Goal, heard: Heard) -> bool:
        """Whether what was said names the request in hand, or all that carrying it out would change."""
        named = not self.ear.names[goal.kind].isdisjoint(heard.stems)
        return named or (goal.call is not None and self._values(goal, goal.call, heard))

    @abstractmethod
    def _values(self, goal: Goal, call: ToolCall, heard: Heard) -> bool:
        """Whether all that tells this call from others of its kind was said: its name is not missed."""

    @abstractmethod
    def _tell(self, goal: Goal, question: Question) -> Iterator[str]:
        """The answers to the topics a question names; "" where there is none."""

    @abstractmethod
    def _mind(self, goal: Goal, call: ToolCall, heard: Heard) -> str | None:
        """What is wrong with what the agent is about to do; None if that is the call they want."""

    def _confirm(self, goal: Goal, heard: Heard) -> str | None:
        """Yes, if what was listed is what they want; else what is wrong with it."""
        if goal.call is None:
            return self._puzzled(f"Yes. {goal.request}")
        if self.listed not in ("", heard.text):  # it was listed before, and this lists nothing
            heard = self.ear.listen(f"{self.listed}\n{heard.text}")
        wrong = self._mind(goal, goal.call, heard)
        if wrong is not None:
            return self._puzzled(wrong)
        if goal.withdrawn:
            self._go_on()
            return f"Wait, I changed my mind. {self.task.goals[self.at].request}"
        return "Yes."

    def objection(self, heard: Heard) -> str | None:
        """What is wrong with what the agent asks a yes for; None if nothing is, or it is not clear what."""
        goal = self.task.goals[self.at]
        wrong = None if goal.call is None else self._mind(goal, goal.call, heard)
        return wrong if wrong is not None and wrong.startswith("No") else None

    def _puzzled(self, line: str) -> str | None:
        """A useless turn: say so, and leave when there were too many."""
        self.patience -= 1
        return line if self.patience > 0 else None


class Listener(Customer):
    """Hears what a scripted customer would have heard, says nothing, and never loses patience.

    So the verdict listens to the agent by one rule, whoever plays the customer. It takes the goals in their
    order, as the notes tell the model to, and a first refusal settles a forbidden one: whether the customer
    insists is the model's affair.

    A world mixes it into its own customer and says who that is.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def unknown(self) -> str:
        """What customers are told who cannot say the id of what they come for."""

    @property
    @abstractmethod
    def identifiers(self) -> Mapping[str, Find]:
        """Kinds of ids: who names one that nobody gave made it up."""

    @property
    @abstractmethod
    def choices(self) -> Mapping[str, Find]:
        """Kinds of values with few alternatives."""

    @abstractmethod
    def persona(self) -> str:
        """Who they are, and what they can tell about themselves, told to whoever plays them."""

    @abstractmethod
    def identity(self) -> Mapping[str, str]:
        """Topic -> what proves who they are, to be told when asked for."""

    def brief(self) -> Brief:
        """The notes of the task's customer, who says the same first line as the scripted one.

        The answers they wait for are not in it: who does not know the right one cannot give it away.
        """
        wishes = [f"{n}. {self._wish(goal)}" for n, goal in enumerate(self.task.goals, 1)]
        return Brief(self.persona(), "\n".join(wishes), _MANNERS, opening=self.open())

    def _wish(self, goal: Goal) -> str:
        """One goal, told to the person who has it."""
        parts = [f"Say: {goal.request}"]
        if goal.details:
            parts.append(f"If asked: {' '.join(goal.details.values())}")
        if not goal.knows_subject:
            parts.append(self.unknown)
        if goal.fact:
            parts.append("You want a definite answer.")
        if goal.insists:
            parts.append("If refused, ask once for an exception, then accept.")
        if goal.withdrawn:
            parts.append(
                "When asked to confirm it, say that you changed your mind, and go on with the next one."
            )
        return " ".join(parts)

    def listen(self, text: str) -> None:
        """Take in what the agent said."""
        if len(self.task.goals) - 1 not in self.heard:  # else the last goal is settled, and the talk over
            self.patience = _ENDLESS
            self.reply(text)

    def _refused(self, goal: Goal) -> str | None:
        if goal.forbidden:
            return self._settle("refused")
        return super()._refused(goal)
