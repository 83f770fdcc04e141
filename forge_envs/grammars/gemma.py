"""Gemma 4: a call whose strings stand between marks of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import DEEPEST, Malformed, dump, read_json, skip_space
from forge_envs.messages import ToolCall

_CALL, _END, _QUOTE = "<|tool_call>call:", "<tool_call|>", '<|"|>'
_NAME = re.compile(r"[^\s{}<>|:,\[\]]{1,200}(?=\{)")
_KEY = re.compile(r"([^\s{}<>|:,\[\]\"']{1,200}):")


class Gemma(Marked):
    """`call:name{key:value,…}`: keys bare, strings between `<|"|>`, all else as JSON has it.

    >>> print(GEMMA.write(calls=[ToolCall("add", {"a": 1, "b": ["x", None]})]))
    <|tool_call>call:add{a:1,b:[<|"|>x<|"|>,null]}<tool_call|>
    """

    name = "gemma"
    mark = _CALL
    marks = (_CALL,)
    example = f"{_CALL}tool{{key:{_QUOTE}value{_QUOTE}}}{_END}"
    starts = ("<|turn>model",)
    ends = ("<turn|>", "<|tool_response>", "<eos>")
    shard = re.compile(re.escape(_END))
    thinking = (("<|channel>", "<channel|>"), ("<think>", "</think>"))
    joint = "\n"

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The call of one block. Raises Malformed."""
        name = _NAME.match(text, at + len(_CALL))
        if name is None:
            raise Malformed(f"after {_CALL} stand the tool's name and its arguments in braces", at)
        arguments, end = _object(text, name.end(), DEEPEST)
        end = skip_space(text, end)
        if text.startswith(_END, end):
            return [ToolCall(name[0], arguments)], end + len(_END)
        if end == len(text):  # an engine may stop on it
            return [ToolCall(name[0], arguments)], end
        raise Malformed(f"a call is not closed with {_END}", end)

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """A block for each."""
        return "".join(f"{_CALL}{call.name}{_written(call.arguments)}{_END}" for call in calls)


def _object(text: str, at: int, room: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = skip_space(text, at + 1)
    while not text.startswith("}", at):
        if text.startswith(_QUOTE, at):
            key, at = _string(text, at)
            if not text.startswith(":", at):
                raise Malformed("between a key and its value stands a colon", at)
            at += 1
        else:
            named = _KEY.match(text, at)
            if named is None:
                raise Malformed("arguments are key:value, with commas between them, in braces", at)
            key, at = named[1], named.end()
        if key in found:
            raise Malformed(f"the key {key[:60]!r} stands twice in one object", at)
        found[key], at = _value(text, at, room - 1)
        at = _after(text, at, "}")
    return found, at + 1


def _list(text: str, at: int, room: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = skip_space(text, at + 1)
    while not text.startswith("]", at):
        item, at = _value(text, at, room - 1)
        found.append(item)
        at = _after(text, at, "]")
    return found, at + 1


def _after(text: str, at: int, closing: str) -> int:
    """Where the next item begins, or `closing` stands."""
    at = skip_space(text, at)
    if text.startswith(",", at):
        following = skip_space(text, at + 1)
        if text.startswith(closing, following):
            raise Malformed("no comma before a closing bracket", at)
        return following
    if not text.startswith(closing, at):
        raise Malformed(f"strings stand between {_QUOTE}, and a comma between values", at)
    return at


def _value(text: str, at: int, room: int) -> tuple[Any, int]:
    at = skip_space(text, at)
    if text.startswith(_QUOTE, at):
        return _string(text, at)
    if text.startswith(("{", "["), at):
        if room < 1:
            raise Malformed(f"is nested more than {DEEPEST} deep", at)
        return _object(text, at, room) if text[at] == "{" else _list(text, at, room)
    if text.startswith('"', at):
        raise Malformed(f'strings stand between {_QUOTE}, not "', at)
    if text.startswith("None", at):  # as its first templates wrote null
        return None, at + len("None")
    try:
        return read_json(text, at)
    except Malformed as error:
        raise Malformed(f"a value {error}", error.at) from None


def _string(text: str, at: int) -> tuple[str, int]:
    start = at + len(_QUOTE)
    end = text.find(_QUOTE, start)
    if end < 0:
        raise Malformed(f"a string is not closed with {_QUOTE}", at)
    return text[start:end], end + len(_QUOTE)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f"{_QUOTE}{value}{_QUOTE}"
    if isinstance(value, Mapping):
        pairs = (f"{k if _KEY.fullmatch(f'{k}:') else _written(k)}:{_written(v)}" for k, v in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return dump(value)


GEMMA = Gemma()
