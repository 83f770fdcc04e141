"""The tools of a domain as the agent has them: `Tool` objects around the engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

from forge_envs.schemas import Packed
from forge_envs.tools import Tool, Toolbox
from forge_envs.worlds.tooluse.domain import ToolDomain, ToolSpec
from forge_envs.worlds.tooluse.engine import Office

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}


@functools.lru_cache(maxsize=1024)
def toolbox_of(domain: ToolDomain) -> Toolbox:
    """The tools of a domain."""
    return Toolbox({name: _tool(spec) for name, spec in domain.specs.items()})


def _tool(spec: ToolSpec) -> Tool:
    properties = {param.name: dict(param.schema) for param in spec.params}
    written = {"type": "object", "properties": properties, "required": list(properties)}
    shown = {"name": spec.name, "description": spec.description, "parameters": written}
    packed = Packed({"type": "function", "function": shown})
    return Tool(
        spec.name, spec.description, written, spec.writes, _Run(spec), _Check(spec.name, properties), packed
    )


class _Run:
    """The function behind a tool."""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec

    def __call__(self, desk: Office, **arguments: Any) -> str:
        return desk.run(self.spec, arguments)


class _Check:
    """Arguments that fit a schema, checked by pydantic, which is asked to at the first call."""

    def __init__(self, name: str, properties: Mapping[str, Mapping[str, Any]]) -> None:
        self._name, self._properties = name, properties

    def __call__(self, arguments: Any) -> dict[str, Any]:
        return self._validate(arguments)

    @functools.cached_property
    def _validate(self) -> Callable[[Any], dict[str, Any]]:
        fields: dict[str, Any] = {}
        for name, schema in self._properties.items():
            kind: Any = _TYPES[schema["type"]]
            if "enum" in schema:
                kind = Literal[tuple(schema["enum"])]
            fields[name] = kind
        config = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
        make: Any = TypedDict
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(config(make(f"{self._name}_arguments", fields)))
        return adapter.validator.validate_python
