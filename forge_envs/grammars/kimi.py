"""Kimi K2."""

from __future__ import annotations

import re

from forge_envs.grammars.reading import Malformed, arguments_of, dump, read_json, skip_space
from forge_envs.grammars.sectioned import Sectioned
from forge_envs.messages import ToolCall

_CALL, _ARGUMENTS, _CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"


class Kimi(Sectioned):
    """A section of calls, each with an id that holds the name, and its arguments as JSON.

    >>> print(KIMI.write(calls=[ToolCall("add", {"a": 1})]).replace("<", "\\n<")[1:])
    <|tool_calls_section_begin|>
    <|tool_call_begin|>functions.add:0
    <|tool_call_argument_begin|>{"a": 1}
    <|tool_call_end|>
    <|tool_calls_section_end|>
    """

    name = "kimi"
    mark = "<|tool_calls_section_begin|>"
    marks = (mark, _CALL, _ARGUMENTS)
    call = _CALL
    closing = "<|tool_calls_section_end|>"
    example = f'{mark}{_CALL}functions.tool:0{_ARGUMENTS}{{"key": "value"}}{_CALL_END}{closing}'
    starts = ("<|im_assistant|>assistant<|im_middle|>", "<|im_start|>assistant")
    shard = re.compile(re.escape(_ARGUMENTS) + "|" + re.escape(_CALL_END))
    ends = ("<|im_end|>", "[EOS]")
    thinking = (("<think>", "</think>"), ("◁think▷", "◁/think▷"))

    def read_one(self, text: str, at: int) -> tuple[ToolCall, int]:
        """The call whose mark ends at `at`, and where it ends. Raises Malformed."""
        mark = text.find(_ARGUMENTS, at, at + 1000)
        if mark < 0:
            raise Malformed(f"after {_CALL} stand functions.NAME:NUMBER and {_ARGUMENTS}", at)
        name = text[at:mark].strip().removeprefix("functions.")
        head, colon, number = name.rpartition(":")
        if colon and number.isdecimal():
            name = head
        try:
            value, end = read_json(text, mark + len(_ARGUMENTS))
        except Malformed as error:
            raise Malformed(f"the text after {_ARGUMENTS} {error}", error.at) from None
        end = skip_space(text, end)
        if not text.startswith(_CALL_END, end):
            raise Malformed(f"a call is not closed with {_CALL_END}", end)
        return ToolCall(name, arguments_of(value)), end + len(_CALL_END)

    def write_one(self, call: ToolCall, n: int) -> str:
        """The numbers of a conversation go on; those of an action begin anew."""
        return f"{_CALL}functions.{call.name}:{n}{_ARGUMENTS}{dump(call.arguments)}{_CALL_END}"


KIMI = Kimi()
