"""GLM 4.5 and later: a name, then keys and values in tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.grammars.reading import Malformed
from forge_envs.grammars.tagged import Tagged
from forge_envs.grammars.values import write_value
from forge_envs.messages import ToolCall

_NAME = re.compile(r"<tool_call>[ \t\n]*([^\s<{][^\n<]*)")


class Glm(Tagged):
    """`<arg_key>` and `<arg_value>` in `<tool_call>` tags.

    >>> print(GLM.write(calls=[ToolCall("add", {"a": 1})]))
    <tool_call>add
    <arg_key>a</arg_key>
    <arg_value>1</arg_value>
    </tool_call>
    """

    name = "glm"
    mark = "<tool_call>"
    marks = ("<arg_key>",)
    example = "<tool_call>tool\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>"
    starts = ("<|assistant|>",)
    shard = re.compile(r"</arg_value>\s*</tool_call>")
    ends = ("<|user|>", "<|observation|>", "<|endoftext|>")

    key = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>")
    closing = re.compile(r"</arg_value>(?=\s*(?:<arg_key>|</tool_call>))")
    shape = "a <tool_call> holds a name, <arg_key> and <arg_value>, and is closed with </tool_call>"

    def read_name(self, text: str, at: int) -> tuple[str, int]:
        """The tool's name, and where the arguments begin. Raises Malformed."""
        name = _NAME.match(text, at)
        if name is None:
            raise Malformed("a <tool_call> begins with the tool's name", at)
        return name[1].strip(), name.end()

    def read_end(self, text: str, start: int, at: int) -> int:
        """Where the call ends; -1 for nowhere."""
        return at + len("</tool_call>") if text.startswith("</tool_call>", at) else -1

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A block for each."""
        return "\n".join(map(_block, calls))


def _block(call: ToolCall) -> str:
    pairs = (
        f"<arg_key>{key}</arg_key>\n<arg_value>{write_value(value)}</arg_value>\n"
        for key, value in call.arguments.items()
    )
    return f"<tool_call>{call.name}\n{''.join(pairs)}</tool_call>"


GLM = Glm()
