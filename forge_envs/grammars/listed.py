"""Formats in which the calls of an action are JSON objects in one pair of tags: as a list, or one a line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.qwen_xml import QwenXml
from forge_envs.grammars.reading import (
    DEEPEST,
    Malformed,
    call_of,
    dump,
    read_json,
    require_few,
    skip_space,
)
from forge_envs.messages import ToolCall


class Listed(Marked):
    """`[{"name": …, "arguments": {…}}, …]` between `mark` and `closing`; objects alone are read, too."""

    closing: ClassVar[str]

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls of one pair of tags. Raises Malformed."""
        at = skip_space(text, at + len(self.mark))
        found: list[Any] = []
        try:
            while text.startswith(("{", "["), at):
                value, at = read_json(text, at, DEEPEST + 2)
                found += value if isinstance(value, list) else [value]
                require_few(found)
                at = skip_space(text, at)
        except Malformed as error:
            raise Malformed(f"the text in {self.mark} {error}", error.at) from None
        if not found:
            raise Malformed(f"the text in {self.mark} is no list of calls", at)
        if not text.startswith(self.closing, at):
            raise Malformed(f"the calls are not closed with {self.closing}", at)
        return [call_of(one) for one in found], at + len(self.closing)

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """One list."""
        objects = [dump({"name": call.name, "arguments": call.arguments}) for call in calls]
        return f"{self.mark}[{', '.join(objects)}]{self.closing}"


class ToolCalls(Listed):
    """Apriel's, and MiniMax M1's, who writes an object a line.

    >>> TOOL_CALLS.write(calls=[ToolCall("add", {"a": 1})])
    '<tool_calls>[{"name": "add", "arguments": {"a": 1}}]</tool_calls>'
    """

    name = "tool_calls"
    mark, closing = "<tool_calls>", "</tool_calls>"
    marks = ("<tool_calls>",)
    example = '<tool_calls>[{"name": "tool", "arguments": {"key": "value"}}]</tool_calls>'
    ends = ("<|end|>", "<end_of_sentence>")
    starts = ("<|begin_assistant|>", "<beginning_of_sentence>ai name=assistant")


class Nemotron(Listed):
    """Nemotron Nano 2's.

    >>> NEMOTRON.write(calls=[ToolCall("add", {"a": 1})])
    '<TOOLCALL>[{"name": "add", "arguments": {"a": 1}}]</TOOLCALL>'
    """

    name = "nemotron"
    mark, closing = "<TOOLCALL>", "</TOOLCALL>"
    marks = ("<TOOLCALL>",)
    example = '<TOOLCALL>[{"name": "tool", "arguments": {"key": "value"}}]</TOOLCALL>'
    ends = ("<SPECIAL_12>", "</s>")
    starts = ("<SPECIAL_11>Assistant",)


class Seed(QwenXml):
    """Seed-OSS writes what Qwen3-Coder does, in tags of its own.

    >>> print(SEED.write(calls=[ToolCall("look", {})]))
    <seed:tool_call>
    <function=look>
    </function>
    </seed:tool_call>
    """

    name = "seed"
    mark, closed = "<seed:tool_call>", "</seed:tool_call>"
    opening = re.compile("<seed:tool_call>")
    marks = ("<seed:tool_call>",)
    example = QwenXml.example.replace("tool_call>", "seed:tool_call>")
    ends = ("<seed:eos>",)
    starts = ("<seed:bos>assistant",)
    thinking = (("<seed:think>", "</seed:think>"), ("<think>", "</think>"))


TOOL_CALLS, NEMOTRON, SEED = ToolCalls(), Nemotron(), Seed()
