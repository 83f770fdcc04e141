"""A customer played by a model: what it is told about a task, and the ear that the verdict has beside it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeAlias

from forge_envs.people.users import Brief
from forge_envs.worlds.desk.customer import Customer
from forge_envs.worlds.desk.goals import Goal

Find: TypeAlias = Callable[[str], set[str]]
"""All values of one kind in lower-case text."""

_ENDLESS = 1 << 30
_MANNERS = """Agree to a change with "yes" once the agent has listed it and it is what you want.
When the agent says clearly that something cannot be done, accept it and go on, except where you insist.
You have said the first thing already."""


class Ear(Customer):
    """Hears what a scripted customer would have heard, says nothing, and never loses patience.

    So the verdict listens to the agent by one rule, whoever plays the customer. It takes the goals in their
    order, as the notes tell the model to, and a first refusal settles a forbidden one: whether the customer
    insists is the model's affair.

    A world mixes it into its own customer and says who that is.
    """

    __slots__ = ()
    unknown: ClassVar[str]
    """What customers are told who cannot say the id of what they come for."""
    identifiers: ClassVar[Mapping[str, Find]]
    """Kinds of ids: who names one that nobody gave made it up."""
    choices: ClassVar[Mapping[str, Find]]
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
