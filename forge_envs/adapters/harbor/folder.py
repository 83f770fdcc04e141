"""A task folder before it is written: its files by path, and the text of task.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Toml = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FolderDraft:
    """What a world says about one of its tasks."""

    task: str
    instruction: str
    environment: Mapping[str, bytes]
    """The image's build context by path, Dockerfile included: all that the agent may ever see."""
    solution: Mapping[str, bytes]
    """solve.sh and what it needs; empty where no solution is known."""
    judge: str
    """Which judge goes along: a key of `vendor.LATE`."""
    stored: Mapping[str, Any]
    """tests/task.json: the task and how it is judged."""
    take: str
    """The script that takes what the agent left; it runs as root, in the agent's container."""
    user: str | None
    """Who the agent is; None for the image's own user."""
    agent_seconds: float
    verifier_seconds: float
    resources: Mapping[str, float]
    variables: Mapping[str, str] = field(default_factory=dict)
    """What the agent's commands find set."""
    keywords: Sequence[str] = ()
    differs: Sequence[str] = ()
    """What is not as in the world itself."""


def toml(tables: Mapping[str, Toml | Sequence[Toml]]) -> str:
    """Tables by dotted name as TOML; a list of tables is an array of them.

    >>> print(toml({"": {"version": "1"}, "a.b": {"on": True, "text": 'say "hi"'}}))
    version = "1"
    <BLANKLINE>
    [a.b]
    on = true
    text = "say \\"hi\\""
    """
    blocks = []
    for name, table in tables.items():
        for one in [table] if isinstance(table, Mapping) else table:
            head = "" if not name else f"[{name}]\n" if isinstance(table, Mapping) else f"[[{name}]]\n"
            blocks.append(head + "\n".join(f"{key} = {_value(value)}" for key, value in one.items()))
    return "\n\n".join(blocks)


def _value(value: Any) -> str:
    if isinstance(value, str):
        plain = all(one.isprintable() or one in "\n\t" for one in value)
        if plain and "\n" in value and "'''" not in value:
            return f"'''\n{value}'''"
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + "}"
    return "[" + ", ".join(map(_value, value)) + "]"
