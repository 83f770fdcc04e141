"""Mistral: `[TOOL_CALLS]`, in the form of each generation of its tokenizers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.grammars.bare import is_bare_call
from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import (
    DEEPEST,
    Malformed,
    arguments_of,
    call_of,
    dump,
    read_json,
    require_few,
    skip_space,
)
from forge_envs.messages import Action, ToolCall

_NAME = re.compile(r"\[TOOL_CALLS\]\s*([^\s\[{][^\n\[{]*)(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?")
_UNMARKED = re.compile(r"""[A-Za-z_][\w.-]*(?:\[ARGS\]\s*\{|\{\s*["'}])""")


class Mistral(Marked):
    """`[TOOL_CALLS]name[ARGS]{…}` for each call (since 2025), or `[TOOL_CALLS] [{…}, …]` for all.

    An engine that skips special tokens leaves a bare list, or `name{…}`: as a whole action it is read.

    >>> MISTRAL.write("Let me see.", [ToolCall("add", {"a": 1}), ToolCall("look", {})])
    'Let me see.[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]look[ARGS]{}'
    """

    name = "mistral"
    mark = "[TOOL_CALLS]"
    marks = ("[TOOL_CALLS]",)
    example = '[TOOL_CALLS]tool[ARGS]{"key": "value"}'
    starts = ("[/INST]",)
    ends = ("</s>",)
    thinking = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
    joint = ""

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        action = super().parse(text)
        if action.calls or "[TOOL_CALLS]" in text:
            return action
        said = action.prose or text.strip()
        bare = said.startswith(("[{", "[ {", "[\n")) and is_bare_call(said)
        if bare or (said.endswith("}") and _UNMARKED.match(said)):
            return super().parse(f"[TOOL_CALLS]{said}")
        return action

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls after one mark. Raises Malformed."""
        start = skip_space(text, at + len("[TOOL_CALLS]"))
        if text.startswith("[", start):
            return self._list(text, start)
        name = _NAME.match(text, at)
        if name is None:
            raise Malformed("after [TOOL_CALLS] stands the tool's name", start)
        try:
            value, end = read_json(text, name.end())
        except Malformed as error:
            raise Malformed(f"the text after [ARGS] {error}", error.at) from None
        return [ToolCall(name[1].strip(), arguments_of(value))], end

    def _list(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        try:
            found, end = read_json(text, at, DEEPEST + 2)
        except Malformed as error:
            raise Malformed(f"the list after [TOOL_CALLS] {error}", error.at) from None
        if not found:
            raise Malformed("the list after [TOOL_CALLS] holds no call", end)
        require_few(found)
        return [call_of(item, ignored=("id",)) for item in found], end

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A mark for each."""
        return "".join(f"[TOOL_CALLS]{call.name}[ARGS]{dump(call.arguments)}" for call in calls)


MISTRAL = Mistral()
