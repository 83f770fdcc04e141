"""JSON schemas of tools: written out without references, copied, and random values that fit them."""

from __future__ import annotations

import marshal
import math
from typing import Any

import numpy as np


class Packed:
    """A JSON value that others read and may change: each gets a copy of their own.

    `value` is the one that was packed, to read only.

    >>> packed = Packed([{"type": "string"}])
    >>> packed.copy()[0]["type"] = "changed"
    >>> packed.copy(), packed.value
    ([{'type': 'string'}], [{'type': 'string'}])
    """

    __slots__ = ("_bytes", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._bytes = marshal.dumps(value)

    def copy(self) -> Any:
        """The value; some ten times faster than walking over it."""
        return marshal.loads(self._bytes)


def written_out(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with references replaced by what they mean (chat templates follow none), untitled.

    Raises TypeError for a type that contains itself.
    """
    definitions = schema.get("$defs", {})

    def plain(node: Any, inside: tuple[str, ...] = ()) -> Any:
        if isinstance(node, list):
            return [plain(item, inside) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            kind = node["$ref"].rsplit("/", 1)[-1]
            if kind in inside:
                raise TypeError(f"the type {kind} contains itself")
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return plain({**definitions[kind], **rest}, (*inside, kind))
        left_out = ("title", "properties", "$defs")
        found = {key: plain(value, inside) for key, value in node.items() if key not in left_out}
        if "properties" in node:  # here the keys are names of the author's, and "title" may be one
            found["properties"] = {key: plain(value, inside) for key, value in node["properties"].items()}
        return found

    written: dict[str, Any] = plain(schema)
    return written


def sample_schema(schema: dict[str, Any], rng: np.random.Generator) -> Any:
    """A random value that fits a JSON schema of the kinds that tools use.

    Raises ValueError for a `pattern` or a `multipleOf`, which it cannot hit.
    """
    for key in ("pattern", "multipleOf"):
        if key in schema:
            raise ValueError(
                f"cannot draw a value with {key}={schema[key]!r}; use an enum, or check it in the tool"
            )
    if "enum" in schema or "const" in schema:
        options = schema.get("enum", [schema.get("const")])
        return options[int(rng.integers(len(options)))]
    if "anyOf" in schema:
        return sample_schema(schema["anyOf"][int(rng.integers(len(schema["anyOf"])))], rng)
    kind = schema.get("type", "string")
    if kind == "object":
        return _object(schema, rng)
    if kind == "array":
        return [sample_schema(schema.get("items", {}), rng) for _ in range(_size(schema, "Items", 0, 3, rng))]
    if kind in ("integer", "number"):
        return _number(schema, kind, rng)
    if kind == "boolean":
        return bool(rng.random() < 0.5)
    if kind == "null":
        return None
    return _word(_size(schema, "Length", 1, 9, rng), rng)


def _object(schema: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    found = {
        key: sample_schema(value, rng)
        for key, value in schema.get("properties", {}).items()
        if key in required or rng.random() < 0.5
    }
    more = schema.get("additionalProperties")
    if isinstance(more, dict) or schema.get("minProperties"):
        names = schema.get("propertyNames", {"minLength": 4, "maxLength": 9})
        for _ in range(_size(schema, "Properties", 0, 3, rng)):
            found[sample_schema(names, rng)] = sample_schema(more if isinstance(more, dict) else {}, rng)
    return found


def _word(length: int, rng: np.random.Generator) -> str:
    return "".join(chr(int(c)) for c in rng.integers(97, 123, size=length))


def _size(schema: dict[str, Any], of: str, low: int, high: int, rng: np.random.Generator) -> int:
    low = schema.get(f"min{of}", low)
    return int(rng.integers(low, max(min(schema.get(f"max{of}", high), max(high, low)), low) + 1))


def _number(schema: dict[str, Any], kind: str, rng: np.random.Generator) -> int | float:
    """A number within the bounds; where one is open, it lies within 100 of the other."""
    step = 1 if kind == "integer" else 0.001
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    low = (-100 if high is None else min(-100, high - 100)) if low is None else low
    high = max(100, low + 100) if high is None else high
    if kind == "integer":
        return int(rng.integers(math.ceil(low), math.floor(high) + 1))
    return min(max(round(float(rng.uniform(low, high)), 3), low), high)
