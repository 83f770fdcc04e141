"""The customer of an airline: what the scripted one tells and minds, what a model as one is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from forge_envs.messages import ToolCall
from forge_envs.worlds.airline.goals import FACTS, AirlineTask, cabins, days
from forge_envs.worlds.airline.hearing import EAR
from forge_envs.worlds.desk.customer import Customer, Find, Listener
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.hearing import Heard, Question


@dataclass(slots=True)
class AirlineCustomer(Customer):
    """A customer of the airline."""

    ear = EAR
    facts = FACTS
    task: AirlineTask

    def _tell(self, goal: Goal, question: Question) -> Iterator[str]:
        for topic in question.topics:
            if topic == "identity":
                yield f"My user id is {self.task.customer_id}."
            elif topic == "destination":
                yield goal.request if goal.kind == "book" else ""
            else:
                yield goal.details.get(topic, "")

    def _values(self, goal: Goal, call: ToolCall, heard: Heard) -> bool:
        arguments = call.arguments
        if any(
            not EAR.names[kind].isdisjoint(heard.stems) for kind in ("cancel", "bags") if kind != goal.kind
        ):
            return False
        if goal.kind == "passengers":
            people = arguments["passengers"]
            return heard.words.issuperset([person["last_name"].lower() for person in people])
        if goal.kind == "flights":
            return heard.words.issuperset([leg["flight_number"].lower() for leg in arguments["flights"]])
        return goal.kind == "cabin" and arguments["cabin"] in cabins(heard.text)

    def _mind(self, goal: Goal, call: ToolCall, heard: Heard) -> str | None:
        words, arguments = heard.words, call.arguments
        stems = heard.stems
        if not self._lists(goal, heard):
            other = any(not EAR.names[kind].isdisjoint(stems) for kind in ("cancel", "bags", "book"))
            return f"No. {goal.request}" if other else "What exactly will you do?"
        subject = goal.subject.lower()
        if subject and goal.knows_subject and subject not in words and any(map(_is_reservation, words)):
            return f"No, not that reservation. {goal.request}"
        methods = {part["payment_id"] for part in arguments.get("payment_methods", ())}
        methods |= {arguments["payment_id"]} if "payment_id" in arguments else set()
        if methods and any(_is_method(word) and word not in methods for word in words):
            return f"No. {goal.details['payment']}"
        wrong = _wrong_topic(goal.kind, arguments, heard)
        return None if wrong is None else f"No. {goal.details.get(wrong, goal.request)}"


def _wrong_topic(kind: str, arguments: dict[str, object], heard: Heard) -> str | None:
    """The first topic whose details were left out or are not what the call would do."""
    if kind in ("cabin", "book") and arguments["cabin"] not in cabins(heard.text):
        return "cabin"
    if kind in ("flights", "book"):
        legs: list[dict[str, str]] = arguments["flights"]  # type: ignore[assignment]  # the gold's own call
        named = days(heard.text)
        if not any(str(int(leg["date"][-2:])) in named for leg in legs):
            return "flights"
    if kind == "passengers":
        party: list[dict[str, str]] = arguments["passengers"]  # type: ignore[assignment]
        if not any(person["last_name"].lower() in heard.words for person in party):
            return "passengers"
    if kind == "certificate" and str(arguments["amount"]) not in heard.words:
        return "certificate"
    return None


def _is_reservation(word: str) -> bool:
    return len(word) == 6 and word[:3].isalpha() and word[3:].isdigit()


def _is_method(word: str) -> bool:
    return word.startswith(("credit_card_", "gift_card_", "certificate_"))


_USER = re.compile(r"\b[a-z]+_[a-z]+_\d{4}\b")
_RESERVATION = re.compile(r"\b[a-z]{3}\d{3}\b")
_FLIGHT = re.compile(r"\bfg\d{3}\b")
_PAYMENT = re.compile(r"\b(credit card|gift card|certificate)\b")


class AirlineListener(Listener, AirlineCustomer):
    """What the verdict hears beside a model that plays the customer of an airline."""

    __slots__ = ()
    unknown = "You do not know the reservation number; the agent can look your reservations up."
    identifiers: ClassVar[Mapping[str, Find]] = {
        "user id": lambda text: set(_USER.findall(text)),
        "reservation": lambda text: set(_RESERVATION.findall(text)),
        "flight": lambda text: set(_FLIGHT.findall(text)),
    }
    choices: ClassVar[Mapping[str, Find]] = {
        "payment": lambda text: set(_PAYMENT.findall(text)),
        "cabin": cabins,
        "day": days,
    }

    def persona(self) -> str:
        """Who they are, and what they can tell about themselves."""
        name = self.task.users.rows[self.task.customer_id]["name"]
        who = f"{name['first_name']} {name['last_name']}"
        return f"You are {who}, a customer of an airline. Your user id is {self.task.customer_id}."

    def identity(self) -> dict[str, str]:
        """The user id."""
        return {"identity": self.task.customer_id}
