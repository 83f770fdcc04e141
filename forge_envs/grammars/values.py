"""Values that a format writes as bare text: what they are, the tool's schema tells.

Such templates write strings as they are and all else as JSON (older ones as Python does: True, None), so
`1` may be a number or a string. Where the schema allows strings alone, the text is the value. Where it
allows none, the text is JSON. Where it allows both, or nothing is known, it is JSON if it reads as JSON that
is no string, else a string.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.grammars.reading import Malformed, dump, read_json

Kinds = frozenset[str]
"""JSON types, as a schema names them."""

ANYTHING: Kinds = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})
TEXT: Kinds = frozenset({"string"})
_PYTHON = {"True": True, "False": False, "None": None}


def kinds_of_tools(tools: Sequence[dict[str, Any]]) -> dict[str, dict[str, Kinds]]:
    """The types of every argument of every tool, from schemas in the OpenAI form."""
    functions = [tool.get("function", tool) for tool in tools]
    return {
        function["name"]: {
            key: kinds_of_schema(schema)
            for key, schema in function.get("parameters", {}).get("properties", {}).items()
        }
        for function in functions
    }


def kinds_of_schema(schema: Any) -> Kinds:
    """The types that a schema allows.

    >>> sorted(kinds_of_schema({"anyOf": [{"type": "string"}, {"enum": [1, None]}]}))
    ['integer', 'null', 'string']
    """
    if not isinstance(schema, Mapping):
        return ANYTHING
    if "const" in schema:
        return Kinds({_kind(schema["const"])})
    if "enum" in schema:
        return Kinds(map(_kind, schema["enum"]))
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return Kinds().union(*map(kinds_of_schema, schema[key]))
    kind = schema.get("type", sorted(ANYTHING))
    return Kinds({kind} if isinstance(kind, str) else kind)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "string")


def read_value(text: str, kinds: Kinds) -> Any:
    """The value that stands there as text. Raises Malformed for JSON out of bounds where none else fits."""
    if kinds == TEXT:
        return text
    maybe_text = "string" in kinds
    bare = text if maybe_text else text.strip()
    if bare in _PYTHON and kinds is not ANYTHING and _kind(_PYTHON[bare]) in kinds:
        return _PYTHON[bare]
    if not bare[:1] or bare[0] not in '{["-0123456789tfn':
        return text
    try:
        value, end = read_json(bare, 0)
    except Malformed:
        if maybe_text or bare[0] in '"tfn':
            return text  # the tool says what it wants
        raise
    if end < len(bare) or (maybe_text and not fits(value, kinds)):
        return text
    return value


def fits(value: Any, kinds: Kinds) -> bool:
    """Whether a value that was read as JSON is of these types, and no string."""
    kind = _kind(value)
    return kind != "string" and (kind in kinds or (kind == "integer" and "number" in kinds))


def write_value(value: Any) -> str:
    """The text of a value. Raises ValueError for what is not JSON."""
    return value if isinstance(value, str) else dump(value)
