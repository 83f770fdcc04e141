"""The scripted customer of a shop: what they tell and what they mind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from forge_envs.messages import ToolCall
from forge_envs.worlds.desk import customer
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.hearing import Heard, Question
from forge_envs.worlds.retail.goals import FACTS, REASONS, RetailTask
from forge_envs.worlds.retail.hearing import EAR


@dataclass(slots=True)
class Customer(customer.Customer):
    """A customer of the shop."""

    ear = EAR
    facts = FACTS
    task: RetailTask

    def _tell(self, goal: Goal, question: Question) -> Iterator[str]:
        task = self.task
        topics = list(question.topics)
        if "email" in topics:
            if "address" in topics and "mail address" in question.text:
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

    def _mind(self, goal: Goal, call: ToolCall, heard: Heard) -> str | None:
        words, arguments = heard.words, call.arguments
        stems = heard.stems
        if EAR.names[goal.kind].isdisjoint(stems):
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


def _is_order(word: str) -> bool:
    return word[0] == "w" and len(word) == 8 and word[1:].isdigit()


def _is_method(word: str) -> bool:
    return word.startswith(("credit_card_", "paypal_", "gift_card_"))
