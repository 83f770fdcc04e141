"""Bounds of numbers, texts and lists, as far as something can lie within them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from forge_envs.errors import brief
from forge_envs.worlds.toolfolder.schema import Kind, Schema

Note = Callable[[Kind, str], None]
_GREATEST = 10**15
"""Bounds beyond it bound nothing that anybody says; and random numbers stay within it."""


def number_of(node: Schema, note: Note) -> Schema:
    """The bounds of a number; OpenAPI 3.0 says `exclusiveMinimum: true`, and means `minimum`.

    >>> number_of({"minimum": 1, "exclusiveMinimum": True, "maximum": 9}, print)
    {'exclusiveMinimum': 1, 'maximum': 9}
    """
    found: Schema = {}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        strict = node.get(exclusive)
        if bound in node:
            found[exclusive if strict is True else bound] = node[bound]
        if exclusive in node and not isinstance(strict, bool):
            found[exclusive] = strict
    for key, value in list(found.items()):
        if not _number(value):
            note("bounds", f"{key}={brief(value)} is no number: left out")
            del found[key]
        elif abs(value) > _GREATEST:
            del found[key]
    low = max((found[key] for key in ("minimum", "exclusiveMinimum") if key in found), default=-math.inf)
    high = min((found[key] for key in ("maximum", "exclusiveMaximum") if key in found), default=math.inf)
    strict = any(key.startswith("excl") for key in found)
    if low > high or (strict and high - low < 2):
        note("bounds", f"no number lies between {low} and {high}: both are left out")
        return {}
    return found


def sized(node: Schema, of: str, note: Note) -> Schema:
    """The least and most items or characters.

    >>> sized({"minLength": 3, "maxLength": 2}, "Length", print)
    bounds no length lies between 3 and 2: both are left out
    {}
    """
    found: Schema = {}
    for key in (f"min{of}", f"max{of}"):
        value: Any = node.get(key)
        if value is None:
            continue
        if not _number(value) or value < 0 or value != int(value):
            note("bounds", f"{key}={brief(value)} is no count: left out")
        elif value <= 10_000:
            found[key] = int(value)
        elif key.startswith("min"):
            note("bounds", f"{key}={brief(value)} is more than anybody writes: left out")
    low, high = found.get(f"min{of}", 0), found.get(f"max{of}", math.inf)
    if low > high:
        note("bounds", f"no length lies between {low} and {high}: both are left out")
        return {}
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
