"""gpt-oss's harmony: every message has a channel, and a call is a message to a tool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from forge_envs.grammars.grammar import Grammar
from forge_envs.grammars.reading import (
    Malformed,
    arguments_of,
    dump,
    encodable,
    read_json,
    require_few,
    require_reversible,
    skip_space,
    without_end,
)
from forge_envs.grammars.registry import message_by_message, prose_action
from forge_envs.grammars.thoughts import without_thoughts
from forge_envs.messages import Action, ToolCall

_MESSAGE = "<|message|>"
_STOP = re.compile(r"<\|(?:end|call|return|start)\|>")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w*)")
_ENDS = ("<|end|>", "<|call|>", "<|return|>")


class Harmony:
    """Messages on channels: `analysis` is thought, a message `to=` a tool a call, all else prose.

    The first `<|start|>assistant` stands in the prompt. Text without any channel is prose, as servers
    return it.

    >>> HARMONY.write("Let me see.", [ToolCall("add", {"a": 1})]).split("<|start|>assistant")
    ... # doctest: +NORMALIZE_WHITESPACE
    ['<|channel|>commentary<|message|>Let me see.<|end|>',
     '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>']
    """

    name = "harmony"
    prose_alone = True
    marks = ("<|channel|>", "to=functions.")
    example = '<|channel|>commentary to=functions.tool <|constrain|>json<|message|>{"key": "value"}<|call|>'

    def __repr__(self) -> str:
        return "<grammar harmony>"

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Grammar:
        """The same: this format needs no schemas."""
        return self

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        text = encodable(text).removeprefix("\ufeff").strip()
        if _MESSAGE not in text and not any(mark in text for mark in self.marks):
            return self._plain(text)
        return message_by_message(text, self._message, self)

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError for what it has no words for."""
        messages = [
            f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
            f"{dump(call.arguments)}<|call|>"
            for call in calls
        ]
        if prose:
            channel, end = ("commentary", "<|end|>") if calls else ("final", "")
            messages.insert(0, f"<|channel|>{channel}<|message|>{prose}{end}")
        text = "<|start|>assistant".join(messages)
        what = "neither prose nor names can hold the tokens of the harmony format"
        return require_reversible(text, self.parse(text), prose, calls, what)

    def _plain(self, text: str) -> Action:
        if text.startswith("analysis") and ("assistantfinal" in text or "assistantcommentary" in text):
            reason = "the tokens that part the channels are missing: do not skip special tokens"
            return Action("", error=f"{reason}; write {self.example}")
        if "<think>" in text or "</think>" in text:
            text = without_thoughts(text, -1, list)
        return prose_action(without_end(text, _ENDS), self)

    def _message(self, text: str, at: int, prose: list[str], calls: list[ToolCall]) -> int:
        """Read one message into `prose` or `calls`; where it ends. Raises Malformed."""
        start = text.find(_MESSAGE, at)
        header = text[at : start if start >= 0 else len(text)].strip()
        if header.startswith("<|start|>") and not header.startswith("<|start|>assistant"):
            raise Malformed("an action is messages of the assistant; another's begins", at)
        if start < 0:
            if header in ("", "<|start|>assistant"):
                return len(text)
            raise Malformed(f"a message has no {_MESSAGE}", at)
        first = start + len(_MESSAGE)
        recipient, channel = _RECIPIENT.search(header), _CHANNEL.search(header)
        if recipient is not None:
            call, end = _call(text, first, recipient[1])
            calls.append(call)
            require_few(calls)
            return end
        stop = _STOP.search(text, first)
        if "to=" in header or (stop is not None and stop[0] == "<|call|>" and not _is_thought(channel)):
            raise Malformed("a call names its tool as to=functions.NAME", first)
        end = len(text) if stop is None else stop.start()
        if not _is_thought(channel):
            prose.append(text[first:end].strip())
        return end if stop is None or stop[0] == "<|start|>" else stop.end()


def _is_thought(channel: re.Match[str] | None) -> bool:
    return channel is not None and channel[1] == "analysis"


def _call(text: str, at: int, recipient: str) -> tuple[ToolCall, int]:
    try:
        value, end = read_json(text, at)
    except Malformed as error:
        raise Malformed(f"the text after {_MESSAGE} to a tool {error}", error.at) from None
    end = skip_space(text, end)
    stop = _STOP.match(text, end)
    if stop is None and end < len(text):  # an engine may stop on the last token
        raise Malformed("a call is not closed with <|call|>", end)
    call = ToolCall(recipient.removeprefix("functions."), arguments_of(value))
    return call, end if stop is None or stop[0] == "<|start|>" else stop.end()


HARMONY = Harmony()
