"""An answer in the form that a tool declares: what a row holds, and fitting values for what it does not."""

from __future__ import annotations

from typing import Any

from forge_envs.tables import Row
from forge_envs.worlds.toolfolder.domain import Entity
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.naming import words
from forge_envs.worlds.toolfolder.schema import Schema
from forge_envs.worlds.toolfolder.values import seeded, value_of

_GOOD = {"status": "ok", "state": "ok", "result": "done", "message": "done", "msg": "done", "success": "yes"}
"""What is said of a call that went through; where a truth value is declared, it is true."""
_COUNTS = ("total", "count", "size", "length")


def shaped(returns: Schema | None, told: Row | list[Row], entity: Entity) -> Any:
    """A row or a list of rows as the tool declares its answer; as it is where nothing is declared."""
    if returns is None or returns == {}:
        return {"results": told} if isinstance(told, list) else dict(told)
    return _value(returns, told, entity, "")


def _value(schema: Schema, told: Any, entity: Entity, name: str) -> Any:
    if "anyOf" in schema:
        wanted = "object" if isinstance(told, dict) else "array" if isinstance(told, list) else None
        schema = next((one for one in schema["anyOf"] if one.get("type") == wanted), schema)
    kind = schema.get("type")
    if kind == "array" and isinstance(told, dict | list):
        rows = told if isinstance(told, list) else [told]
        return [_value(schema.get("items", {}), row, entity, name) for row in rows]
    if kind == "object" and isinstance(told, dict | list):
        return _object(schema, told, entity)
    return (
        told if misfit(told, schema) is None else value_of(schema, name, seeded(entity.name, name, str(told)))
    )


def _object(schema: Schema, told: Any, entity: Entity) -> Any:
    inside = schema.get("properties", {})
    if not inside:
        return {"results": told} if isinstance(told, list) else dict(told)
    around = _around(inside, told, entity)
    found: dict[str, Any] = {}
    for name, one in inside.items():
        spelled = entity.spelled(name) if isinstance(told, dict) else None
        if name == around:
            found[name] = _value(one, told, entity, name)
        elif spelled in (told if isinstance(told, dict) else ()) and misfit(told[spelled], one) is None:
            found[name] = told[spelled]
        elif (
            name in schema.get("required", ())
            or (words(name)[-1:] and words(name)[-1] in _GOOD and not around)
            or (isinstance(told, list) and words(name)[-1:] and words(name)[-1] in _COUNTS)
        ):
            found[name] = _else(name, one, told, entity)
    if isinstance(told, dict) and schema.get("additionalProperties") is not False and not around:
        shown = {entity.spelled(name) for name in inside}
        # What is stored and not declared is told all the same: the agent has no other way to know of it.
        found |= {name: value for name, value in told.items() if name not in shown and name not in found}
    return found


def _around(inside: dict[str, Schema], told: Any, entity: Entity) -> str | None:
    """The property that holds the row or the rows, None where the object is the row itself."""
    if isinstance(told, dict) and any(entity.spelled(name) in told for name in inside):
        return None
    wanted = "array" if isinstance(told, list) else "object"
    return next((name for name, one in inside.items() if one.get("type") == wanted), None)


def _else(name: str, schema: Schema, told: Any, entity: Entity) -> Any:
    last = (words(name) or [""])[-1]
    many = len(told) if isinstance(told, list) and last in _COUNTS else None
    for guess in (_GOOD.get(last), True if last in _GOOD else None, many):
        if guess is not None and misfit(guess, schema) is None:
            return guess
    return value_of(schema, name, seeded(entity.name, name, str(told)[:200]))
