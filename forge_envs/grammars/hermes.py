"""Hermes: JSON between tags. Qwen 2.5 and 3 write it, and many others."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import DEEPEST, Malformed, call_of, dump, read_json, skip_space
from forge_envs.messages import ToolCall

_TAG = re.compile(r"</?(?:tool_call|think)>")


class Hermes(Marked):
    """Calls as JSON between `<tool_call>` tags, several allowed; all other text is prose.

    >>> print(HERMES.write("Let me see.", [ToolCall("add", {"a": 1})]))
    Let me see.
    <tool_call>
    {"name": "add", "arguments": {"a": 1}}
    </tool_call>
    """

    name = "hermes"
    mark = "<tool_call>"
    marks = ("<tool_call>",)
    example = '<tool_call>\n{"name": "tool", "arguments": {"key": "value"}}\n</tool_call>'
    ends = ("<|im_end|>", "<|endoftext|>")

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The call of one block. Raises Malformed."""
        try:
            data, end = read_json(text, at + len("<tool_call>"), DEEPEST + 1)
        except Malformed as error:
            raise Malformed(f"the text in <tool_call> {error}", error.at) from None
        call = call_of(data)
        if text.startswith("\n</tool_call>", end):
            return [call], end + len("\n</tool_call>")
        end = skip_space(text, end)
        if text.startswith("</tool_call>", end):
            return [call], end + len("</tool_call>")
        if text.startswith("{", end):
            raise Malformed("a <tool_call> holds one object; write a <tool_call> for each call", end)
        if "</tool_call>" in text[end : end + 1000]:
            raise Malformed("the text in <tool_call> is not JSON (there is more after the object)", end)
        raise Malformed("a <tool_call> is not closed with </tool_call>", end)

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A block for each."""
        return "\n".join(f"<tool_call>\n{_object(call)}\n</tool_call>" for call in calls)


def _object(call: ToolCall) -> str:
    text = dump({"name": call.name, "arguments": call.arguments})
    # Not every reader of this format leaves tags inside strings alone; "\u003c" is the same to all of them.
    return text.replace("<", "\\u003c") if _TAG.search(text) else text


HERMES = Hermes()
