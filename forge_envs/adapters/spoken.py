"""What a model said, which other libraries have taken apart, put together again as an action."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forge_envs.grammars import HERMES, Grammar
from forge_envs.messages import Observation, ToolCall


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


def results_of(messages: Observation, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What the world answered, for servers that want one result for each call and no other.

    Where it told something else of the calls, all of them have that for a result; where there were no calls,
    a result is told as by the user.

    >>> results_of(({"role": "tool", "name": "add", "content": "2"},), ["a"])
    [{'role': 'tool', 'name': 'add', 'content': '2', 'tool_call_id': 'a'}]
    """
    results = [message for message in messages if message["role"] == "tool"]
    others = [dict(message) for message in messages if message["role"] != "tool"]
    if not ids:
        return [{"role": "user", "content": m["content"]} for m in results] + others
    if len(results) != len(ids):
        text = "\n\n".join(message["content"] for message in results) or "Nothing was run."
        return [{"role": "tool", "content": text, "tool_call_id": id} for id in ids] + others
    return [{**m, "tool_call_id": id} for m, id in zip(results, ids, strict=True)] + others
