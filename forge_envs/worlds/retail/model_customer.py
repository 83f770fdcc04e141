"""A shop's customer played by a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from forge_envs.worlds.desk import model_customer
from forge_envs.worlds.desk.model_customer import Find
from forge_envs.worlds.retail.customer import Customer
from forge_envs.worlds.retail.goals import REASONS

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ORDER = re.compile(r"\bw\d{7}\b")
_PAYMENT = re.compile(r"\b(credit card|gift card|paypal)\b")
_ZIP = re.compile(r"(?<![\d.$#-])\d{5}(?![\d-]|\.\d)")


class Ear(model_customer.Ear, Customer):
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
