"""The scripted customer: answers what is asked, confirms what is right, insists, changes their mind, leaves.

Understands by patterns, so a paraphrase works as well as the gold's words. All state is `Customer`'s fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from forge_envs.worlds.retail.goals import FACTS, REASONS, Goal, RetailTask
from forge_envs.worlds.retail.language import NAMES, TOPICS, Heard, Sentence, finished, listen, refuses

PATIENCE = 4
"""Useless turns after which the customer leaves."""


@dataclass(slots=True)
class Customer:
    """A `User`: says the first goal's request, then replies until all goals are settled."""

    task: RetailTask
    at: int = 0
    """Index of the goal in hand."""
    patience: int = PATIENCE
    pushed: bool = False
    """Already insisted on the goal in hand."""
    heard: dict[int, str] = field(default_factory=dict)
    """Goal index -> what the agent said about it: a fact's value, "refused" or "done"."""
    told: int = 0
    """How many of the things they must hear the customer has heard, and truly."""

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        return self.task.goals[0].request

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the customer leaves."""
        if not text:
            return self._puzzled("Hello? Are you there?")
        goal = self.task.goals[self.at]
        heard = listen(text)
        answer = self._listen(goal, heard) if heard.claims else ""
        return self._answer(goal, heard) if answer == "" else answer

    # -- what the agent claims -------------------------------------------------------------------

    def _listen(self, goal: Goal, heard: Heard) -> str | None:
        """React to what was stated; "" if nothing stated settles the goal in hand."""
        refused = refuses(goal, heard.claims)
        if goal.fact and not (goal.forbidden and refused):
            values = FACTS[goal.fact](" ".join([sentence.text for sentence in heard.claims]))
            if len(values) > 1:
                return self._puzzled("Which one is it?")
            if values:
                return self._settle(values.pop())
        if refused:
            return self._refused(goal)
        if goal.call is not None and finished(goal, heard.claims):
            return self._settle("done")
        return ""

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
        self.at += 1
        self.pushed = False
        if self.at == len(self.task.goals):
            self.at -= 1
            return None
        return f"Thanks. {self.task.goals[self.at].request}"

    # -- what the agent asks ---------------------------------------------------------------------

    def _answer(self, goal: Goal, heard: Heard) -> str | None:
        told: list[str] = []
        for question in heard.questions:
            self._facts(goal, question, told)
        if told:
            return " ".join(told)
        if heard.confirm:
            return self._confirm(goal, heard)
        return self._puzzled(goal.request if heard.more else f"I do not understand. {goal.request}")

    def _facts(self, goal: Goal, question: Sentence, told: list[str]) -> None:
        """Add the answers to the topics a question names, each once."""
        task = self.task
        topics = [topic for topic in TOPICS if topic in question.labels]
        if "email" in topics:
            if "address" in topics and "mail address" in question.text:
                topics.remove("address")
            if "name" in topics:
                topics.remove("name" if task.email else "email")
        for topic in topics:
            if topic == "email":
                line = f"My email is {task.email}." if task.email else "I do not remember my email."
            elif topic == "name" or (topic == "identity" and not task.email):
                line = f"I am {task.name}, zip {task.zip}."
            elif topic == "identity":
                line = f"My email is {task.email}."
            else:
                line = goal.details.get(topic, "")
            if line and line not in told:
                told.append(line)

    def _confirm(self, goal: Goal, heard: Heard) -> str | None:
        """Yes, if what was listed is what they want; else what is wrong with it."""
        if goal.call is None:
            return self._puzzled(f"Yes. {goal.request}")
        words = heard.words
        if NAMES[goal.kind].isdisjoint(words):
            other = any(not NAMES[kind].isdisjoint(words) for kind in ("cancel", "return", "exchange"))
            return self._puzzled(f"No. {goal.request}" if other else "What exactly will you do?")
        arguments = goal.call.arguments
        order = goal.order_id.lower()[1:]
        if goal.knows_order and order not in words and any(map(_is_order, words)):
            return self._puzzled(f"No, not that order. {goal.request}")
        reason = arguments.get("reason")
        if reason and reason not in heard.text and any(other in heard.text for other in REASONS):
            return self._puzzled(f"No. {goal.details['reason']}")
        method = arguments.get("payment_method_id")
        if method and method not in words and any(map(_is_method, words)):
            return self._puzzled(f"No. {goal.details['payment']}")
        if "address1" in arguments and arguments["address1"].lower() not in heard.text:
            return self._puzzled(f"No. {goal.details['address']}")
        if goal.withdrawn:
            self.at += 1
            return f"Wait, I changed my mind. {self.task.goals[self.at].request}"
        return "Yes."

    def _puzzled(self, line: str) -> str | None:
        """A useless turn: say so, and leave when there were too many."""
        self.patience -= 1
        return line if self.patience > 0 else None


def _is_order(word: str) -> bool:
    return word[0] == "w" and len(word) == 8 and word[1:].isdigit()


def _is_method(word: str) -> bool:
    return word.startswith(("credit_card_", "paypal_", "gift_card_"))
