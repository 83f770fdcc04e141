"""The customer of a shop: what the scripted one tells and minds, what a model as one is told."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from forge_envs.messages import ToolCall
from forge_envs.worlds.desk.customer import Customer, Find, Listener
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.hearing import Heard, Question
from forge_envs.worlds.retail.goals import FACTS, REASONS, RetailTask
from forge_envs.worlds.retail.hearing import EAR


@dataclass(slots=True)
class ShopCustomer(Customer):
    """A customer of the shop."""

    ear = EAR
    facts = FACTS
    task: RetailTask

    def _tell(self, goal: Goal, question: Question) -> Iterator[str]:
        task = self.task
        topics = list(question.topics)
        if "email" in topics:
            if "address" in topics and not _asks_where(question.text):
                topics.remove("address")
            if "name" in topics:
                topics.remove("name" if task.email else "email")
        for topic in topics:
            if topic == "email":
                yield f"My email is {task.email}." if task.email else "I do not remember my email."
            elif topic == "name" or (topic == "identity" and not task.email):
                yield f"I am {task.name}, zip {task.zip}."
            elif topic == "identity":
                yield f"My email is {task.email}."
            else:
                yield goal.details.get(topic, "")

    def _values(self, goal: Goal, call: ToolCall, heard: Heard) -> bool:
        arguments = call.arguments
        others = ("cancel", "return", "exchange")
        if any(not EAR.names[kind].isdisjoint(heard.stems) for kind in others if kind != goal.kind):
            return False
        if "address1" in arguments:
            return arguments["address1"].lower() in heard.text
        said = arguments.get("new_item_ids") or arguments.get("item_ids")
        if said is None and goal.kind == "payment":
            said = [arguments["payment_method_id"]]
        return said is not None and heard.words.issuperset(said)

    def _mind(self, goal: Goal, call: ToolCall, heard: Heard) -> str | None:
        words, arguments = heard.words, call.arguments
        stems = heard.stems
        if not self._lists(goal, heard):
            other = any(not EAR.names[kind].isdisjoint(stems) for kind in ("cancel", "return", "exchange"))
            return f"No. {goal.request}" if other else "What exactly will you do?"
        order = goal.subject.lower()[1:]
        if goal.knows_subject and order not in words and any(map(_is_order, words)):
            return f"No, not that order. {goal.request}"
        reason = arguments.get("reason")
        if reason and reason not in heard.text and any(other in heard.text for other in REASONS):
            return f"No. {goal.details['reason']}"
        method = arguments.get("payment_method_id")
        if method and method not in words and any(map(_is_method, words)):
            return f"No. {goal.details['payment']}"
        if "address1" in arguments and arguments["address1"].lower() not in heard.text:
            return f"No. {goal.details['address']}"
        return None


@functools.lru_cache(maxsize=1024)
def _asks_where(text: str) -> bool:
    """Whether a question that names a mail address asks for another one too."""
    return "address" in EAR.topics.named(text.replace("mail address", "mail"))


def _is_order(word: str) -> bool:
    return word[0] == "w" and len(word) == 8 and word[1:].isdigit()


def _is_method(word: str) -> bool:
    return word.startswith(("credit_card_", "paypal_", "gift_card_"))


_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ORDER = re.compile(r"\bw\d{7}\b")
_PAYMENT = re.compile(r"\b(credit card|gift card|paypal)\b")
_ZIP = re.compile(r"(?<![\d.$#-])\d{5}(?![\d-]|\.\d)")


class ShopListener(Listener, ShopCustomer):
    """What the verdict hears beside a model that plays the customer of a shop."""

    __slots__ = ()
    unknown = "You do not know the order number; the agent can look your orders up."
    identifiers: ClassVar[Mapping[str, Find]] = {
        "email": lambda text: set(_EMAIL.findall(text)),
        "order": lambda text: set(_ORDER.findall(text)),
        "zip": lambda text: set(_ZIP.findall(text)),
    }
    choices: ClassVar[Mapping[str, Find]] = {
        "payment": lambda text: set(_PAYMENT.findall(text)),
        "reason": lambda text: {reason for reason in REASONS if reason in text},
    }

    def persona(self) -> str:
        """Who they are, and what they can tell about themselves."""
        task = self.task
        email = f"Your email is {task.email}." if task.email else "You do not remember your email."
        return f"You are {task.name}, a customer of an online shop. Your zip code is {task.zip}. {email}"

    def identity(self) -> dict[str, str]:
        """The email, if they remember it, and the zip code that goes with the name."""
        return {"name": self.task.zip, **({"email": self.task.email} if self.task.email else {})}
