"""A typed method becomes a tool: a JSON schema for the agent and a validated call for the world."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, TypeVar, get_type_hints, overload

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, with_config
from pydantic.errors import PydanticUserError
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

from forge_envs.errors import brief
from forge_envs.schemas import Packed, sample_schema, written_out

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
    packed: Packed

    @property
    def schema(self) -> dict[str, Any]:
        """The OpenAI form, as chat templates take it; the caller's own copy."""
        schema: dict[str, Any] = self.packed.copy()
        return schema

    def call(self, owner: object, arguments: dict[str, Any]) -> Any:
        """Check `arguments`, then run the function on `owner`.

        Raises BadArguments (nothing ran), ToolError (the world refuses) or MachineError.
        """
        return self.function(owner, **self.check(arguments))

    def check(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments, if they fit the schema. Raises BadArguments."""
        try:
            return self.validate(arguments)
        except ValidationError as error:
            raise BadArguments(self._explain(error)) from None

    def _explain(self, error: ValidationError) -> str:
        problems = []
        for item in error.errors(include_url=False, include_context=False)[:_MOST]:
            where = brief(".".join(str(part) for part in item["loc"]) or "arguments")[1:-1]
            if item["type"] == "missing":
                problems.append(f"{where} is missing")
            elif item["type"] == "extra_forbidden":
                problems.append(f"{where} is not an argument of this tool")
            else:
                message = item["msg"][:1].lower() + item["msg"][1:]  # values in it keep their case
                problems.append(f"{where}={brief(item['input'])}: {message}")
        if error.error_count() > _MOST:
            problems.append(f"and {error.error_count() - _MOST} more")
        needs = ", ".join(self.parameters["properties"]) or "nothing"
        return f"{self.name}: {'; '.join(problems)}. It takes: {needs}."


class Toolbox:
    """Tools that go together, by name, and their schemas as openings tell of them, which all may share."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self.tools = dict(tools)
        self.schemas = Packed([tool.schema for tool in self.tools.values()])


_MOST = 5  # the agent decides how much is wrong; the world decides how much of it is read back


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(*, writes: bool = False) -> Callable[[F], F]: ...


def tool(function: F | None = None, /, *, writes: bool = False) -> F | Callable[[F], F]:
    """Mark a method as a tool. Its schema is read from its types and its Google-style docstring.

    Types are those that JSON has: str, int, float, bool, None, Literal, list, dict, TypedDict and unions.
    Raises TypeError at import for a tool that nobody could call: when the description, an argument's type or
    an argument's line is missing, when values that fit its schema are refused, or when it is no method.
    """

    def mark(function: F) -> F:
        function.__tool__ = _build(function, writes)  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


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
    if not inspect.isfunction(function):
        raise TypeError(f"@tool stands on a method, directly above its def, not on {brief(function)}")
    name = function.__name__
    if any(kind(function) for kind in _UNCALLED):
        raise TypeError(f"tool {name}: worlds are plain synchronous Python, it cannot be async or yield")
    description, lines = _read_docstring(function)
    parameters = [*inspect.signature(function).parameters.values()]
    if not parameters:
        raise TypeError(f"tool {name}: a tool is a method, its first argument is self")
    del parameters[0]
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in parameters:
        key = parameter.name
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
    try:
        # NaN and infinity are not JSON, and a row that holds NaN does not equal itself.
        config = with_config({"extra": "forbid", "strict": True, "allow_inf_nan": False})
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(config(TypedDict(f"{name}_arguments", fields)))  # type: ignore[operator]
        schema = written_out(adapter.json_schema())
    except (PydanticUserError, TypeError) as error:
        raise TypeError(f"tool {name}: {error}") from error
    written = {"type": "object", "properties": schema["properties"], "required": schema.get("required", [])}
    _prove(name, written, adapter)
    for parameter in parameters:
        if parameter.default is not parameter.empty:
            written["properties"][parameter.name]["default"] = _default(name, parameter, hints)
    shown = {"name": name, "description": description, "parameters": written}
    packed = Packed({"type": "function", "function": shown})
    return Tool(name, description, written, writes, function, adapter.validator.validate_python, packed)


_UNCALLED = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
_DRAWS = 64
_ONLY = (
    "JSON has str, int, float, bool, None, Literal, list, dict with text keys, TypedDict and unions of them"
)


def _prove(name: str, schema: dict[str, Any], adapter: TypeAdapter[dict[str, Any]]) -> None:
    """Draw values that fit the schema and see that the tool takes them. Raises TypeError."""
    rng = np.random.default_rng(0)
    for _ in range(_DRAWS if schema["properties"] else 0):
        try:
            adapter.validate_python(arguments := sample_schema(schema, rng))
        except ValidationError as error:
            item = error.errors(include_url=False, include_context=False)[0]
            key = item["loc"][0] if item["loc"] else "arguments"
            raise TypeError(
                f"tool {name}: argument {key!r} refuses {brief(arguments.get(key))}, which fits its schema "
                f"({item['msg']}); nobody could call it. {_ONLY}"
            ) from error
        except ValueError as error:
            raise TypeError(f"tool {name}: {error}") from error


def _default(name: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    """A default as the schema shows it. Raises TypeError for one that the agent could not give itself."""
    try:
        config = with_config({"strict": True, "allow_inf_nan": False})
        kind = config(TypedDict("Default", {"value": hints[parameter.name]}))  # type: ignore[operator]
        TypeAdapter(kind).validate_python({"value": parameter.default})
    except ValidationError as error:
        raise TypeError(f"tool {name}: the default {parameter} does not fit its own type") from error
    return json.loads(json.dumps(parameter.default))


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
