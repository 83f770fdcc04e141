"""Errands by directed walks: which calls lead to a row that the customer means, and what is then done to it.

An argument of a call is told by the customer, stands in the answer of a call before, or is the same in every
call; a draft for which that is not so is thrown away, and so is one whose calls are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from forge_envs.errors import ToolError
from forge_envs.messages import ToolCall
from forge_envs.tables import Row
from forge_envs.worlds.toolfolder.backend import RowStore
from forge_envs.worlds.toolfolder.domain import Entity
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.naming import spoken
from forge_envs.worlds.toolfolder.operations import Operation, speakable
from forge_envs.worlds.toolfolder.schema import Schema
from forge_envs.worlds.toolfolder.talk import Want
from forge_envs.worlds.toolfolder.values import key_of, value_of
from forge_envs.worlds.toolfolder.wording import WAYS, article, capital, listed, past, pick, said, set_to

LONGEST_VALUE = 60
"""Characters of a value that a customer says."""


class Dead(Exception):
    """A walk that leads nowhere; another one is tried."""


@dataclass
class DirectedWalk:
    """One errand in the making: the calls so far, and all that is known from them and from the customer."""

    store: RowStore
    rng: np.random.Generator
    by_label: bool
    """Rows are called by their names, so that their ids must be looked up."""
    withhold: bool
    """Some details are told only when they are asked for."""
    used: set[str] = field(default_factory=set)
    """Rows that errands before were about."""
    actions: list[str | ToolCall] = field(default_factory=list)

    # -- errands ---------------------------------------------------------------------------------------

    def errand(self, one: Operation) -> Want:
        """What a customer wants of an operation. Raises Dead."""
        entity = self.store.domain.entities[one.entity]
        if one.does in ("get", "list"):
            return self._ask(one, entity)
        if one.does == "create":
            return self._create(one, entity)
        row = self._some(entity)
        it, arguments = self._reach(one, entity, row)
        chosen: dict[str, Any] = {}
        if one.does == "update":
            chosen = self._changes(one, entity, row)
        elif one.does == "action":
            chosen = self._chosen(one, entity, needed=True)
        self._fill(one, entity, row, arguments, chosen)
        told, details = self._split(chosen)
        ways = {
            "it": it,
            "It": capital(it),
            "verb": one.verb,
            "done": past(one.verb) if one.verb else "",
            "with_": f" with {told}" if told else "",
            "set_": told,
            "Set_": capital(told),
        }
        if one.does == "update" and not told:
            request = pick(
                ("Please change {it}.", "Something about {it} has to change.", "I need an update of {it}."),
                self.rng,
            )
        else:
            request = pick(WAYS[one.does], self.rng)
        request = request.format(**ways)
        self._say(details)
        self._run(one, arguments)
        done = {"update": "changed", "delete": "deleted"}.get(one.does) or past(one.verb)
        self.actions.append(f"Done: {it} is {done}.")
        return Want(one.does, request, details, call=self._last())

    def missing(self, one: Operation) -> Want:
        """A wish about a row that is not there, whose refusal must be told. Raises Dead."""
        entity = self.store.domain.entities[one.entity]
        if one.does not in ("get", "delete", "action") or self._needs(one, entity) - {one.key}:
            raise Dead
        key = key_of(one.tool.arguments[one.key], entity.name, 80, self.rng)
        if misfit(key, one.tool.arguments[one.key]) or str(key) in self.store.tables[entity.name]:
            raise Dead
        it = f"{entity.name} {key}"
        if one.does == "get":
            fact = next((name for name, schema in entity.fields.items() if speakable(schema)), entity.key)
            request = pick(WAYS["ask"], self.rng).format(it=it, It=capital(it), fact=spoken(fact))
        else:
            ways = {"it": it, "It": capital(it), "verb": one.verb, "done": past(one.verb or "x"), "with_": ""}
            request = pick(WAYS[one.does], self.rng).format(**ways)
        arguments = {one.key: key, **self._context(one)}
        self.actions.append(ToolCall(one.tool.name, arguments))
        try:
            self.store.call(one.tool.name, arguments)
        except ToolError:
            self.actions.append(f"I could not find {it}: there is no such {entity.name}.")
            return Want("missing", request, refused=True, call=self._last())
        raise Dead

    def _ask(self, one: Operation, entity: Entity) -> Want:
        row = self._some(entity)
        facts = [
            name
            for name, schema in entity.fields.items()
            if name in row and name != entity.label and schema.get("type") in ("string", "integer", "number")
        ]
        facts = [name for name in facts if 0 < len(str(row[name])) <= LONGEST_VALUE]
        if not facts:
            raise Dead
        fact = pick(facts, self.rng)
        truth = str(row[fact])
        if one.does == "get":
            it, arguments = self._reach(one, entity, row)
            self._fill(one, entity, row, arguments, {})
        else:
            if not entity.label:
                raise Dead
            it, arguments = f"the {entity.name} {said(row[entity.label])}", self._listing(one, entity, row)
        request = pick(WAYS["ask"], self.rng).format(it=it, It=capital(it), fact=spoken(fact))
        result = self._run(one, arguments)
        if truth not in result:
            raise Dead
        others = {str(other.get(fact)) for other in self.store.rows(entity.name)} - {truth, "None"}
        rivals = frozenset(value for value in others if value.casefold() not in request.casefold())
        if truth.casefold() in request.casefold():
            raise Dead
        self.actions.append(f"The {spoken(fact)} of {it} is {truth}.")
        return Want("ask", request, truth=truth, rivals=rivals, call=self._last())

    def _create(self, one: Operation, entity: Entity) -> Want:
        arguments: dict[str, Any] = {}
        below = []
        for name, kind in one.parents.items():
            if name not in one.tool.parameters["required"]:
                continue
            parent = self.store.domain.entities[kind]
            row = self._some(parent)
            phrase = self._find(parent, row)
            below.append(phrase)
            arguments[name] = self._as(one.tool.arguments[name], row[parent.key])
        chosen = self._chosen(one, entity, needed=False)
        self._fill(one, entity, {}, arguments, chosen)
        told, details = self._split(chosen)
        request = pick(WAYS["create"], self.rng).format(
            a_noun=article(entity.name),
            noun=entity.name,
            below=f" for {listed(below)}" if below else "",
            with_=f" with {told}" if told else "",
        )
        self._say(details)
        self._run(one, arguments)
        self.actions.append(f"Done: there is a new {entity.name}.")
        return Want("create", request, details, call=self._last())

    # -- rows ------------------------------------------------------------------------------------------

    def _some(self, entity: Entity) -> Row:
        """A row that no errand was about yet. Raises Dead."""
        rows = [row for row in self.store.rows(entity.name) if str(row[entity.key]) not in self.used]
        if not rows:
            raise Dead
        row = rows[int(self.rng.integers(len(rows)))]
        self.used.add(str(row[entity.key]))
        return row

    def _reach(self, one: Operation, entity: Entity, row: Row) -> tuple[str, dict[str, Any]]:
        """What the customer calls a row, and the arguments that point at it."""
        arguments = {one.key: self._as(one.tool.arguments[one.key], row[entity.key])}
        below = []
        for name, kind in one.parents.items():
            at = next((field for field, of in entity.parents.items() if of == kind), None)
            if name in one.tool.parameters["required"]:
                if at is None or at not in row:
                    raise Dead
                parent = self.store.domain.entities[kind]
                above = self.store.tables[kind].peek(str(row[at]))
                below.append(self._find(parent, above))
                arguments[name] = self._as(one.tool.arguments[name], row[at])
        it = self._find(entity, row)
        return f"{it} of {listed(below)}" if below else it, arguments

    def _find(self, entity: Entity, row: Row) -> str:
        """What a row is called; by its name, if the walk finds its id by that."""
        if self.by_label and entity.label and len(str(row.get(entity.label, ""))) > 2:
            for one in self.store.domain.of(entity.name, "list"):
                try:
                    result = self._run(one, self._listing(one, entity, row))
                except Dead:
                    continue
                if str(row[entity.key]) in result and str(row[entity.label]) in result:
                    return f"the {entity.name} {said(row[entity.label])}"
        return f"{entity.name} {row[entity.key]}"

    def _listing(self, one: Operation, entity: Entity, row: Row) -> dict[str, Any]:
        """Arguments of a call that lists a row among others. Raises Dead."""
        arguments: dict[str, Any] = self._context(one)
        for name in one.tool.parameters["required"]:
            if name in arguments:
                continue
            spelled = entity.spelled(name)
            if name in one.parents:
                spelled = spelled or next(
                    (f for f, kind in entity.parents.items() if kind == one.parents[name]), None
                )
            if spelled == entity.key or spelled not in row:
                raise Dead
            arguments[name] = self._as(one.tool.arguments[name], row[spelled])
        return arguments

    # -- arguments -------------------------------------------------------------------------------------

    def _needs(self, one: Operation, entity: Entity) -> set[str]:
        return set(one.tool.parameters["required"]) - set(self._context(one))

    def _context(self, one: Operation) -> dict[str, Any]:
        return {
            name: self.store.context[name]
            for name in one.tool.parameters["required"]
            if name in self.store.context
        }

    def _changes(self, one: Operation, entity: Entity, row: Row) -> dict[str, Any]:
        options = [
            name
            for name, schema in one.tool.arguments.items()
            if name != one.key
            and name not in one.parents
            and self._sayable(schema)
            and entity.spelled(name) in row
        ]
        if not options:
            raise Dead
        places = self.rng.permutation(len(options))[: 1 + int(self.rng.random() < 0.3)]
        chosen = {}
        for name in (options[int(place)] for place in places):
            value = self._value(one.tool.arguments[name], name)
            if value == row[entity.spelled(name) or name]:
                raise Dead
            chosen[name] = value
        return chosen

    def _chosen(self, one: Operation, entity: Entity, *, needed: bool) -> dict[str, Any]:
        """Values of the fields that a call must set, and for a new row of one or two more."""
        own = [
            name
            for name in one.tool.arguments
            if name != one.key and name not in one.parents and name not in self._context(one)
        ]
        must = [name for name in own if name in one.tool.parameters["required"]]
        chosen = {}
        for name in must:
            schema = one.tool.arguments[name]
            if not self._sayable(schema):
                raise Dead
            chosen[name] = self._value(schema, name)
        free = [
            name
            for name in own
            if name not in must
            and self._sayable(one.tool.arguments[name])
            and entity.spelled(name) in entity.fields
        ]
        if not needed and free:
            for place in self.rng.permutation(len(free))[: int(self.rng.integers(not must, 3))]:
                chosen[free[int(place)]] = self._value(one.tool.arguments[free[int(place)]], free[int(place)])
        return chosen

    def _sayable(self, schema: Schema) -> bool:
        return speakable(schema) or (schema.get("type") == "array" and speakable(schema.get("items", {})))

    def _value(self, schema: Schema, name: str) -> Any:
        value = value_of(schema, name, self.rng)
        if len(str(value)) > LONGEST_VALUE or not str(value).strip() or misfit(value, schema):
            raise Dead
        return value

    def _fill(
        self, one: Operation, entity: Entity, row: Row, arguments: dict[str, Any], chosen: dict[str, Any]
    ) -> None:
        """What is chosen, what is the same in every call, and the rest as it stands in the row."""
        arguments |= {**self._context(one), **chosen}
        for name in one.tool.parameters["required"]:
            if name in arguments:
                continue
            spelled = entity.spelled(name)
            schema = one.tool.arguments[name]
            if spelled in row:
                arguments[name] = self._as(schema, row[spelled])
                self._read(entity, row)
            elif "default" in schema or "enum" in schema:
                arguments[name] = schema.get("default", schema.get("enum", [None])[0])
            else:
                raise Dead

    def _read(self, entity: Entity, row: Row) -> None:
        """Look at a row before all of it is given back."""
        for one in self.store.domain.of(entity.name, "get"):
            if self._needs(one, entity) <= {one.key}:
                self._run(
                    one,
                    {**self._context(one), one.key: self._as(one.tool.arguments[one.key], row[entity.key])},
                )
                return
        raise Dead

    def _as(self, schema: Schema, value: Any) -> Any:
        """A value in the type that an argument has. Raises Dead."""
        for one in (value, str(value), int(value) if str(value).isdecimal() else value):
            if misfit(one, schema) is None:
                return one
        raise Dead

    # -- words and calls ---------------------------------------------------------------------------------

    def _split(self, chosen: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """What of the chosen values is said at once, and what is told when it is asked for."""
        kept = [name for name in chosen if len(chosen) > 1 and self.withhold and self.rng.random() < 0.6][1:]
        if self.withhold and not kept and chosen:
            kept = [list(chosen)[-1]]
        told = listed([set_to(name, value) for name, value in chosen.items() if name not in kept])
        details = {spoken(name): f"{capital(spoken(name))}: {said(chosen[name])}." for name in kept}
        return told, details

    def _say(self, details: dict[str, str]) -> None:
        """The agent's question for what the customer leaves out; before any call."""
        if details:
            self.actions.insert(0, f"What {listed(list(details))} should it have?")

    def _last(self) -> ToolCall:
        """The call that the errand comes to."""
        return next(action for action in reversed(self.actions) if isinstance(action, ToolCall))

    def _run(self, one: Operation, arguments: dict[str, Any]) -> str:
        if misfit(arguments, {**one.tool.parameters, "additionalProperties": False}):
            raise Dead
        try:
            result = self.store.call(one.tool.name, arguments)
        except ToolError:
            raise Dead from None
        call = ToolCall(one.tool.name, arguments)
        if call not in self.actions:
            self.actions.append(call)
        return json.dumps(result, ensure_ascii=False)
