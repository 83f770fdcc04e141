"""The back end that no model runs: rows are made, found, changed and taken away as the operations say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_envs.errors import ToolError, brief
from forge_envs.tables import Row, Table
from forge_envs.worlds.toolfolder.answers import shaped
from forge_envs.worlds.toolfolder.domain import Entity, FolderDomain
from forge_envs.worlds.toolfolder.naming import same_word, words
from forge_envs.worlds.toolfolder.operations import Operation
from forge_envs.worlds.toolfolder.values import key_of, seeded
from forge_envs.worlds.toolfolder.wording import past

GONE = "deleted"
"""The one field of a row that was taken away."""
_SEARCHES = ("q", "query", "search", "keyword", "keywords", "term", "text", "pattern")
_MOST = ("limit", "per page", "page size", "max results", "max", "count", "size")


@dataclass
class RowStore:
    """The rows of one episode, by kind and by id as text; what a domain's tools run on."""

    domain: FolderDomain
    tables: dict[str, Table]
    context: Mapping[str, Any]
    """Arguments that are the same in every call, such as whose account it is."""
    writes: int = 0
    """Writes that went through."""
    made: int = field(default=0)
    """Rows made in this episode."""

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Run a tool. Raises ToolError where a row is not there or not as it must be."""
        one = self.domain.operations[tool]
        entity = self.domain.entities[one.entity]
        for name, value in arguments.items():
            if name in self.context and name not in one.parents and str(value) != str(self.context[name]):
                raise ToolError(f"{name} {brief(value)} was not found")
        for name, kind in one.parents.items():
            if name in arguments:
                self._row(self.domain.entities[kind], arguments[name])
        result = getattr(self, f"_{one.does}")(one, entity, arguments)
        if one.does not in ("get", "list"):
            self.writes += 1
        return result

    def changed(self) -> dict[tuple[str, str], Row]:
        """Every row that is not as it was, by kind and id."""
        return {
            (name, key): row for name, table in self.tables.items() for key, row in table.changed().items()
        }

    def rows(self, entity: str) -> Iterator[Row]:
        """The rows of a kind, to read only."""
        table = self.tables[entity]
        return (row for key in table if GONE not in (row := table.peek(key)))

    # -- what operations do ------------------------------------------------------------------------------

    def _get(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Any:
        return shaped(one.tool.returns, self._named(one, entity, arguments), entity)

    def _list(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Any:
        found = [row for row in self.rows(one.entity) if self._wanted(row, one, entity, arguments)]
        for name, value in arguments.items():
            told = " ".join(words(name))
            if told in _MOST and isinstance(value, int):
                found = found[: max(value, 1)]
            elif told == "page" and value not in (0, 1, "0", "1"):
                found = []
        return shaped(one.tool.returns, found, entity)

    def _wanted(self, row: Row, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> bool:
        for name, value in arguments.items():
            spelled = entity.spelled(name)
            if name in one.parents:
                spelled = spelled or self._parent(entity, one.parents[name])
            if spelled in row:
                if str(row[spelled]).casefold() != str(value).casefold():
                    return False
            elif " ".join(words(name)) in _SEARCHES:
                texts = (str(one).casefold() for one in row.values() if isinstance(one, str))
                if not any(str(value).casefold() in text for text in texts):
                    return False
        return True

    def _create(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Any:
        table = self.tables[entity.name]
        row: Row = {}
        for name, value in arguments.items():
            spelled = entity.spelled(name)
            if name in one.parents:
                spelled = spelled or self._parent(entity, one.parents[name])
            if spelled is not None:
                row[spelled] = value
        key = row.get(entity.key)
        if key is None:
            key = self._new_key(entity, table)
        elif str(key) in table:
            raise ToolError(f"{entity.name} {brief(key)} is there already")
        row = {entity.key: key, **{name: value for name, value in row.items() if name != entity.key}}
        table.add(str(key), row)
        self.made += 1
        return shaped(one.tool.returns, row, entity)

    def _update(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Any:
        self._named(one, entity, arguments)
        changes = self._set(one, entity, arguments)
        if not changes:
            raise ToolError(f"nothing to change is given for {entity.name} {brief(arguments.get(one.key))}")
        row = self.tables[entity.name].row(str(arguments[one.key]))
        row.update(changes)
        return shaped(one.tool.returns, row, entity)

    def _delete(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Any:
        named = self._named(one, entity, arguments)
        for other in self.domain.entities.values():
            at = next((name for name, kind in other.parents.items() if kind == entity.name), None)
            below = (
                sum(str(row.get(at)) == str(named[entity.key]) for row in self.rows(other.name)) if at else 0
            )
            if below and other.name != entity.name:
                raise ToolError(
                    f"{entity.name} {named[entity.key]} still has {below} of its {other.name} rows"
                )
        row = self.tables[entity.name].row(str(arguments[one.key]))
        row.clear()
        row[GONE] = True
        return shaped(one.tool.returns, {entity.key: arguments[one.key], GONE: True}, entity)

    def _action(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Any:
        named = self._named(one, entity, arguments)
        name, value = effect(one, entity)
        extra = self._set(one, entity, arguments)
        extra.pop(name, None)
        if named.get(name) == value and not extra:
            raise ToolError(f"{entity.name} {named[entity.key]} is {past(one.verb)} already")
        row = self.tables[entity.name].row(str(arguments[one.key]))
        row.update(extra)
        row[name] = value
        return shaped(one.tool.returns, row, entity)

    # -- rows --------------------------------------------------------------------------------------------

    def _named(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Row:
        """The row that a call is about, which belongs to the rows that the call says. Raises ToolError."""
        row = self._row(entity, arguments.get(one.key))
        for name, kind in one.parents.items():
            at = self._parent(entity, kind)
            if name in arguments and at in row and str(row[at]) != str(arguments[name]):
                raise ToolError(
                    f"{entity.name} {row[entity.key]} does not belong to {kind} {brief(arguments[name])}"
                )
        return row

    def _row(self, entity: Entity, key: Any) -> Row:
        table = self.tables[entity.name]
        row = table.peek(str(key)) if str(key) in table else None
        if row is None or GONE in row:
            raise ToolError(f"{entity.name} {brief(key)} was not found")
        return row

    def _set(self, one: Operation, entity: Entity, arguments: Mapping[str, Any]) -> Row:
        """The fields that a call sets."""
        given = {
            entity.spelled(name): value
            for name, value in arguments.items()
            if name != one.key and name not in one.parents
        }
        return {name: value for name, value in given.items() if name is not None and name in entity.fields}

    def _parent(self, entity: Entity, kind: str) -> str | None:
        return next((name for name, one in entity.parents.items() if one == kind), None)

    def _new_key(self, entity: Entity, table: Table) -> str | int:
        for attempt in range(1000):
            key = key_of(
                entity.key_schema,
                entity.name,
                50 + self.made,
                seeded(self.domain.id, entity.name, self.made, attempt),
            )
            if str(key) not in table:
                return key
        raise ToolError(f"there is no room for another {entity.name}")


def effect(one: Operation, entity: Entity) -> tuple[str, Any]:
    """What a deed leaves on its row: a field and its value."""
    done = past(one.verb)
    if entity.status:
        options = entity.fields[entity.status].get("enum")
        if options is None:
            return entity.status, done
        near = [one_of for one_of in options if str(one_of).lower()[:4] == done.replace(" ", "_")[:4]]
        if near:
            return entity.status, near[0]
    known = next(
        (name for name in entity.fields if same_word(name, done) or same_word(name, f"is {done}")), None
    )
    return known or done.replace(" ", "_"), True
