"""GLM 4.5 and later: a name, then keys and values in tags."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.grammars.reading import Malformed, skip_space
from forge_envs.grammars.tagged import Tagged, add, end_of_value
from forge_envs.grammars.values import write_value
from forge_envs.messages import ToolCall

_NAME = re.compile(r"<tool_call>[ \t\n]*([^\s<{][^\n<]*)")
_KEY = re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>")
_END = re.compile(r"</arg_value>(?=\s*(?:<arg_key>|</tool_call>))")


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
    ends = ("<|user|>", "<|observation|>", "<|endoftext|>")

    def read_call(self, text: str, at: int) -> tuple[str, dict[str, str], int]:
        """The name and the values as text, and where the call ends. Raises Malformed."""
        name = _NAME.match(text, at)
        if name is None:
            raise Malformed("a <tool_call> begins with the tool's name", at)
        values: dict[str, str] = {}
        at = skip_space(text, name.end())
        while key := _KEY.match(text, at):
            end = end_of_value(text, key.end(), _END, "</arg_value>, and then <arg_key> or </tool_call>")
            add(values, key[1].strip(), text[key.end() : end.start()], end.end())
            at = skip_space(text, end.end())
        if not text.startswith("</tool_call>", at):
            raise Malformed(
                "a <tool_call> holds a name, then <arg_key> and <arg_value>, and is closed with </tool_call>",
                at,
            )
        return name[1].strip(), values, at + len("</tool_call>")

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
