"""Conversations in which chat templates are known to rewrite or lose something, or to write calls oddly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forge_train.play.encoding import Message

SAID = "Probe answer 9."
ASKED: Message = {"role": "user", "content": "Probe question 9."}

_PARAMETERS = {"type": "object", "properties": {"text": {"type": "string", "description": "Any."}}}
_FUNCTION = {"name": "probe", "description": "Probe tool 0.", "parameters": _PARAMETERS}
TOOLS = [{"type": "function", "function": _FUNCTION}]


def call(name: str, arguments: dict[str, Any], content: str = "", id: str = "call00000") -> dict[str, Any]:
    """An assistant message with one call."""
    function = {"name": name, "arguments": arguments}
    calls = [{"type": "function", "id": id, "function": function}]
    return {"role": "assistant", "content": content, "tool_calls": calls}


SPOKEN: tuple[Message, Message] = (
    {"role": "assistant", "content": SAID},
    call("probe", {"text": SAID}),
)
"""Prose, and a call."""


def exchange(names: Sequence[str] = ()) -> list[Message]:
    """A question and an answer, or calls of these names: what stands before an extension."""
    if not names:
        return [ASKED, {"role": "assistant", "content": SAID}]
    said = call(names[0], {"text": SAID})
    said["tool_calls"] = [
        call(name, {"text": SAID}, id=f"call{n:05d}")["tool_calls"][0] for n, name in enumerate(names)
    ]
    return [ASKED, said]


def conversations(*, thoughts: bool) -> dict[str, list[Message]]:
    """Whole episodes by name; whatever reads "Probe word 0" in them must be shown."""

    def thought(i: int) -> str:
        return f"<think>\nProbe thought {i}.\n</think>\n\n" if thoughts else ""

    def user(i: int) -> Message:
        return {"role": "user", "content": f"Probe question {i}."}

    def prose(i: int) -> Message:
        return {"role": "assistant", "content": f"{thought(i)}Probe answer {i}."}

    def look(i: int) -> list[Message]:
        result = {"role": "tool", "name": "probe", "content": f"Probe result {i}."}
        said = call("probe", {"text": f"Probe argument {i}."}, thought(i))
        return [said, {**result, "tool_call_id": "call00000"}]

    system: Message = {"role": "system", "content": "Probe rule 0.", "tools": TOOLS}
    return {
        "chat": [user(0), prose(0), user(1), prose(1), user(2)],
        "tools": [system, user(0), *look(0), prose(1), user(1), *look(2), *look(3), prose(4), user(2)],
    }
