"""A world's messages in the forms that other libraries take: chat messages, tools apart, or plain text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forge_envs.grammars import Grammar
from forge_envs.messages import Message, Observation


def split_tools(messages: Observation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Messages as chat templates take them, and the tool schemas that rode on them.

    >>> split_tools(({"role": "system", "content": "Hi", "tools": []},))
    ([{'role': 'system', 'content': 'Hi'}], [])
    """
    tools = [tool for message in messages for tool in message.get("tools", ())]
    return [{key: value for key, value in m.items() if key != "tools"} for m in messages], tools


def tools_written(tools: Sequence[dict[str, Any]], grammar: Grammar) -> str:
    """The tools and the manner of calling them as text, for templates that are given no tools."""
    schemas = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    return f"# Tools\n\nOne JSON schema a line:\n{schemas}\n\nA call is written so:\n{grammar.example}"


def chat_messages(messages: Observation, grammar: Grammar) -> list[dict[str, Any]]:
    """Messages with the tools written into the system's words, and nothing but role and content.

    A tool's result keeps its role where `as_text` would be a loss: templates know how their model reads it.
    """
    told = []
    for message in messages:
        content = message["content"]
        if message.get("tools"):
            content = f"{content}\n\n{tools_written(message['tools'], grammar)}"
        told.append({"role": message["role"], "content": content})
    return told


def as_text(messages: Sequence[Message]) -> str:
    """Messages as one text, for libraries whose world speaks as the user; a tool's result names its tool.

    >>> as_text([{"role": "tool", "name": "add", "content": "4"}, {"role": "user", "content": "Thanks."}])
    '[add] 4\\n\\nThanks.'
    """
    lines = []
    for message in messages:
        name = message.get("name") or message["role"]
        lines.append(f"[{name}] {message['content']}" if message["role"] == "tool" else message["content"])
    return "\n\n".join(lines)
