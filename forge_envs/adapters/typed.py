"""A world's tools as typed methods, for libraries that read a tool from its signature and its docstring."""

from __future__ import annotations

import functools
import inspect
import json
import operator
from collections.abc import Callable
from typing import Any, Literal

SCALARS: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": None}
SAY = {
    "name": "say",
    "description": "Say something to whoever speaks with you. Only what is said with this tool is heard.",
    "parameters": {
        "type": "object",
        "properties": {"message": {"type": "string", "description": "What you say, as plain text."}},
        "required": ["message"],
    },
}
"""The tool through which prose reaches the other party where a library hands on nothing but calls."""


def typed_method(
    tool: dict[str, Any], answer: Callable[[Any, str, dict[str, Any]], str]
) -> Callable[..., str]:
    """A method with a tool's signature and Google docstring; a call is `answer(self, name, arguments)`.

    `tool` is the function part of a schema in the OpenAI form. What a signature cannot say of an argument
    (fields of objects, limits) its description says, as JSON. Arguments are passed on as they were given,
    so that the world checks them and tells the agent what is wrong, as it does everywhere.

    >>> method = typed_method(SAY, lambda self, name, arguments: f"{name}: {arguments['message']}")
    >>> str(inspect.signature(method)), method(None, message="Hi")
    ('(self, message: str) -> str', 'say: Hi')
    """
    name, parameters = tool["name"], tool["parameters"]

    def method(self: Any, **arguments: Any) -> str:
        return answer(self, name, arguments)

    required, properties = parameters.get("required", []), parameters["properties"]
    kinds = {key: annotation(value) for key, value in properties.items()}
    signature = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for key in sorted(properties, key=lambda key: key not in required):
        default = inspect.Parameter.empty if key in required else properties[key].get("default")
        signature.append(
            inspect.Parameter(
                key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kinds[key]
            )
        )
    method.__name__ = method.__qualname__ = name
    method.__doc__ = _docstring(tool["description"], properties)
    method.__annotations__ = {**kinds, "return": str}
    method.__signature__ = inspect.Signature(signature, return_annotation=str)  # type: ignore[attr-defined]
    return method


def annotation(schema: dict[str, Any]) -> Any:
    """The type that a JSON schema means, as far as Python has one.

    >>> annotation({"type": "array", "items": {"enum": ["a", "b"], "type": "string"}})
    list[typing.Literal['a', 'b']]
    """
    if "enum" in schema or "const" in schema:
        return Literal[tuple(schema.get("enum", [schema.get("const")]))]
    if "anyOf" in schema:
        return functools.reduce(operator.or_, map(annotation, schema["anyOf"]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return functools.reduce(operator.or_, (annotation({"type": one}) for one in kind))
    if kind == "array":
        return list[annotation(schema["items"])] if "items" in schema else list[Any]  # type: ignore[misc]
    if kind == "object":
        more = schema.get("additionalProperties")
        return dict[str, annotation(more)] if isinstance(more, dict) and more else dict  # type: ignore[misc]
    return SCALARS.get(str(kind), Any)


_SAID = {"type", "description", "items", "enum", "const", "anyOf", "default", "additionalProperties"}


def _lossy(schema: dict[str, Any]) -> bool:
    """Whether a type says less than the schema does."""
    inner = [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    return bool(set(schema) - _SAID) or any(map(_lossy, [*inner, *schema.get("anyOf", [])]))


def _docstring(description: str, properties: dict[str, Any]) -> str:
    lines = [" ".join(description.split()), ""]
    if properties:
        lines.append("Args:")
    for key, schema in properties.items():
        told = " ".join(str(schema.get("description", "See its type.")).split())
        if _lossy(schema):
            rest = {name: value for name, value in schema.items() if name != "description"}
            told += f" As a JSON schema: {json.dumps(rest, ensure_ascii=False)}"
        lines.append(f"    {key}: {told}")
    return "\n".join(lines)
