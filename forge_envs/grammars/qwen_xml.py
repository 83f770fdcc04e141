"""Qwen3-Coder's XML, which Qwen 3.5 and later and Nemotron 3 write too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from forge_envs.grammars.reading import Malformed, skip_space
from forge_envs.grammars.tagged import Tagged
from forge_envs.grammars.values import write_value
from forge_envs.messages import ToolCall

_FUNCTION = re.compile(r"<function=([^>\n]{1,200})>")


class QwenXml(Tagged):
    """`<function=…>` with a `<parameter=…>` for each argument, in `<tool_call>` tags.

    A call whose `<tool_call>` was forgotten, as this family does, is read.

    >>> print(QWEN_XML.write(calls=[ToolCall("add", {"a": 1, "b": [2]})]))
    <tool_call>
    <function=add>
    <parameter=a>
    1
    </parameter>
    <parameter=b>
    [2]
    </parameter>
    </function>
    </tool_call>
    """

    name = "qwen_xml"
    mark, closed = "<tool_call>", "</tool_call>"
    opening = re.compile(r"<tool_call>|(?<!<seed:tool_call>)(?<!<seed:tool_call>\n)<function=")
    marks = ("<function=",)
    example = "<tool_call>\n<function=tool>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>"
    ends: ClassVar[tuple[str, ...]] = ("<|im_end|>", "<|endoftext|>")
    joint = "\n\n"
    shard = re.compile(r"</parameter>\s*</function>")

    def find(self, text: str, at: int) -> int:
        """Where the next call begins, with its `<tool_call>` or without."""
        found = self.opening.search(text, at)
        return -1 if found is None else found.start()

    key = re.compile(r"<parameter=([^>\n]{1,200})>(?:\r?\n)?")
    closing = re.compile(r"\n?</parameter>(?=\s*(?:<parameter=[^>\n]{1,200}>|</function>))")
    shape = (
        "a <tool_call> holds <function=NAME>, <parameter=KEY> with </parameter> for each argument, "
        "and is closed with </function> and </tool_call>"
    )

    def read_name(self, text: str, at: int) -> tuple[str, int]:
        """The tool's name, and where the arguments begin. Raises Malformed."""
        wrapped = text.startswith(self.mark, at)
        start = skip_space(text, at + len(self.mark)) if wrapped else at
        function = _FUNCTION.match(text, start)
        if function is None:
            raise Malformed(f"a {self.mark} begins with <function=NAME>", start)
        return function[1].strip(), function.end()

    def read_end(self, text: str, start: int, at: int) -> int:
        """Where the call ends; -1 for nowhere."""
        if not text.startswith("</function>", at):
            return -1
        at += len("</function>")
        outer = skip_space(text, at)
        if text.startswith(self.closed, outer):
            return outer + len(self.closed)
        return -1 if text.startswith(self.mark, start) else at

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A block for each."""
        return "\n".join(f"{self.mark}\n{_function(call)}\n{self.closed}" for call in calls)


def _function(call: ToolCall) -> str:
    values = (f"<parameter={k}>\n{write_value(v)}\n</parameter>\n" for k, v in call.arguments.items())
    return f"<function={call.name}>\n{''.join(values)}</function>"


QWEN_XML = QwenXml()
