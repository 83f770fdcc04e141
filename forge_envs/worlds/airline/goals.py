"""What a customer of an airline wants: the frozen task, and the facts that may be asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forge_envs.tables import Base, Row
from forge_envs.worlds.airline.database import statuses
from forge_envs.worlds.desk.goals import DeskTask, amounts


@dataclass(frozen=True, kw_only=True)
class AirlineTask(DeskTask):
    """A customer of an airline. `id` is "airline/<size>/<split>/<level>/<n>"; all else follows from it."""

    address = "forge_envs.worlds.airline.tasks:find_task"

    reservations: Base
    """The airline's reservations with this task's own on top."""


_CABIN = re.compile(r"\b(basic[ _-]economy|economy|business)\b")
_FLIGHT = re.compile(r"\bfg\d{3}\b")
_DATE = re.compile(
    r"\b2024-05-(\d\d)\b|\bmay (\d{1,2})(?:st|nd|rd|th)?\b|\b(\d{1,2})(?:st|nd|rd|th)?(?: of)? may\b"
)
_STATUS = re.compile(r"\b(on[ -]time|delayed|flying|landed|cancell?ed|available)\b")


def cabins(text: str) -> set[str]:
    """The cabins that lower-case text names, as the rows do."""
    return {re.sub("[ -]", "_", found) for found in _CABIN.findall(text)}


def days(text: str) -> set[str]:
    """The days of May that lower-case text names, e.g. "7"."""
    return {str(int("".join(found))) for found in _DATE.findall(text)}


FACTS: dict[str, Callable[[str], set[str]]] = {
    "cabin": cabins,
    "total": amounts,
    "flight": lambda text: set(_FLIGHT.findall(text)),
    "date": days,
    "status": lambda text: {
        found.replace("-", " ").replace("canceled", "cancelled") for found in _STATUS.findall(text)
    },
}
"""Facts a customer may ask for -> all values of that kind in lower-case text. Naming several tells none."""


def truth_of(fact: str, reservation: Row, flights: Mapping[str, Row]) -> str:
    """The value of a fact, in the form FACTS finds it; of a trip of several flights that of the first."""
    first = reservation["flights"][0]
    if fact == "cabin":
        return str(reservation["cabin"])
    if fact == "total":
        return f"{sum(paid['amount'] for paid in reservation['payment_history']):.2f}"
    if fact == "flight":
        return str(first["flight_number"]).lower()
    if fact == "date":
        return str(int(first["date"][-2:]))
    return statuses(reservation, flights)[0]
