"""Llama 3: bare JSON, with and without `<|python_tag|>`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import (
    DEEPEST,
    MOST_CALLS,
    Malformed,
    call_of,
    dump,
    read_json,
    require_few,
    skip_space,
)
from forge_envs.grammars.registry import foreign, prose_action
from forge_envs.messages import Action, ToolCall

# The look ahead is for speed: most braces open no object.
_CALL = re.compile(
    r'<\|python_tag\|>|(?=\{\s*+")\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"(?:[^"\\\n]|\\.)*+"'
    r'\s*,\s*"(?:parameters|arguments)"\s*:'
)
_NEXT = re.compile(r"\s*[;,]\s*(?=\{)")
# What this family puts around calls though nobody asked: a fence, a list.
_AROUND = re.compile(r"(?:```(?:json)?\s*)?\[?\s*\Z")
_FENCE = re.compile(r"```(?:json)?\s*")
_WIDEST = 32


class Llama(Marked):
    """A call is an object with `name` and `parameters`; `;` stands between several.

    Alone it needs no mark, and prose before it none either: no other JSON has these keys first. JSON with
    other keys is prose. A list of calls and a fence around calls are read, as this family writes them.

    >>> LLAMA.write(calls=[ToolCall("add", {"a": 1})])
    '{"name": "add", "parameters": {"a": 1}}'
    """

    name = "llama"
    mark = "<|python_tag|>"
    marks = (mark,)
    example = '{"name": "tool", "parameters": {"key": "value"}}'
    starts = ("<|begin_of_text|>", "<|start_header_id|>assistant<|end_header_id|>")
    ends = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
    joint = "\n<|python_tag|>"

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        action = super().parse(text)
        if action.calls and action.prose and foreign(action.prose, self.name):
            return prose_action(action.prose, self)  # the object stood in another family's tags
        return action

    def find(self, text: str, at: int) -> int:
        """Where the next call begins, with the mark or without, and what stands around it."""
        found = _CALL.search(text, at)
        if found is None:
            return -1
        before = text[max(at, found.start() - _WIDEST) : found.start()]
        around = _AROUND.search(before) if before.rstrip()[-1:] in ("[", "`", "n") else None
        if around is None or (around[0][:1] == "`" and text.count("```", at, found.start()) % 2 == 0):
            return found.start()  # that fence closes another block
        return found.start() - len(around[0])

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls of one row or list. Raises Malformed."""
        fence = _FENCE.match(text, at)
        at = skip_space(text, fence.end() if fence else at)
        at = skip_space(text, at + len(self.mark)) if text.startswith(self.mark, at) else at
        calls, at = _list(text, at) if text.startswith("[", at) else _row(text, at)
        end = skip_space(text, at)
        if text.startswith(("}", "]"), end):
            raise Malformed("the text of a call is not JSON (there is more after the object)", end)
        return calls, end + len("```") if fence and text.startswith("```", end) else at

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A row."""
        return "; ".join(dump({"name": call.name, "parameters": call.arguments}) for call in calls)


def _row(text: str, at: int) -> tuple[list[ToolCall], int]:
    calls: list[ToolCall] = []
    while True:
        if not text.startswith("{", at):
            raise Malformed("a call is a JSON object", at)
        data, at = _json(text, at, DEEPEST + 1)
        calls.append(_call(data))
        following = _NEXT.match(text, at) if len(calls) <= MOST_CALLS else None
        if following is None:
            return calls, at
        at = following.end()


def _list(text: str, at: int) -> tuple[list[ToolCall], int]:
    found, at = _json(text, at, DEEPEST + 2)
    if not found:
        raise Malformed("the list holds no call", at)
    require_few(found)
    return [_call(data) for data in found], at


def _json(text: str, at: int, levels: int) -> tuple[Any, int]:
    try:
        return read_json(text, at, levels)
    except Malformed as error:
        raise Malformed(f"the text of a call {error}", error.at) from None


def _call(data: Any) -> ToolCall:
    plain = not isinstance(data, dict)
    key = "parameters" if plain or "arguments" not in data else "arguments"
    return call_of(data, key, ("type",) if not plain and data.get("type") == "function" else ())


LLAMA = Llama()
