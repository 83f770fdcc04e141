"""Rows of a domain: those that all its tasks share, and those that a task writes for its customer."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from typing import Any

from forge_envs.tables import Row
from forge_envs.worlds.desk.database import Dice, people
from forge_envs.worlds.tooluse.domain import Column, RowKind, ToolDomain
from forge_envs.worlds.tooluse.spelling import DateStyle
from forge_envs.worlds.tooluse.theme import Theme

PEOPLE, THINGS = 16, 18
"""How many of each there are, beside those that tasks write; a tiny domain has fewer."""


MOST_OWN = 8
"""Rows of a kind that a task writes at most."""


def draw_value(column: Column, today: dt.date, dates: DateStyle, dice: Dice) -> Any:
    """A value of a column."""
    spec = column.spec
    low, high = spec.range
    if spec.kind in ("choice", "text"):
        return dice.choice(column.values)
    if spec.kind == "count":
        return 0 if dice.chance(spec.zero) else low + dice.below(high - low + 1)
    if spec.kind == "money":
        cents = 100 * low + dice.below(100 * (high - low) + 1)
        return 0.0 if dice.chance(spec.zero) else cents / 100
    if spec.kind == "date":
        return dates.write(today + dt.timedelta(days=low + dice.below(high - low + 1)))
    if spec.kind == "code":
        return "".join([_letter(mark, dice) for mark in spec.pattern])
    if spec.kind == "phone":
        return f"555-{dice.digits(4)}"
    assert spec.kind == "flag", spec.kind
    return dice.chance(0.5)


def _letter(mark: str, dice: Dice) -> str:
    if mark == "#":
        return str(dice.below(10))
    return "ABCDEFGHJKLMNPRSTUVW"[dice.below(20)] if mark == "A" else mark


def new_person(domain: ToolDomain, number: int, dice: Dice) -> Row:
    """Somebody who comes, or might."""
    kind = domain.person
    first, last = dice.choice(people().first_names), dice.choice(people().last_names)
    row: Row = {kind.id_name: kind.ids.write(number), kind.label: f"{first} {last}"}
    for column in kind.columns:
        if column.spec.kind == "email":
            tail = "" if domain.tiny else dice.digits(2)
            row[column.name] = f"{first}.{last}{tail}@example.com".lower()
        else:
            row[column.name] = draw_value(column, domain.today, domain.dates, dice)
    return row


def new_record(
    domain: ToolDomain, kind: RowKind, number: int, person_id: str, thing_id: str, state: str, dice: Dice
) -> Row:
    """Something that belongs to a person, in a state."""
    row: Row = {kind.id_name: kind.ids.write(number), kind.owner: person_id, kind.about: thing_id}
    row[kind.state] = kind.states[state]
    for column in kind.columns:
        row[column.name] = draw_value(column, domain.today, domain.dates, dice)
    return row


def draw_tables(domain: ToolDomain, theme: Theme, dice: Dice) -> dict[str, dict[str, Row]]:
    """The rows that all tasks of a domain share, by table and id."""
    tables: dict[str, dict[str, Row]] = {}
    many = 6 if domain.tiny else PEOPLE
    for kind in domain.kinds.values():
        rows = tables.setdefault(kind.table, {})
        if kind.role == "person":
            for number in _numbers(many, kind, dice):
                row = new_person(domain, number, dice)
                rows[row[kind.id_name]] = row
        elif kind.role == "thing":
            labels = dice.sample(theme.things[kind.key].labels, 6 if domain.tiny else THINGS)
            for number, label in zip(_numbers(len(labels), kind, dice), labels, strict=True):
                row = {kind.id_name: kind.ids.write(number), kind.label: label}
                row |= {one.name: draw_value(one, domain.today, domain.dates, dice) for one in kind.columns}
                rows[row[kind.id_name]] = row
        else:
            owners = list(tables[domain.person.table])
            things = list(tables[domain.kinds[kind.thing].table])
            for number in _numbers(2 * many, kind, dice):
                state = dice.choice(tuple(kind.states))
                owner, thing = dice.choice(owners), dice.choice(things)
                row = new_record(domain, kind, number, owner, thing, state, dice)
                rows[row[kind.id_name]] = row
    return tables


def _numbers(n: int, kind: RowKind, dice: Dice) -> list[int]:
    """So many different numbers from the lower half, which tasks do not write."""
    step = 10**kind.ids.digits // 2 // (n + 1)
    return [step * (at + 1) + dice.below(step) for at in range(n)]


def own_number(address: str, kind: RowKind, task: int, at: int) -> int:
    """The number of the `at`-th row of a kind that a task of the domain at `address` writes.

    No two tasks of a domain share it, as long as there are enough numbers; and neither those of another kind
    nor those of another domain tell it, so that nobody learns to guess ids.
    """
    span: int = 10**kind.ids.digits // 2
    step, first = _walk(address, kind.key)
    return span + ((task * MOST_OWN + at) * step + first) % span


@functools.lru_cache(maxsize=4096)
def _walk(address: str, key: str) -> tuple[int, int]:
    """How the numbers of one kind go through all there are: by a step that shares no factor with ten."""
    digest = hashlib.blake2b(f"{address}/{key}".encode(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "big")
    return 10 * (drawn % 7919) + (1, 3, 7, 9)[drawn // 7919 % 4], drawn >> 32
