"""Whether a JSON value fits a schema of the folder: arguments of a call, answers of a simulated tool."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from forge_envs.errors import brief
from forge_envs.worlds.toolfolder.schema import Schema


def misfit(value: Any, schema: Schema, at: str = "") -> str | None:
    """The first thing that is wrong with a value and where, None if it fits.

    >>> misfit({"n": "1"}, {"type": "object", "properties": {"n": {"type": "integer"}}})
    "n='1': it must be of type integer"
    """
    if "anyOf" in schema:
        found = [misfit(value, one, at) for one in schema["anyOf"]]
        if all(found):
            return found[0] if len(found) == 1 else f"{_named(at, value)} fits none of the {len(found)} forms"
    if "enum" in schema and not any(type(value) is type(one) and value == one for one in schema["enum"]):
        return f"{_named(at, value)} must be one of {', '.join(map(str, schema['enum'][:20]))}"
    kind = schema.get("type")
    if kind is None:
        return None
    if not _TYPES[kind](value):
        return f"{_named(at, value)} it must be of type {kind}"
    check = _CHECKS.get(kind)
    return None if check is None else check(value, schema, at)


def _named(at: str, value: Any) -> str:
    return f"{at or 'value'}={brief(value)}:"


def _whole(value: Any) -> bool:
    return _number(value) and (isinstance(value, int) or value.is_integer())


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": _whole,
    "number": _number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _object(value: dict[str, Any], schema: Schema, at: str) -> str | None:
    inside, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            return f"{_join(at, name)} is missing"
    for name, one in value.items():
        if name in inside:
            found = misfit(one, inside[name], _join(at, name))
        elif more is False:
            found = (
                f"{_join(at, brief(name)[1:-1])} is not known here; it takes {', '.join(inside) or 'nothing'}"
            )
        else:
            found = misfit(one, more, _join(at, brief(name)[1:-1])) if isinstance(more, dict) else None
        if found:
            return found
    return None


def _array(value: list[Any], schema: Schema, at: str) -> str | None:
    if wrong := _length(len(value), schema, "Items"):
        return f"{_named(at, value)} it must have {wrong} items"
    for i, one in enumerate(value):
        if found := misfit(one, schema.get("items", {}), f"{at}[{i}]"):
            return found
    return None


def _text(value: str, schema: Schema, at: str) -> str | None:
    wrong = _length(len(value), schema, "Length")
    return f"{_named(at, value)} it must have {wrong} characters" if wrong else None


def _length(found: int, schema: Schema, of: str) -> str:
    if found < schema.get(f"min{of}", 0):
        return f"at least {schema[f'min{of}']}"
    return f"at most {schema[f'max{of}']}" if found > schema.get(f"max{of}", found) else ""


_BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "minimum": (operator.lt, "at least"),
    "maximum": (operator.gt, "at most"),
    "exclusiveMinimum": (operator.le, "more than"),
    "exclusiveMaximum": (operator.ge, "less than"),
}


def _bounds(value: float, schema: Schema, at: str) -> str | None:
    for key, (wrong, told) in _BOUNDS.items():
        if key in schema and wrong(value, schema[key]):
            return f"{_named(at, value)} it must be {told} {schema[key]}"
    return None


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


_CHECKS: dict[str, Callable[[Any, Schema, str], str | None]] = {
    "object": _object,
    "array": _array,
    "string": _text,
    "integer": _bounds,
    "number": _bounds,
}
