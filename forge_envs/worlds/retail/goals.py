"""What a customer wants: goals, the frozen task around them, and how goals are put into words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from forge_envs.env import Task
from forge_envs.messages import ToolCall
from forge_envs.tables import Base, Row
from forge_envs.worlds.desk.people import people

Kind: TypeAlias = Literal["fact", "cancel", "address", "payment", "modify", "exchange", "return", "home"]
Key: TypeAlias = tuple[str, str]
"""(table, row id)."""


REASONS = ("no longer needed", "ordered by mistake")
"""Why a customer may cancel."""


@dataclass(frozen=True)
class Goal:
    """One request of the customer, and what it takes."""

    kind: Kind
    request: str
    """How the customer puts it, without the details that must be asked for."""
    order_id: str = ""
    details: dict[str, str] = field(default_factory=dict)
    """What the customer says when asked, by topic: reason, address, payment, items, order."""
    call: ToolCall | None = None
    """The write that fulfils it (of a forbidden goal: that would); None for a fact."""
    fact: str = ""
    """Which fact is asked for; a key of FACTS."""
    truth: str = ""
    """What the customer must hear: the fact's value, or "refused"; "" if nothing."""
    insists: bool = False
    """Asks once more after a first refusal."""
    withdrawn: bool = False
    """Taken back when the agent asks for confirmation; the next goal takes its place."""
    knows_order: bool = True

    @property
    def forbidden(self) -> bool:
        """The policy forbids it; the agent has to say so."""
        return self.truth == "refused"

    @property
    def content(self) -> tuple[Any, ...]:
        """What makes two goals the same, whatever the rows hold and however it is said."""
        arguments = sorted(self.call.arguments.items()) if self.call else ()
        return self.kind, self.fact, self.order_id, str(arguments), self.forbidden, self.withdrawn


@dataclass(frozen=True)
class RetailTask(Task):
    """A customer, the rows around them, their goals, and the proof that these can be met.

    `id` is "retail/<size>/<split>/<level>/<n>"; everything else follows from it.
    """

    size: str
    level: int
    customer_id: str
    email: str
    """"" when the customer does not remember it."""
    name: str
    zip: str
    goals: tuple[Goal, ...]
    users: Base
    orders: Base
    """The shop's rows with this task's own on top."""
    gold: tuple[str | ToolCall, ...] = ()
    target: dict[Key, Row] = field(default_factory=dict)
    """Rows that gold changes, as it leaves them."""

    @functools.cached_property
    def to_tell(self) -> int:
        """How many things the customer must hear: facts and refusals."""
        return sum(bool(goal.truth) for goal in self.goals)

    def __reduce__(self) -> tuple[Callable[[str], RetailTask], tuple[str]]:
        from forge_envs.worlds.retail.tasks import find_task  # an episode pickles its task by name

        return find_task, (self.id,)


_STATUS = re.compile(r"\b(pending|process(?:ed|ing)|deliver(?:ed)|cancell?ed)\b")
_STATUS_NAMES = {"processing": "processed", "canceled": "cancelled"}
_AMOUNT = re.compile(
    r"(?<![\w#.])(?:(\$)\s?)?(\d{1,3}(?:,\d{3})+|\d+)(\.\d{1,2})?(?![\d.]*\d)(?:\s?(dollars|usd))?"
)
_TRACKING = re.compile(r"(?<!\d)\d{12}(?!\d)")
_SOURCE = re.compile(r"(credit|paypal|gift)(?:[ _]?card)?")


def _amounts(text: str) -> set[str]:
    """Amounts of money as "12.40": with cents, a dollar sign or the word."""
    return {
        f"{float(whole.replace(',', '') + cents):.2f}"
        for sign, whole, cents, word in _AMOUNT.findall(text)
        if sign or cents or word
    }


@functools.cache
def _city() -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(city.lower() for city, _, _ in people().places) + r")\b")


FACTS: dict[str, Callable[[str], set[str]]] = {
    "status": lambda text: {_STATUS_NAMES.get(word, word) for word in _STATUS.findall(text)},
    "total": _amounts,
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
