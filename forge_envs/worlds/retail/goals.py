"""What a customer of a shop wants: the frozen task, and the facts that may be asked for."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from forge_envs.tables import Base, Row
from forge_envs.worlds.desk.database import people
from forge_envs.worlds.desk.goals import DeskTask, amounts

REASONS = ("no longer needed", "ordered by mistake")
"""Why a customer may cancel."""


@dataclass(frozen=True, kw_only=True)
class RetailTask(DeskTask):
    """A customer of a shop. `id` is "retail/<size>/<split>/<level>/<n>"; everything else follows from it."""

    address = "forge_envs.worlds.retail.tasks:find_task"

    email: str
    """"" when the customer does not remember it."""
    name: str
    zip: str
    orders: Base
    """The shop's orders with this task's own on top."""


_STATUS = re.compile(r"\b(pending|process(?:ed|ing)|deliver(?:ed)|cancell?ed)\b")
_STATUS_NAMES = {"processing": "processed", "canceled": "cancelled"}
_TRACKING = re.compile(r"(?<!\d)\d{12}(?!\d)")
_SOURCE = re.compile(r"(credit|paypal|gift)(?:[ _]?card)?")


@functools.cache
def _city() -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(city.lower() for city, _, _ in people().places) + r")\b")


FACTS: dict[str, Callable[[str], set[str]]] = {
    "status": lambda text: {_STATUS_NAMES.get(word, word) for word in _STATUS.findall(text)},
    "total": amounts,
    "tracking": lambda text: set(_TRACKING.findall(text)),
    "payment": lambda text: set(_SOURCE.findall(text)),
    "city": lambda text: set(_city().findall(text)),
}
"""Facts a customer may ask for -> all values of that kind in lower-case text. Naming several tells none."""


def truth_of(fact: str, order: Row) -> str:
    """The value of a fact, in the form FACTS finds it."""
    if fact == "status":
        return str(order["status"])
    if fact == "total":
        return f"{order['payment_history'][0]['amount']:.2f}"
    if fact == "tracking":
        return str(order["fulfillments"][0]["tracking_id"][0])
    if fact == "payment":
        return str(order["payment_history"][0]["payment_method_id"].split("_")[0])
    return str(order["address"]["city"].lower())
