"""What a customer wants, and the frozen task around it."""

from __future__ import annotations

import functools
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from forge_envs.env import Task
from forge_envs.messages import ToolCall
from forge_envs.tables import Base, Row

Key: TypeAlias = tuple[str, str]
"""(table, row id)."""


@dataclass(frozen=True)
class Goal:
    """One request of the customer, and what it takes."""

    kind: str
    request: str
    """How the customer puts it, without the details that must be asked for."""
    subject: str = ""
    """The id of what it is about, such as an order or a reservation; "" if of nothing that has one."""
    details: dict[str, str] = field(default_factory=dict)
    """What the customer says when asked, by topic."""
    call: ToolCall | None = None
    """The write that fulfils it (of a forbidden goal: that would); None for a fact."""
    fact: str = ""
    """Which fact is asked for; a key of the world's `facts`."""
    truth: str = ""
    """What the customer must hear: the fact's value, or "refused"; "" if nothing."""
    insists: bool = False
    """Asks once more after a first refusal."""
    withdrawn: bool = False
    """Taken back when the agent asks for confirmation; the next goal takes its place."""
    knows_subject: bool = True
    """Can say the id of what it is about."""

    @property
    def forbidden(self) -> bool:
        """The policy forbids it; the agent has to say so."""
        return self.truth == "refused"

    @property
    def content(self) -> tuple[Any, ...]:
        """What makes two goals the same, whatever the rows hold and however it is said."""
        arguments = sorted(self.call.arguments.items()) if self.call else ()
        return self.kind, self.fact, self.subject, str(arguments), self.forbidden, self.withdrawn


@dataclass(frozen=True, kw_only=True)
class DeskTask(Task):
    """A customer, their goals, and the proof that these can be met. A world adds the rows around them."""

    address: ClassVar[str]
    """Where the world finds a task by its id, "package.module:function"; pickles hold this and the id."""

    size: str
    level: int
    customer_id: str
    goals: tuple[Goal, ...]
    users: Base
    """All customers, with this task's own rows on top."""
    gold: tuple[str | ToolCall, ...] = ()
    target: dict[Key, Row] = field(default_factory=dict)
    """Rows that gold changes, as it leaves them."""

    @functools.cached_property
    def to_tell(self) -> int:
        """How many things the customer must hear: facts and refusals."""
        return sum(bool(goal.truth) for goal in self.goals)

    def __reduce__(self) -> tuple[Callable[[str, str], DeskTask], tuple[str, str]]:
        return _found, (self.address, self.id)


def _found(address: str, task_id: str) -> DeskTask:
    task: DeskTask = pkgutil.resolve_name(address)(task_id)
    return task


_AMOUNT = re.compile(
    r"(?<![\w#.])(?:(\$)\s?)?(\d{1,3}(?:,\d{3})+|\d+)(\.\d{1,2})?(?![\d.]*\d)(?:\s?(dollars|usd))?"
)


def amounts(text: str) -> set[str]:
    """Amounts of money as "12.40": with cents, a dollar sign or the word."""
    return {
        f"{float(whole.replace(',', '') + cents):.2f}"
        for sign, whole, cents, word in _AMOUNT.findall(text)
        if sign or cents or word
    }
