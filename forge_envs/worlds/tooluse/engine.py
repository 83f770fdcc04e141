"""What carries out the tools of every domain: one small interpreter of `ToolSpec`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from forge_envs.errors import ToolError
from forge_envs.tables import Row, Table
from forge_envs.worlds.desk.tools import ServiceDesk, arithmetic
from forge_envs.worlds.tooluse.domain import Column, Deed, RowKind, ToolDomain, ToolSpec
from forge_envs.worlds.tooluse.spelling import ERRORS
from forge_envs.worlds.tooluse.words import spoken, with_articles

Arguments: TypeAlias = Mapping[str, Any]
GIVES_BACK = frozenset(("ended", "cancelled", "returned", "done", "closed"))
"""States in which a record gives its thing back."""


@dataclass(kw_only=True)
class Office(ServiceDesk):
    """One episode's desk in a domain; the tools run on it."""

    domain: ToolDomain
    held: dict[str, Table]
    """All tables by name."""
    stumbles: set[str] = field(default_factory=set)
    """Tools that fail once and work when called again."""
    found_id: str = ""
    """Whom the last tool that looks people up found."""

    @property
    def finders(self) -> frozenset[str]:  # type: ignore[override]
        """Tools that find a person by what they say of themselves."""
        return self.domain.finders

    def changeable(self) -> Mapping[str, Table]:
        """All tables."""
        return self.held

    def found(self, result: str) -> str:
        """Whom the last finder found, in whatever words."""
        return self.found_id

    def owner(self, arguments: Arguments) -> str | None:
        """Whose record a call is about, or which person."""
        found = None
        for name, kind in self.domain.by_argument.items():
            key = arguments.get(name)
            if key is None:
                continue
            if kind.role == "person":
                found = key
            elif kind.role == "record":
                owner: str = self.held[kind.table].peek(key)[kind.owner]
                return owner
        return found

    def run(self, spec: ToolSpec, arguments: Arguments) -> str:
        """Carry out a tool. Raises ToolError."""
        if spec.name in self.stumbles:
            self.stumbles.discard(spec.name)
            raise self._refusal("UNAVAILABLE", "the service is busy, try again")
        return _OPS[spec.op](self, spec, arguments)

    # -- rows ----------------------------------------------------------------------------------------

    def _refusal(self, code: str, text: str) -> ToolError:
        return ToolError(ERRORS[self.domain.errors].format(code=code, text=with_articles(text)))

    def _row(self, kind: RowKind, arguments: Arguments) -> Row:
        """The row that an argument names, to read only."""
        key = arguments[kind.id_name]
        if key not in self.held[kind.table]:
            raise self._refusal("NOT_FOUND", f"there is no {kind.noun} {key[:40]!r}")
        return self.held[kind.table].peek(key)

    def _own(self, kind: RowKind, key: str) -> Row:
        return self.held[kind.table].row(key)

    def _show(self, kind: RowKind, key: str) -> str:
        if self.domain.answers.shape == "flat":
            return self.held[kind.table].text(key)
        return self.domain.answers.row(kind.noun, self.held[kind.table].peek(key))

    # -- reading -------------------------------------------------------------------------------------

    def _find(self, spec: ToolSpec, arguments: Arguments) -> str:
        kind = self.domain.person
        wanted = {}
        for role, name in spec.by_role.items():
            column = kind.label if role == "name" else kind.by_key[role].name
            wanted[column] = arguments[name].lower()
        table = self.held[kind.table]
        for key in reversed(list(table)):  # whom a task wrote comes last, and is most often looked for
            row = table.peek(key)
            for column, value in wanted.items():
                if row[column].lower() != value:
                    break
            else:
                self.found_id = key
                return self._show(kind, key) if self.domain.finds_row else key
        self.found_id = ""
        raise self._refusal("NOT_FOUND", f"no {kind.noun} was found")

    def _get(self, spec: ToolSpec, arguments: Arguments) -> str:
        kind = self.domain.kinds[spec.kind]
        self._row(kind, arguments)
        return self._show(kind, arguments[kind.id_name])

    def _list(self, spec: ToolSpec, arguments: Arguments) -> str:
        kind, person = self.domain.kinds[spec.kind], self.domain.person
        self._row(person, arguments)
        owner, table = arguments[person.id_name], self.held[kind.table]
        rows = [row for row in map(table.peek, table) if row[kind.owner] == owner]
        thing = self.domain.kinds[kind.thing]
        things = self.held[thing.table]
        shown = [
            {
                kind.id_name: row[kind.id_name],
                thing.label: things.peek(row[kind.about])[thing.label],
                kind.state: row[kind.state],
            }
            for row in rows
        ]
        return self.domain.answers.rows(kind.plural, shown)

    def _search(self, spec: ToolSpec, arguments: Arguments) -> str:
        kind = self.domain.kinds[spec.kind]
        part, table = arguments[spec.by_role["label"]].lower(), self.held[kind.table]
        found = [row for row in map(table.peek, table) if part in row[kind.label].lower()]
        return self.domain.answers.rows(kind.plural, found[:8])

    def _rules(self, spec: ToolSpec, arguments: Arguments) -> str:
        return "\n".join([f"- {law.text}" for law in self.domain.laws])

    def _count(self, spec: ToolSpec, arguments: Arguments) -> str:
        return str(len(self.held[self.domain.kinds[spec.kind].table]))

    def _hours(self, spec: ToolSpec, arguments: Arguments) -> str:
        day = arguments[spec.by_role["weekday"]].lower()
        if day not in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"):
            raise self._refusal("INVALID", "that is no day of the week")
        return "closed" if day == "sunday" else "9:00 to 13:00" if day == "saturday" else "8:30 to 18:00"

    def _note(self, spec: ToolSpec, arguments: Arguments) -> str:
        return "noted"

    def _calculate(self, spec: ToolSpec, arguments: Arguments) -> str:
        return arithmetic(arguments[spec.by_role["expression"]])

    def _today(self, spec: ToolSpec, arguments: Arguments) -> str:
        return self.domain.dates.write(self.domain.today)

    def _transfer(self, spec: ToolSpec, arguments: Arguments) -> str:
        self.over = True
        return "The conversation was handed over to a human."

    # -- writing -------------------------------------------------------------------------------------

    def _open(self, spec: ToolSpec, arguments: Arguments) -> tuple[Deed, Row]:
        """The act, and the row to read that it is about, if the tool lets it through."""
        act = self.domain.acts[spec.act]
        kind = act.kind
        row = self._row(kind, arguments)
        allowed = act.spec.from_
        if allowed and row[kind.state] not in [kind.states[key] for key in allowed]:
            raise self._refusal("WRONG_STATE", f"the {kind.noun} is {spoken(row[kind.state])}")
        person, thing = row, row
        if kind.role == "record":
            person = self.held[self.domain.person.table].peek(row[kind.owner])
            thing = self.held[self.domain.kinds[kind.thing].table].peek(row[kind.about])
        self._obey(act, {"record": row, "person": person, "thing": thing})
        return act, row

    def _obey(self, act: Deed, sides: Mapping[str, Row]) -> None:
        for law in self.domain.laws_of[act.key]:
            if law.by_tool and law.holds(sides[law.side], self.domain):
                raise self._refusal(
                    "NOT_ALLOWED", law.text.rstrip(".")[:1].lower() + law.text.rstrip(".")[1:]
                )

    def _done(self, kind: RowKind, key: str) -> str:
        self.writes += 1
        return self._show(kind, key)

    def _finish(self, spec: ToolSpec, act: Deed, key: str, arguments: Arguments) -> str:
        if act.reasons:
            self._own(act.kind, key)[spec.by_role["reason"]] = self._reason(spec, act, arguments)
        return self._done(act.kind, key)

    def _reason(self, spec: ToolSpec, act: Deed, arguments: Arguments) -> str:
        reason: str = arguments[spec.by_role["reason"]]
        if reason not in act.reasons:
            raise self._refusal("INVALID", f"the reason must be one of {', '.join(act.reasons)}")
        return reason

    def _stock(self, kind: RowKind, thing_id: str, by: int) -> None:
        """Take from what is left of a thing, or give back."""
        if not kind.stock or not by:
            return
        thing = self.domain.kinds[kind.thing]
        left = thing.by_key[kind.stock].name
        if self.held[thing.table].peek(thing_id)[left] + by < 0:
            raise self._refusal(
                "NONE_LEFT", f"this {thing.noun} has no {spoken(thing.by_key[kind.stock].said)}"
            )
        self._own(thing, thing_id)[left] += by

    def _state(self, spec: ToolSpec, arguments: Arguments) -> str:
        act, row = self._open(spec, arguments)
        if act.reasons:
            self._reason(spec, act, arguments)
        kind = act.kind
        key = row[kind.id_name]
        self._own(kind, key)[kind.state] = kind.states[act.spec.to]
        if act.spec.to in GIVES_BACK:
            self._stock(kind, row[kind.about], 1)
        return self._finish(spec, act, key, arguments)

    def _set(self, spec: ToolSpec, arguments: Arguments) -> str:
        act, row = self._open(spec, arguments)
        assert act.column is not None
        value = self._checked(act.column, arguments[spec.by_role[f"value:{act.column.key}"]])
        if row[act.column.name] == value:
            raise self._refusal("UNCHANGED", f"the {act.column.said} is that already")
        key = row[act.kind.id_name]
        self._own(act.kind, key)[act.column.name] = value
        return self._finish(spec, act, key, arguments)

    def _checked(self, column: Column, value: Any) -> Any:
        """A value that may stand in a column."""
        kind, (low, high) = column.spec.kind, column.spec.range
        if kind == "choice" and value not in column.values:
            raise self._refusal("INVALID", f"the {column.said} must be one of {', '.join(column.values)}")
        if kind == "count" and not low <= value <= high:
            raise self._refusal("INVALID", f"the {column.said} must be from {low} to {high}")
        if kind == "money" and not 0 <= value <= 1_000_000:
            raise self._refusal("INVALID", f"the {column.said} must be an amount of money")
        if kind == "date":
            day = self.domain.dates.read(value)
            if day is None:
                raise self._refusal("INVALID", f"the {column.said} must be written {self.domain.dates.like}")
            if day < self.domain.today:
                raise self._refusal("INVALID", f"the {column.said} must not be in the past")
        if kind == "email" and ("@" not in value or " " in value):
            raise self._refusal("INVALID", "that is no email address")
        return value

    def _add(self, spec: ToolSpec, arguments: Arguments) -> str:
        act, row = self._open(spec, arguments)
        column = act.column
        assert column is not None
        told = act.spec.by == "told"
        by = arguments[spec.by_role["amount"]] if told else act.by
        (low, high), key = act.spec.range, row[act.kind.id_name]
        if told and not low <= by <= high:
            raise self._refusal("INVALID", f"the amount must be from {low} to {high}")
        if column.spec.kind == "date":
            day = self.domain.said_date(row[column.name]) + dt.timedelta(days=by)
            new: Any = self.domain.dates.write(day)
        else:
            new = round(row[column.name] + by, 2) if column.spec.kind == "money" else row[column.name] + by
            if new < 0:
                raise self._refusal("INVALID", f"the {column.said} is {row[column.name]} only")
        self._own(act.kind, key)[column.name] = new
        return self._finish(spec, act, key, arguments)

    def _swap(self, spec: ToolSpec, arguments: Arguments) -> str:
        act, row = self._open(spec, arguments)
        kind = act.kind
        thing = self._row(self.domain.kinds[kind.thing], arguments)[kind.about]
        old, key = row[kind.about], row[kind.id_name]
        if thing == old:
            raise self._refusal("UNCHANGED", f"the {kind.noun} is about that already")
        self._stock(kind, thing, -1)
        self._stock(kind, old, 1)
        self._own(kind, key)[kind.about] = thing
        return self._finish(spec, act, key, arguments)

    def _create(self, spec: ToolSpec, arguments: Arguments) -> str:
        act = self.domain.acts[spec.act]
        kind, person = act.kind, self.domain.person
        owner = self._row(person, arguments)
        thing = self._row(self.domain.kinds[kind.thing], arguments)
        self._obey(act, {"person": owner, "thing": thing, "record": {}})
        table = self.held[kind.table]
        number = len(table)
        while (key := kind.ids.write(number)) in table:
            number += 1
        row: Row = {kind.id_name: key, kind.owner: owner[person.id_name], kind.about: thing[kind.about]}
        row[kind.state] = kind.states[act.spec.to]
        chosen = {c.key: self._checked(c, arguments[spec.by_role[f"value:{c.key}"]]) for c in act.asks}
        for column in kind.columns:
            row[column.name] = chosen[column.key] if column.key in chosen else self._default(act, column)
        self._stock(kind, row[kind.about], -1)
        table.add(key, row)
        return self._done(kind, key)

    def _default(self, act: Deed, column: Column) -> Any:
        """What a new record has where the customer chooses nothing."""
        value, kind = act.spec.defaults.get(column.key), column.spec.kind
        if kind == "date":
            days = column.spec.range[1] if value is None else value
            return self.domain.dates.write(self.domain.today + dt.timedelta(days=days))
        if value is not None:
            return float(value) if kind == "money" else value
        first = column.values[0] if column.values else ""
        return {"count": 0, "money": 0.0, "flag": False}.get(kind, first)

    def _pay(self, spec: ToolSpec, arguments: Arguments) -> str:
        act, row = self._open(spec, arguments)
        column, amount = act.column, arguments[spec.by_role["amount"]]
        assert column is not None
        owed, key = row[column.name], row[act.kind.id_name]
        if not 0 < amount <= owed:
            raise self._refusal("INVALID", f"the {column.said} is {owed:.2f}, pay from 0.01 to that")
        self._own(act.kind, key)[column.name] = round(owed - amount, 2)
        return self._finish(spec, act, key, arguments)


_OPS: dict[str, Callable[[Office, ToolSpec, Arguments], str]] = {
    name: getattr(Office, f"_{name}")
    for name in (
        *(
            "find",
            "get",
            "list",
            "search",
            "rules",
            "count",
            "hours",
            "note",
            "calculate",
            "today",
            "transfer",
        ),
        *("state", "set", "add", "swap", "create", "pay"),
    )
}
