"""A customer played by a model: what it is told about a task, and the ear that the verdict has beside it."""

from __future__ import annotations

from forge_envs.users import Brief
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.retail.customer import Customer
from forge_envs.worlds.retail.goals import RetailTask

_ENDLESS = 1 << 30


def brief_of(task: RetailTask) -> Brief:
    """The notes of a task's customer, who says the same first line as the scripted one.

    The answers they wait for are not in it: who does not know the right one cannot give it away.
    """
    email = f"Your email is {task.email}." if task.email else "You do not remember your email."
    persona = f"You are {task.name}, a customer of an online shop. Your zip code is {task.zip}. {email}"
    wishes = [f"{n}. {_wish(goal)}" for n, goal in enumerate(task.goals, 1)]
    return Brief(persona, "\n".join(wishes), _MANNERS, opening=task.goals[0].request)


_MANNERS = """Agree to a change with "yes" once the agent has listed it and it is what you want.
When the agent says clearly that something cannot be done, accept it and go on, except where you insist.
You have said the first thing already."""


def _wish(goal: Goal) -> str:
    """One goal, told to the person who has it."""
    parts = [f"Say: {goal.request}"]
    details = {k: v for k, v in goal.details.items() if k != "order" or goal.knows_subject}
    if details:
        parts.append(f"If asked: {' '.join(details.values())}")
    if not goal.knows_subject:
        parts.append("You do not know the order number; the agent can look your orders up.")
    if goal.fact:
        parts.append("You want a definite answer.")
    if goal.insists:
        parts.append("If refused, ask once for an exception, then accept.")
    if goal.withdrawn:
        parts.append("When asked to confirm it, say that you changed your mind, and go on with the next one.")
    return " ".join(parts)


class Ear(Customer):
    """Hears what a scripted customer would have heard, says nothing, and never loses patience.

    So the verdict listens to the agent by one rule, whoever plays the customer. It takes the goals in their
    order, as the notes tell the model to, and a first refusal settles a forbidden one: whether the customer
    insists is the model's affair.
    """

    __slots__ = ()

    def listen(self, text: str) -> None:
        """Take in what the agent said."""
        if len(self.task.goals) - 1 not in self.heard:  # else the last goal is settled, and the talk over
            self.patience = _ENDLESS
            self.reply(text)

    def _refused(self, goal: Goal) -> str | None:
        if goal.forbidden:
            return self._settle("refused")
        return super()._refused(goal)
