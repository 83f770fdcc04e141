"""Llama 3: bare JSON, with and without `<|python_tag|>`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import DEEPEST, MOST_CALLS, Malformed, call_of, dump, read_json, skip_space
from forge_envs.grammars.registry import foreign, prose_action
from forge_envs.messages import Action, ToolCall

_CALL = re.compile(
    r'<\|python_tag\|>|\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?:[^"\\\n]|\\.)*+"'
    r'\s*,\s*"(?:parameters|arguments)"\s*:'
)
_NEXT = re.compile(r"\s*;\s*(?=\{)")


class Llama(Marked):
    """A call is an object with `name` and `parameters`; `;` stands between several.

    Alone it needs no mark, and prose before it none either: no other JSON has these keys first. JSON with
    other keys is prose.

    >>> LLAMA.write(calls=[ToolCall("add", {"a": 1})])
    '{"name": "add", "parameters": {"a": 1}}'
    """

    name = "llama"
    mark = "<|python_tag|>"
    marks = (mark,)
    example = '{"name": "tool", "parameters": {"key": "value"}}'
    ends = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
    joint = "\n<|python_tag|>"

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        action = super().parse(text)
        if action.calls and action.prose and foreign(action.prose, self.name):
            return prose_action(action.prose, self)  # the object stood in another family's tags
        return action

    def find(self, text: str, at: int) -> int:
        """Where the next call begins, with the mark or without."""
        found = _CALL.search(text, at)
        return -1 if found is None else found.start()

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls of one row. Raises Malformed."""
        at = skip_space(text, at + len(self.mark)) if text.startswith(self.mark, at) else at
        calls: list[ToolCall] = []
        while True:
            if not text.startswith("{", at):
                raise Malformed("a call is a JSON object", at)
            try:
                data, at = read_json(text, at, DEEPEST + 1)
            except Malformed as error:
                raise Malformed(f"the text of a call {error}", error.at) from None
            key = "arguments" if isinstance(data, dict) and "arguments" in data else "parameters"
            calls.append(call_of(data, key, ("type",) if data.get("type") == "function" else ()))
            following = _NEXT.match(text, at) if len(calls) <= MOST_CALLS else None
            if following is None:
                return calls, at
            at = following.end()

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A row."""
        return "; ".join(dump({"name": call.name, "parameters": call.arguments}) for call in calls)


LLAMA = Llama()
