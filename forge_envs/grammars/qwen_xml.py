"""Qwen3-Coder's XML, which Qwen 3.5 and later and Nemotron 3 write too."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.grammars.reading import Malformed, skip_space
from forge_envs.grammars.tagged import Tagged, add, end_of_value
from forge_envs.grammars.values import write_value
from forge_envs.messages import ToolCall

_CALL = re.compile(r"<tool_call>|<function=")
_FUNCTION = re.compile(r"<function=([^>\n]+)>")
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?")
_END = re.compile(r"\n?</parameter>(?=\s*(?:<parameter=[^>\n]+>|</function>))")


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
    mark = "<tool_call>"
    marks = ("<function=",)
    example = "<tool_call>\n<function=tool>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>"
    ends = ("<|im_end|>", "<|endoftext|>")
    joint = "\n\n"

    def find(self, text: str, at: int) -> int:
        """Where the next call begins, with its `<tool_call>` or without."""
        found = _CALL.search(text, at)
        return -1 if found is None else found.start()

    def read_call(self, text: str, at: int) -> tuple[str, dict[str, str], int]:
        """The name and the values as text, and where the call ends. Raises Malformed."""
        wrapped = text.startswith("<tool_call>", at)
        start = skip_space(text, at + len("<tool_call>")) if wrapped else at
        function = _FUNCTION.match(text, start)
        if function is None:
            raise Malformed("a <tool_call> begins with <function=NAME>", start)
        values: dict[str, str] = {}
        at = skip_space(text, function.end())
        while parameter := _PARAMETER.match(text, at):
            # The line break before a value is not the one after it: "\n</parameter>" closes an empty one.
            first = parameter.end()
            end = end_of_value(text, first, _END, "</parameter>, and then <parameter= or </function>")
            add(values, parameter[1], text[first : end.start()], end.end())
            at = skip_space(text, end.end())
        if not text.startswith("</function>", at):
            raise Malformed("a <function=…> holds <parameter=KEY> … </parameter>, then </function>", at)
        at += len("</function>")
        if wrapped or text.startswith("</tool_call>", skip_space(text, at)):
            at = skip_space(text, at)
            if not text.startswith("</tool_call>", at):
                raise Malformed("a <tool_call> is not closed with </tool_call>", at)
            at += len("</tool_call>")
        return function[1], values, at

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A block for each."""
        return "\n".join(map(_block, calls))


def _block(call: ToolCall) -> str:
    values = (f"<parameter={k}>\n{write_value(v)}\n</parameter>\n" for k, v in call.arguments.items())
    return f"<tool_call>\n<function={call.name}>\n{''.join(values)}</function>\n</tool_call>"


QWEN_XML = QwenXml()
