"""What a customer of a domain wants: the desks' goals and task, with what a drawn domain adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_envs.tables import Base, Row
from forge_envs.worlds.desk.goals import DeskTask, Goal
from forge_envs.worlds.tooluse.domain import Column, Deed, Law, RowKind, ToolDomain


@dataclass(frozen=True)
class Errand(Goal):
    """One request of a customer of a domain."""

    about: str = "person"
    """The key of the kind that it is about."""
    wanted: Mapping[str, tuple[Column, Any]] = field(default_factory=dict)
    """Topic -> the column and the value that the customer wants in it."""
    thing: str = ""
    """The id of the thing that a creation or a swap is for."""
    reason: str = ""
    because: str = ""
    """Why a forbidden one is refused."""
    searched: bool = False
    """The customer knows the record by what a list does not show: one has to be read after the other."""
    theirs: bool = False
    """It is about somebody else's record."""


@dataclass(frozen=True, kw_only=True)
class ToolUseTask(DeskTask):
    """A customer of a domain. `id` is "tooluse/<domain's address>/<level>/<n>"; all else follows from it."""

    address = "forge_envs.worlds.tooluse.tasks:find_task"

    domain: ToolDomain
    name: str
    email: str
    """"" when the customer does not remember it."""
    phone: str
    held: Mapping[str, Base]
    """All tables of the domain with this task's own rows on top."""
    stumbles: tuple[str, ...] = ()
    """Tools that fail when they are called first."""

    def act(self, goal: Goal) -> Deed | None:
        """What is done to carry out a goal; None for a fact."""
        return self.domain.acts.get(goal.kind)

    def kind(self, goal: Goal) -> RowKind:
        """The kind of what a goal is about."""
        assert isinstance(goal, Errand)
        return self.domain.kinds[goal.about]

    def row(self, goal: Goal) -> Row:
        """The row that a goal is about; the customer's own where it is about no record."""
        kind = self.kind(goal)
        if kind.role == "record" and not goal.subject:
            kind = self.domain.person
        return self.held[kind.table].rows[goal.subject or self.customer_id]

    def label(self, kind: RowKind, thing_id: str) -> str:
        """The name of a thing."""
        thing = self.domain.kinds[kind.thing]
        label: str = self.held[thing.table].rows[thing_id][thing.label]
        return label


def forbidding(domain: ToolDomain, act: Deed, sides: Mapping[str, Row]) -> Law | None:
    """The first rule that forbids an act, by tool or by policy."""
    for law in domain.laws_of[act.key]:
        row = sides.get(law.side)
        if row and law.holds(row, domain):
            return law
    return None
