"""A domain: the tools of one community, the kinds of rows behind them, and what each row has."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.worlds.toolfolder.folder import read_folder
from forge_envs.worlds.toolfolder.graph import communities
from forge_envs.worlds.toolfolder.kinds import Kinds
from forge_envs.worlds.toolfolder.naming import IDS, PAGING, same_word, words
from forge_envs.worlds.toolfolder.operations import Operation, operations
from forge_envs.worlds.toolfolder.schema import Catalogue, Schema, ToolSchema

_LABELS = ("name", "title", "subject", "label", "full name", "display name", "summary", "friendly name")
LEAST_TOOLS = 3
"""Tools that a domain has at least."""


@dataclass(frozen=True)
class Entity:
    """One kind of row."""

    name: str
    key: str
    """The field that holds its id."""
    key_schema: Schema
    fields: Mapping[str, Schema]
    """All others that have no row of another kind behind them, as rows spell them."""
    parents: Mapping[str, str]
    """Fields that hold the id of another row -> its kind."""

    @property
    def label(self) -> str:
        """The field by which a person calls such a row, "" if there is none."""
        named = {" ".join(words(name)): name for name, schema in self.fields.items() if _text(schema)}
        return next((named[one] for one in (*_LABELS, f"{self.name} name") if one in named), "")

    @property
    def status(self) -> str:
        """The field that says what became of it, "" if there is none."""
        found = (name for name, schema in self.fields.items() if words(name)[-1:] in (["status"], ["state"]))
        return next((name for name in found if self.fields[name].get("type") == "string"), "")

    def spelled(self, name: str) -> str | None:
        """The field that an argument or a property of an answer means, None if it means none."""
        if name in self.fields or name in self.parents or name == self.key:
            return name
        for known in (self.key, *self.parents, *self.fields):
            if same_word(known, name):
                return known
        told = " ".join(words(name))
        return self.key if told in (f"{self.name} {' '.join(words(self.key))}", f"{self.name} id") else None


@dataclass(frozen=True, eq=False)
class FolderDomain:
    """What one task plays in. It pickles as the folder and its id."""

    id: str
    tools: tuple[ToolSchema, ...]
    operations: Mapping[str, Operation]
    """By the tool's name."""
    entities: Mapping[str, Entity]
    folder: str

    def of(self, entity: str, *does: str) -> list[Operation]:
        """The operations on a kind of row that do one of these."""
        return [one for one in self.operations.values() if one.entity == entity and one.does in does]

    def __reduce__(self) -> tuple[Callable[[str, str], FolderDomain], tuple[str, str]]:
        return domain_of, (self.folder, self.id)


@dataclass(frozen=True)
class Atlas:
    """The domains of a folder, and why the other tools are in none."""

    domains: Mapping[str, FolderDomain]
    left: Mapping[str, str]
    """Tools without a rule -> why."""
    catalogue: Catalogue = field(repr=False)

    def report(self) -> str:
        """Everything in words, for a person."""
        lines = [f"{len(self.domains)} domains with {sum(len(d.tools) for d in self.domains.values())} tools"]
        for domain in self.domains.values():
            kinds = ", ".join(domain.entities)
            lines.append(f"  {domain.id}: {len(domain.tools)} tools on {kinds}")
        lines += [f"{len(self.left)} tools that no rule can simulate"]
        lines += [f"  {name}: {why}" for name, why in self.left.items()]
        return "\n".join([self.catalogue.report(), *lines])


def domain_of(folder: str, id: str) -> FolderDomain:
    """A domain by its id. Raises TaskError."""
    found = atlas(folder).domains
    if id not in found:
        raise TaskError(f"domain {id!r}: {folder} has {', '.join(list(found)[:20]) or 'none'}")
    return found[id]


def atlas(folder: str) -> Atlas:
    """The domains of a folder. Raises TaskError and NotInstalled."""
    catalogue = read_folder(folder)
    return _atlas(folder, catalogue)


@functools.lru_cache(maxsize=8)
def _atlas(folder: str, catalogue: Catalogue) -> Atlas:
    domains: dict[str, FolderDomain] = {}
    left: dict[str, str] = {}
    tools = list(catalogue.tools.values())
    kinds = Kinds(tools)
    for group in kinds.joined(communities(tools, kinds.bound)):
        found, why = operations(group)
        left |= why
        domain, why = _domain(found, folder, set(domains))
        left |= why
        if domain is not None:
            domains[domain.id] = domain
    return Atlas(dict(sorted(domains.items())), dict(sorted(left.items())), catalogue)


def _domain(
    found: list[Operation], folder: str, taken: set[str]
) -> tuple[FolderDomain | None, dict[str, str]]:
    """The domain of operations that belong together, None where it would be too little of one."""
    entities = {one.name: one for one in _entities(found)}
    reads = any(one.does in ("get", "list") for one in found)
    writes = any(one.does not in ("get", "list") for one in found)
    if len(found) < LEAST_TOOLS or not (reads and writes):
        why = "its domain has too few tools, or none that reads, or none that writes"
        return None, {one.tool.name: why for one in found}
    kinds = list(dict.fromkeys(one.entity for one in found))
    stem = "_".join(kinds[0].split())
    names = hashlib.blake2b(
        " ".join(sorted(one.tool.name for one in found)).encode(), digest_size=2
    ).hexdigest()
    id = next(
        one
        for one in (stem, f"{stem}-{names}", *(f"{stem}-{names}-{n}" for n in range(99)))
        if one not in taken
    )
    tools = tuple(one.tool for one in found)
    return FolderDomain(id, tools, {one.tool.name: one for one in found}, entities, folder), {}


def _entities(found: list[Operation]) -> Iterator[Entity]:
    for name in dict.fromkeys(one.entity for one in found):
        mine = [one for one in found if one.entity == name]
        answered = _answered(mine)
        keys = [(one.key, one.tool.arguments[one.key]) for one in mine if one.key]
        key, key_schema = keys[0] if keys else _own_key(answered, name)
        parents: dict[str, str] = {}
        for one in mine:
            parents |= {arg: kind for arg, kind in one.parents.items() if not _spelled(arg, parents)}
        key = next((p for p in answered if same_word(p, key)), None) or _own_key(answered, name, key)[0]
        fields = {
            prop: schema
            for prop, schema in answered.items()
            if prop != key and not _spelled(prop, parents) and _plain(schema)
        }
        for one in mine:
            if one.does in ("create", "update", "action"):
                _take_arguments(one, key, parents, fields)
        yield Entity(name, key, {k: v for k, v in key_schema.items() if k != "description"}, fields, parents)


def _take_arguments(one: Operation, key: str, parents: Mapping[str, str], fields: dict[str, Schema]) -> None:
    """What can be set is a field; its type is that of the argument."""
    for arg, schema in one.tool.arguments.items():
        if arg == one.key or same_word(arg, key) or _spelled(arg, parents) or arg in one.parents:
            continue
        if one.does != "create" and set(words(arg)) & PAGING:
            continue
        fields[_spelled(arg, fields) or arg] = schema


def _spelled(name: str, known: Mapping[str, Any]) -> str | None:
    return name if name in known else next((one for one in known if same_word(one, name)), None)


def _own_key(answered: Mapping[str, Schema], entity: str, otherwise: str = "id") -> tuple[str, Schema]:
    for prop, schema in answered.items():
        told = words(prop)
        own = told[-1:] and told[-1] in IDS and " ".join(told[:-1]) in ("", entity, entity.split()[-1])
        if own and schema.get("type") in ("string", "integer"):
            return prop, schema
    return otherwise, {"type": "string"}


def _answered(mine: list[Operation]) -> dict[str, Schema]:
    """What answers tell of such a row."""
    found: dict[str, Schema] = {}
    for one in sorted(
        mine, key=lambda one: ("get", "list", "create", "update", "action", "delete").index(one.does)
    ):
        if one.does in ("get", "list", "create", "update"):
            for prop, schema in row_schema(one.tool.returns).get("properties", {}).items():
                if not _spelled(prop, found):
                    found[prop] = schema
    return found


def row_schema(returns: Schema | None) -> Schema:
    """The row in an answer: the object itself, the items of a list, or either inside one object around it."""
    schema = returns or {}
    for _ in range(3):
        if "anyOf" in schema:
            schema = next((one for one in schema["anyOf"] if one.get("type") in ("object", "array")), {})
        if schema.get("type") == "array":
            schema = schema.get("items", {})
            continue
        inside = schema.get("properties", {})
        lists = [
            one for one in inside.values() if one.get("type") == "array" and _holds_rows(one.get("items", {}))
        ]
        objects = [one for one in inside.values() if _holds_rows(one)]
        scalars = [one for one in inside.values() if _plain(one)]
        around = lists if len(lists) == 1 and len(scalars) < 4 else objects if len(inside) == 1 else []
        if len(around) != 1:
            break
        schema = around[0]
    return schema if schema.get("type") == "object" else {}


def _holds_rows(schema: Schema) -> bool:
    return schema.get("type") == "object" and bool(schema.get("properties"))


def _plain(schema: Schema) -> bool:
    if "anyOf" in schema:
        return all(_plain(one) or one.get("type") == "null" for one in schema["anyOf"])
    return schema.get("type") in ("string", "integer", "number", "boolean")


def _text(schema: Schema) -> bool:
    return schema.get("type") == "string" and "enum" not in schema and not schema.get("format")
