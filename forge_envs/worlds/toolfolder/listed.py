"""Tools in a list: MCP's `tools/list`, OpenAI functions nested and flat, Anthropic's, BFCL's documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forge_envs.errors import brief
from forge_envs.worlds.toolfolder.dialects import Dialect
from forge_envs.worlds.toolfolder.naming import reads, safe_name, spoken
from forge_envs.worlds.toolfolder.references import References
from forge_envs.worlds.toolfolder.schema import BadSchema, Catalogue, Schema, ToolSchema
from forge_envs.worlds.toolfolder.texts import cleaned

_ARGUMENTS = ("inputSchema", "input_schema", "parameters")
_ANSWERS = ("outputSchema", "output_schema", "returns", "response")


def items_of(document: Any) -> list[Any] | None:
    """The tools that a document lists, None if it lists none.

    >>> items_of({"result": {"tools": [{"name": "a", "inputSchema": {}}]}})
    [{'name': 'a', 'inputSchema': {}}]
    """
    if isinstance(document, dict) and "result" in document and isinstance(document["result"], dict):
        document = document["result"]  # the answer of JSON-RPC that an MCP server sends
    if isinstance(document, dict):
        for key in ("tools", "functions"):
            if isinstance(document.get(key), list):
                document = document[key]
                break
        else:
            document = [document]
    if not isinstance(document, list) or not any(map(_is_tool, document)):
        return None
    return document


def _is_tool(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    if isinstance(item.get("function"), dict):
        item = item["function"]
    return "name" in item and (any(key in item for key in _ARGUMENTS) or item.get("type") == "function")


def read_listed(items: list[Any], file: str, notes: Catalogue) -> Iterator[ToolSchema]:
    """The tools of a list; what is none is put down."""
    for place, item in enumerate(items):
        name = _name(item)
        where = f"{file}: {brief(name)[1:-1] if isinstance(name, str) else f'item {place}'}"
        if not _is_tool(item):
            notes.note("form", where, "it has no name, or no parameters or inputSchema", refused=True)
            continue
        try:
            yield _tool(item["function"] if isinstance(item.get("function"), dict) else item, where, notes)
        except BadSchema as error:
            notes.note(error.kind, where, str(error), refused=True)


def _name(item: Any) -> Any:
    if isinstance(item, dict):
        return (item["function"] if isinstance(item.get("function"), dict) else item).get("name")
    return None


def _tool(item: dict[str, Any], where: str, notes: Catalogue) -> ToolSchema:
    told = item["name"]
    name = safe_name(told) if isinstance(told, str) else ""
    if not name:
        raise BadSchema("name", f"name={brief(told)}: a tool is called by letters, digits, _ and -")
    if name != told:
        notes.note("name", where, f"it is called {name} here")
    given = next((item[key] for key in _ARGUMENTS if key in item), None)
    parameters = arguments_of_schema(given, where, notes)
    declared = next((item[key] for key in _ANSWERS if isinstance(item.get(key), dict)), None)
    returns = None
    if declared:
        returns = Dialect(References(declared), notes).whole(declared, where, "answered")
    hints = item.get("annotations") if isinstance(item.get("annotations"), dict) else {}
    assert isinstance(hints, dict)
    read_only = hints.get("readOnlyHint")
    writes = not read_only if isinstance(read_only, bool) else not reads(name)
    return ToolSchema(
        name=name,
        description=described(item.get("description"), name, where, notes),
        parameters=parameters,
        returns=returns,
        writes=writes,
        source=where,
        api="",
    )


def arguments_of_schema(given: Any, where: str, notes: Catalogue) -> Schema:
    """An object of arguments; None and {} are a tool without any. Raises BadSchema."""
    if given is None or given == {}:
        return {"type": "object", "properties": {}, "required": []}
    if not isinstance(given, dict):
        raise BadSchema("type", f"parameters are a schema, not {brief(given)}")
    found = Dialect(References(given), notes).whole(given, where)
    if found.get("type") != "object":
        raise BadSchema("type", f"parameters are an object of arguments, not {brief(found.get('type'))}")
    return {
        "type": "object",
        "properties": found.get("properties", {}),
        "required": found.get("required", []),
    }


def described(text: Any, name: str, where: str, notes: Catalogue) -> str:
    """What a tool's description says; its name in words where it says nothing."""
    told = cleaned(text, where, notes)
    if told:
        return told
    notes.note("empty", where, "it has no description: its name stands for one")
    return f"{spoken(name).capitalize()}."
