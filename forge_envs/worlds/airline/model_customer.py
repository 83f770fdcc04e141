"""An airline's customer played by a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from forge_envs.worlds.airline.customer import Customer
from forge_envs.worlds.airline.goals import cabins, days
from forge_envs.worlds.desk import model_customer
from forge_envs.worlds.desk.model_customer import Find

_USER = re.compile(r"\b[a-z]+_[a-z]+_\d{4}\b")
_RESERVATION = re.compile(r"\b[a-z]{3}\d{3}\b")
_FLIGHT = re.compile(r"\bfg\d{3}\b")
_PAYMENT = re.compile(r"\b(credit card|gift card|certificate)\b")


class Ear(model_customer.Ear, Customer):
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
