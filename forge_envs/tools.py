"""A typed method becomes a tool: a JSON schema for the agent and a validated call for the world."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, with_config

F = TypeVar("F", bound=Callable[..., Any])


class BadArguments(Exception):
    """The agent called a tool with arguments that do not fit its schema; the text is shown to it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what the agent reads of it, and the function behind it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments."""
    writes: bool
    """True when a call can change the world."""
    function: Callable[..., Any]
    validate: Callable[[Any], dict[str, Any]]

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI form, as chat templates take it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": self.parameters,
            },
        }

    def call(self, owner: object, arguments: dict[str, Any]) -> Any:
        """Check `arguments`, then run the function on `owner`.

        Raises BadArguments (nothing ran), ToolError (the world refuses) or MachineError.
        """
        try:
            checked = self.validate(arguments)
        except ValidationError as error:
            raise BadArguments(self._explain(error)) from None
        return self.function(owner, **checked)

    def _explain(self, error: ValidationError) -> str:
        problems = []
        for item in error.errors(include_url=False):
            where = ".".join(str(part) for part in item["loc"]) or "arguments"
            if item["type"] == "missing":
                problems.append(f"{where} is missing")
            elif item["type"] == "extra_forbidden":
                problems.append(f"{where} is not an argument of this tool")
            else:
                problems.append(f"{where}={_short(item['input'])}: {item['msg'].lower()}")
        needs = ", ".join(self.parameters["properties"]) or "nothing"
        return f"{self.name}: {'; '.join(problems)}. It takes: {needs}."


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def tool(*, writes: bool = False) -> Callable[[F], F]:
    """Mark a method as a tool. Its schema is read from its types and its Google-style docstring.

    Raises TypeError at import when the description, an argument's type or an argument's line is missing.
    """

    def mark(function: F) -> F:
        function.__tool__ = _build(function, writes)  # type: ignore[attr-defined]
        return function

    return mark


def tools_of(owner: type) -> dict[str, Tool]:
    """The tools of a class by name, in the order they were written, inherited ones first."""
    found: dict[str, Tool] = {}
    for cls in reversed(owner.__mro__):
        for name, member in vars(cls).items():
            built = getattr(member, "__tool__", None)
            if isinstance(built, Tool):
                found[name] = built
    return found


def _build(function: Callable[..., Any], writes: bool) -> Tool:
    name = function.__name__
    description, lines = _read_docstring(function)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for key, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if key not in hints:
            raise TypeError(f"tool {name}: argument {key!r} has no type")
        if key not in lines:
            raise TypeError(f"tool {name}: the docstring's Args section does not describe {key!r}")
        kind: Any = Annotated[hints[key], Field(description=lines[key])]
        fields[key] = kind if parameter.default is parameter.empty else NotRequired[kind]
    arguments = with_config({"extra": "forbid", "strict": True})(TypedDict(f"{name}_arguments", fields))  # type: ignore[operator]
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(arguments)
    return Tool(name, description, _schema(adapter), writes, function, adapter.validate_python)


def _schema(adapter: TypeAdapter[dict[str, Any]]) -> dict[str, Any]:
    schema = adapter.json_schema()
    properties = {
        key: {k: v for k, v in value.items() if k != "title"}
        for key, value in schema.get("properties", {}).items()
    }
    return {"type": "object", "properties": properties, "required": schema.get("required", [])}


def _read_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    text = inspect.getdoc(function) or ""
    head, _, tail = text.partition("\nArgs:\n")
    description = " ".join(head.split())
    if not description:
        raise TypeError(f"tool {function.__name__}: it needs a docstring that tells the agent what it does")
    lines: dict[str, str] = {}
    section = re.split(r"\n(?=\S)", tail)[0]
    for item in re.finditer(r"^    (\w+): (.*(?:\n      +.*)*)", section, re.MULTILINE):
        lines[item[1]] = " ".join(item[2].split())
    return description, lines
