"""What a model said, which other libraries have taken apart, put together again as an action."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from forge_envs.grammars import HERMES, Grammar
from forge_envs.messages import ToolCall


def action_of(
    grammar: Grammar,
    prose: str,
    calls: Iterable[tuple[str, str | Mapping[str, Any]]] = (),
    unread: Iterable[str] = (),
) -> str:
    """An action from prose and calls (names with arguments, as JSON or read), in the world's grammar.

    Prose alone stays as it is, for who wrote a call there means a call. Calls that could not be read, by the
    library (`unread`) or here, are passed on unread: the world tells the agent and runs none of its calls.

    >>> print(action_of(HERMES, "Let me see.", [("add", '{"a": 1}')]))
    Let me see.
    <tool_call>
    {"name": "add", "arguments": {"a": 1}}
    </tool_call>
    >>> HERMES.parse(action_of(HERMES, "", [("add", "{oops")])).error is None
    False
    """
    read: list[ToolCall] = []
    rest = list(unread)
    for name, arguments in calls:
        try:
            found = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
        except ValueError:
            found = None
        if isinstance(found, dict):
            read.append(ToolCall(name, found))
        else:
            # As it would stand in Hermes' form, which every grammar knows for a call.
            rest.append(
                f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n</tool_call>'
            )
    if not read and not rest:
        return prose
    try:
        written = grammar.write(prose, read)
    except ValueError:  # the grammar has no words for it: told as malformed
        written = f"{prose}\n{HERMES.write('', read)}"
    return "\n".join(text for text in (written, *rest) if text)
