"""The database that a task plays in: a few rows of every kind, related, none of them anybody's."""

from __future__ import annotations

from typing import Any

import numpy as np

from forge_envs.tables import Row
from forge_envs.worlds.toolfolder.domain import Entity, FolderDomain
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.naming import IDS, words
from forge_envs.worlds.toolfolder.operations import speakable
from forge_envs.worlds.toolfolder.schema import Schema
from forge_envs.worlds.toolfolder.values import key_of, seeded, value_of

ROWS = (4, 7)
"""Of each kind, at least and at most."""


def draw_rows(domain: FolderDomain, rng: np.random.Generator) -> dict[str, dict[str, Row]]:
    """Rows by kind and id; whatever belongs to another row belongs to one that is there."""
    tables: dict[str, dict[str, Row]] = {}
    for entity in in_order(domain):
        rows = tables.setdefault(entity.name, {})
        labels: set[Any] = set()
        for place in range(int(rng.integers(ROWS[0], ROWS[1] + 1))):
            row = _row(entity, tables, place, rng)
            label = row.get(entity.label)
            if str(row[entity.key]) in rows or (entity.label and label in labels):
                continue
            labels.add(label)
            rows[str(row[entity.key])] = row
    return tables


def in_order(domain: FolderDomain) -> list[Entity]:
    """The kinds of rows, those that others belong to first; where they go in circles, as they come."""
    left = dict(domain.entities)
    ordered: list[Entity] = []
    while left:
        free = [one for one in left.values() if not (set(one.parents.values()) - {one.name}) & set(left)]
        for one in free or [next(iter(left.values()))]:
            ordered.append(left.pop(one.name))
    return ordered


def _row(entity: Entity, tables: dict[str, dict[str, Row]], place: int, rng: np.random.Generator) -> Row:
    row: Row = {entity.key: key_of(entity.key_schema, entity.name, place, rng)}
    if misfit(row[entity.key], entity.key_schema):
        row[entity.key] = value_of(entity.key_schema, entity.key, rng)
    for name, kind in entity.parents.items():
        above = list(tables.get(kind, {}).values())
        if above and kind != entity.name:
            parent = above[int(rng.integers(len(above)))]
            row[name] = next(iter(parent.values()))
    for name, schema in entity.fields.items():
        if speakable(schema) or "anyOf" in schema:
            row[name] = value_of(schema, name, rng)
    return row


def context_of(domain: FolderDomain) -> dict[str, Any]:
    """Arguments that are the same in every call of a domain: ids that belong to no kind of row in it."""
    found: dict[str, Any] = {}
    for one in domain.operations.values():
        entity = domain.entities[one.entity]
        for name in one.tool.parameters["required"]:
            schema = one.tool.arguments[name]
            own = name == one.key or name in one.parents or entity.spelled(name) is not None
            if not own and name not in found and (f"{{{name}}}" in one.tool.path or _points(name, schema)):
                found[name] = key_of(schema, name, 1, seeded(domain.id, name))
                if misfit(found[name], schema):
                    found[name] = value_of(schema, name, seeded(domain.id, name))
    return found


def _points(name: str, schema: Schema) -> bool:
    return words(name)[-1:] != [] and words(name)[-1] in IDS and schema.get("type") in ("string", "integer")
