"""Tools of a folder as `forge_envs.tools.Tool`: what the agent is shown, and what checks and runs a call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from forge_envs.schemas import Packed
from forge_envs.tools import BadArguments, Tool, Toolbox
from forge_envs.worlds.toolfolder.domain import FolderDomain
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.schema import Schema, ToolSchema


@functools.lru_cache(maxsize=1024)
def toolbox_of(domain: FolderDomain) -> Toolbox:
    """The tools of a domain; they run on whatever has `call(tool, arguments)`."""
    return Toolbox({tool.name: as_tool(tool, functools.partial(_run, tool.name)) for tool in domain.tools})


def as_tool(tool: ToolSchema, function: Callable[..., Any]) -> Tool:
    """A schema with the function behind it."""
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        writes=tool.writes,
        function=function,
        validate=functools.partial(checked, tool.name, tool.parameters),
        packed=Packed(tool.openai),
    )


def checked(name: str, parameters: Schema, arguments: Any) -> dict[str, Any]:
    """The arguments of a call, if they fit. Raises BadArguments."""
    wrong = misfit(arguments, {**parameters, "additionalProperties": False})
    if wrong:
        takes = ", ".join(parameters["properties"]) or "nothing"
        raise BadArguments(f"{name}: {wrong}. It takes: {takes}.")
    found: dict[str, Any] = dict(arguments)
    return found


def _run(name: str, runs: Any, /, **arguments: Any) -> Any:
    return runs.call(name, arguments)
