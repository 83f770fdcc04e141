"""A typed method becomes a tool: a JSON schema for the agent and a validated call for the world."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from reprlib import Repr
from typing import Annotated, Any, NotRequired, TypeVar, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

F = TypeVar("F", bound=Callable[..., Any])


class BadArguments(Exception):
    """The agent called a tool with arguments that do not fit its schema; the text is shown to it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what the agent reads of it, and the function behind it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments, without references."""
    writes: bool
    """True when a call can change the world."""
    function: Callable[..., Any]
    validate: Callable[[Any], dict[str, Any]]

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI form, as chat templates take it; the caller's own copy."""
        function = {"name": self.name, "description": self.description, "parameters": _copy(self.parameters)}
        return {"type": "function", "function": function}

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
        for item in error.errors(include_url=False, include_context=False)[:_MOST]:
            where = _short.repr(".".join(str(part) for part in item["loc"]) or "arguments")[1:-1]
            if item["type"] == "missing":
                problems.append(f"{where} is missing")
            elif item["type"] == "extra_forbidden":
                problems.append(f"{where} is not an argument of this tool")
            else:
                problems.append(f"{where}={_short.repr(item['input'])}: {item['msg'].lower()}")
        if error.error_count() > _MOST:
            problems.append(f"and {error.error_count() - _MOST} more")
        needs = ", ".join(self.parameters["properties"]) or "nothing"
        return f"{self.name}: {'; '.join(problems)}. It takes: {needs}."


_MOST = 5  # the agent decides how much is wrong; the world decides how much of it is read back
_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlevel = 3


def tool(*, writes: bool = False) -> Callable[[F], F]:
    """Mark a method as a tool. Its schema is read from its types and its Google-style docstring.

    Types are those that JSON has: str, int, float, bool, None, Literal, list, dict, TypedDict and unions.
    Raises TypeError at import when the description, an argument's type or an argument's line is missing.
    """

    def mark(function: F) -> F:
        function.__tool__ = _build(function, writes)  # type: ignore[attr-defined]
        return function

    return mark


def tools_of(owner: type) -> dict[str, Tool]:
    """The tools of a class by name, in the order they were written, inherited ones first.

    A subclass that gives a tool's name to something else takes the tool away, as `name = None` does.
    """
    found: dict[str, Tool] = {}
    for cls in reversed(owner.__mro__):
        for name, member in vars(cls).items():
            built = getattr(member, "__tool__", None)
            if isinstance(built, Tool):
                found[name] = built
            else:
                found.pop(name, None)
    return found


def _build(function: Callable[..., Any], writes: bool) -> Tool:
    name = function.__name__
    description, lines = _read_docstring(function)
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for key, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"tool {name}: argument {parameter} cannot be given by name")
        if key not in hints:
            raise TypeError(f"tool {name}: argument {key!r} has no type")
        if key not in lines:
            raise TypeError(f"tool {name}: the docstring's Args section does not describe {key!r}")
        kind: Any = Annotated[hints[key], Field(description=lines[key])]
        fields[key] = kind if parameter.default is parameter.empty else NotRequired[kind]
    stale = set(lines) - set(fields)
    if stale:
        raise TypeError(f"tool {name}: the docstring describes {sorted(stale)}, which it does not take")
    # NaN and infinity are not JSON, and a row that holds NaN does not equal itself.
    config = with_config({"extra": "forbid", "strict": True, "allow_inf_nan": False})
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(config(TypedDict(f"{name}_arguments", fields)))  # type: ignore[operator]
    return Tool(name, description, _schema(adapter, name), writes, function, adapter.validate_python)


def _schema(adapter: TypeAdapter[dict[str, Any]], name: str) -> dict[str, Any]:
    schema = adapter.json_schema()
    definitions = schema.get("$defs", {})

    def plain(node: Any, inside: tuple[str, ...] = ()) -> Any:
        """The schema with references replaced by what they mean (chat templates follow none), untitled."""
        if isinstance(node, list):
            return [plain(item, inside) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            kind = node["$ref"].rsplit("/", 1)[-1]
            if kind in inside:
                raise TypeError(f"tool {name}: the type {kind} contains itself")
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return plain({**definitions[kind], **rest}, (*inside, kind))
        found = {
            key: plain(value, inside) for key, value in node.items() if key not in ("title", "properties")
        }
        if "properties" in node:  # here the keys are names of the author's, and "title" may be one
            found["properties"] = {key: plain(value, inside) for key, value in node["properties"].items()}
        return found

    properties = plain(schema)["properties"]
    return {"type": "object", "properties": properties, "required": schema.get("required", [])}


_SECTION = re.compile(r"^(Args|Returns|Raises|Examples?):[ \t]*\n", re.MULTILINE)
_ARGUMENT = re.compile(r"^    (\w+)(?: \([^)\n]*\))?: (.*(?:\n      +.*)*)", re.MULTILINE)


def _read_docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What a docstring says of the function, and of each argument."""
    head, *sections = _SECTION.split(inspect.getdoc(function) or "")
    description = " ".join(head.split())
    if not description:
        raise TypeError(f"tool {function.__name__}: it needs a docstring that tells the agent what it does")
    titled = dict(zip(sections[::2], sections[1::2], strict=True))
    lines = {item[1]: " ".join(item[2].split()) for item in _ARGUMENT.finditer(titled.get("Args", ""))}
    return description, lines


def _copy(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _copy(value) for key, value in schema.items()}
    return [_copy(value) for value in schema] if isinstance(schema, list) else schema
