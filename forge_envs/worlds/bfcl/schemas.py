"""Function documents of BFCL as JSON schemas in the OpenAI form."""

from __future__ import annotations

import json
from typing import Any

from forge_envs.errors import TaskError, brief
from forge_envs.worlds.bfcl.categories import Language

JSON_TYPES = {
    "boolean": "boolean", "bool": "boolean", "Boolean": "boolean",
    "integer": "integer", "Bigint": "integer", "byte": "integer", "long": "integer", "short": "integer",
    "number": "number", "float": "number", "double": "number",
    "array": "array", "list": "array", "tuple": "array", "Array": "array", "ArrayList": "array",
    "Queue": "array", "Stack": "array",
    "dict": "object", "object": "object", "HashMap": "object", "Hashtable": "object",
}  # fmt: skip
"""What the documents' types are in JSON; all others, "any" among them, are text, as in the official
runner."""
_KEPT = ("description", "enum", "default", "minimum", "maximum", "minItems", "maxItems", "format")
_SYNTAX = {"python": "", "java": "Java 8", "javascript": "JavaScript"}


def tool_schema(function: dict[str, Any], language: Language = "python") -> dict[str, Any]:
    """One function as the agent is shown it. Raises TaskError for a document that is none.

    >>> tool_schema({"name": "f", "description": "F.", "parameters": {"type": "dict", "properties": {"x":
    ...     {"type": "float", "description": "X."}}, "required": ["x"]}})["function"]["parameters"]
    {'type': 'object', 'properties': {'x': {'type': 'number', 'description': 'X.'}}, 'required': ['x']}
    """
    try:
        name, description, parameters = function["name"], function["description"], function["parameters"]
        properties = dict(parameters["properties"])
        required = list(parameters.get("required", ()))
        shown = {
            key: _schema(value) if language == "python" else _written(value, language)
            for key, value in properties.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TaskError(
            f"this describes no function ({type(error).__name__}: {error}): {brief(function)}"
        ) from None
    if not isinstance(name, str) or not isinstance(description, str):
        raise TaskError(f"a function's name and description are text: {brief(function)}")
    if language != "python":
        description = f"{description} It is a {_SYNTAX[language]} function."
    if "response" in function:
        description = f"{description} It returns: {json.dumps(_schema(function['response']))}"
    schema = {"type": "object", "properties": shown, "required": [key for key in required if key in shown]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def _schema(node: dict[str, Any]) -> dict[str, Any]:
    """A node of a document as JSON schema."""
    found: dict[str, Any] = {"type": JSON_TYPES.get(node.get("type", ""), "string")}
    found |= {key: node[key] for key in _KEPT if key in node}
    if not found.get("enum", True):
        del found["enum"]  # no value would do
    if found["type"] == "object" and isinstance(node.get("properties"), dict):
        found["properties"] = {key: _schema(value) for key, value in node["properties"].items()}
        if isinstance(node.get("required"), list):
            found["required"] = [key for key in node["required"] if key in found["properties"]]
    if found["type"] == "array":
        found["items"] = _schema(node["items"]) if isinstance(node.get("items"), dict) else {"type": "string"}
    return found


def _written(node: dict[str, Any], language: Language) -> dict[str, Any]:
    """An argument of another language: a text that holds a value as that language writes it."""
    kind, syntax = node["type"], _SYNTAX[language]
    what = f"a {syntax} value" if kind == "any" else f"a {syntax} value of type {kind}"
    inner = node.get("items", {}).get("type")
    if inner:
        what += f" with elements of type {inner}"
    if node.get("properties"):
        what += f" with the entries {json.dumps(node['properties'])}"
    return {"type": "string", "description": f"{node.get('description', '')} Give {what}, written as text."}
