"""LFM2: a list of calls as Python writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from forge_envs.grammars.literals import STRING, item_after, read_literal, unescaped
from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import DEEPEST, Malformed, dump, read_json, require_few, skip_space
from forge_envs.messages import ToolCall

_START, _END = "<|tool_call_start|>", "<|tool_call_end|>"
_NAME = re.compile(r"([A-Za-z_][\w.-]{0,199})\(")
_KEY = re.compile(r"([A-Za-z_]\w{0,199})\s*=")
_GOES_ON = r"\s*(?:,\s*[A-Za-z_]\w{0,199}\s*=|\)\s*[,\]])"
_ON = re.compile(_GOES_ON)
_RAW = {quote: re.compile(f"{quote}(?={_GOES_ON})") for quote in "'\""}


class Lfm2(Marked):
    """`[name(key=value, …), …]` between two marks: strings in quotes, lists and objects as JSON or as Python.

    LFM2.5's template writes strings as they are: one that no Python is (with a line break in it, or the
    quote that closes it) ends at the first quote after which the call goes on as it must.

    >>> print(LFM2.write(calls=[ToolCall("add", {"a": 1, "b": "it's", "c": None}), ToolCall("look", {})]))
    <|tool_call_start|>[add(a=1, b='it\\'s', c=None), look()]<|tool_call_end|>
    """

    name = "lfm2"
    mark = _START
    marks = (_START,)
    example = f"{_START}[tool(key='value')]{_END}"
    ends = ("<|im_end|>", "<|endoftext|>")
    shard = re.compile(r"\)\]" + re.escape(_END))  # the mark alone is Kimi's too

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls of one list. Raises Malformed."""
        at = skip_space(text, at + len(_START))
        if not text.startswith("[", at):
            raise Malformed(f"after {_START} stands a list of calls", at)
        at = skip_space(text, at + 1)
        calls: list[ToolCall] = []
        while not text.startswith("]", at):
            call, at = _call(text, at)
            calls.append(call)
            require_few(calls)
            at = item_after(text, at, "]")
        if not calls:
            raise Malformed("the list holds no call", at)
        end = skip_space(text, at + 1)
        if text.startswith(_END, end):
            return calls, end + len(_END)
        if end == len(text):  # an engine may stop on it
            return calls, end
        raise Malformed(f"the calls are not closed with {_END}", end)

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """One list."""
        return f"{_START}[{', '.join(map(_written, calls))}]{_END}"


def _call(text: str, at: int) -> tuple[ToolCall, int]:
    name = _NAME.match(text, at)
    if name is None:
        raise Malformed("a call is the tool's name and its arguments in parentheses", at)
    arguments: dict[str, Any] = {}
    at = skip_space(text, name.end())
    while not text.startswith(")", at):
        key = _KEY.match(text, at)
        if key is None:
            raise Malformed("arguments are key=value, with commas between them", at)
        if key[1] in arguments:
            raise Malformed(f"the argument {key[1][:60]!r} stands twice in one call", at)
        arguments[key[1]], at = _value(text, skip_space(text, key.end()))
        at = item_after(text, at, ")")
    return ToolCall(name[1], arguments), at + 1


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value of an argument, and where it ends. Raises Malformed."""
    string = STRING.match(text, at)
    if string is not None and "\n" not in string[0] and _ON.match(text, string.end()):
        return unescaped(string), string.end()
    if text[at : at + 1] in _RAW and (closed := _RAW[text[at]].search(text, at + 1)):
        return text[at + 1 : closed.start()], closed.end()
    if string is None and text[at : at + 1] in ("[", "{"):
        try:
            return read_json(text, at, DEEPEST)
        except Malformed:
            return read_literal(text, at)
    return read_literal(text, at)


def _written(call: ToolCall) -> str:
    pairs = (f"{key}={_word(value)}" for key, value in call.arguments.items())
    return f"{call.name}({', '.join(pairs)})"


def _word(value: Any) -> str:
    if isinstance(value, str):
        for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
            value = value.replace(plain, escaped)
        return f"'{value}'"
    return str(value) if value is None or isinstance(value, bool) else dump(value)


LFM2 = Lfm2()
