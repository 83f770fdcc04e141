"""Messages of the OpenAI form and actions in the Hermes grammar: one made of the other, nothing lost.

A reply goes back to its endpoint with the fields that it came with, also those nobody here knows. Its native
calls always run: beside them, tags in the text are text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from forge_train.play.encoding import Call, arguments_of

_TAG = re.compile(r"<(?=[/|｜]?[A-Za-z_])|\[(?=/?[A-Z_]+\])")
"""Where a tag of a call, of a thought or of a template may begin, in the format of any family."""
_SPACED = r"\g<0> "
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint answered."""

    message: Mapping[str, Any]
    """As it came, and as it goes back: each call with an id of its own, and arguments that servers take."""
    action: str
    """The same in the Hermes grammar; arguments that are no JSON object stay malformed, as they are."""
    cut: bool
    """The reply did not end within its tokens."""
    usage: Mapping[str, int]


def read_reply(answer: Any, turn: int) -> Reply:
    """The reply in a chat completion; raises one of the errors of wrong data when there is none."""
    choice = answer["choices"][0]
    # Whatever it holds is sent back, so it must be what JSON and UTF-8 have words for.
    told = json.dumps(choice["message"], ensure_ascii=False, allow_nan=False)
    message = json.loads(told.encode("utf-8", "replace"))
    text = text_of(message)
    calls = message.pop("tool_calls", None) or []
    blocks = [call_block(call["function"]["name"], call["function"].get("arguments")) for call in calls]
    action = "\n".join(filter(None, [beside_calls(text), *blocks])) if blocks else text
    if calls:
        message["tool_calls"] = _sendable(calls, turn)
    elif message.get("content") is None:
        message["content"] = text  # null is for messages with calls
    used = answer.get("usage") or {}
    usage = {name: int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}
    message = {"role": "assistant", **message}
    return Reply(message, action, choice.get("finish_reason") == "length", usage)


def in_grammar(reply: Reply, grammar: Any) -> Reply:
    """A reply whose native calls are written as a world's grammar reads them; else in Hermes."""
    calls = [Call(*arguments_of(call)) for call in reply.message.get("tool_calls") or ()]
    if grammar is None or grammar.name == "hermes" or not calls:
        return reply
    prose = text_of(reply.message).rpartition("</think>")[2].strip()
    for beside in (prose, beside_calls(prose), ""):  # tags in the text are text, and calls always run
        try:
            return replace(reply, action=grammar.write(beside, calls))
        except (ValueError, TypeError, AttributeError):  # no words for it, or arguments that are none
            continue
    return reply


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message in any form of the OpenAI API: text, parts, null; a refusal is said, too.

    Raises TypeError for content that is none.

    >>> text_of({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]})
    'Yes.'
    """
    content = message.get("content")
    if not isinstance(content, str | list | None):
        raise TypeError(f"content is a {type(content).__name__}")
    text = "".join(map(_part, content)) if isinstance(content, list) else content or ""
    refused = message.get("refusal")
    return text or (refused if isinstance(refused, str) else "")


def _part(part: Any) -> str:
    """What one part of a list says; pictures and thoughts say nothing."""
    if isinstance(part, str):
        return part
    kind = part.get("type", "text")
    text = part.get("refusal") if kind == "refusal" else part.get("text")
    if kind not in ("text", "output_text", "refusal") or part.get("thought") is True:
        return ""
    if not isinstance(text, str | None):
        raise TypeError(f"a part of the content is {part!r:.80}")
    return text or ""


def beside_calls(text: str) -> str:
    """The text of a reply with native calls, so that whoever reads the action takes no tag in it for a tag.

    A thought that begins the text and ends remains one.

    >>> beside_calls("<think>I look."), beside_calls("I look.</think>A moment."), beside_calls("2 < 3")
    ('< think>I look.', '<think>I look.</think>A moment.', '2 < 3')
    """
    thought, end, spoken = text.rpartition("</think>")
    begun = thought.lstrip()
    if not end or ("<think>" in begun and not begun.startswith("<think>")):
        return _TAG.sub(_SPACED, text)
    thought, spoken = _TAG.sub(_SPACED, begun.removeprefix("<think>")), _TAG.sub(_SPACED, spoken)
    return f"<think>{thought}</think>{spoken}"


def call_block(name: Any, arguments: Any) -> str:
    """A native call in the Hermes grammar.

    >>> print(call_block("add", '{"a": 1}'))
    <tool_call>
    {"name": "add", "arguments": {"a": 1}}
    </tool_call>
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a call is {name!r:.80}")
    found = as_object(arguments)
    call = {"name": name, "arguments": arguments if found is None else found}
    # A tag inside a value would end the call; in JSON, "<" occurs in strings only, where \u003c is the same.
    written = json.dumps(call, ensure_ascii=False).replace("<", "\\u003c")
    return f"<tool_call>\n{written}\n</tool_call>"


def as_object(arguments: Any) -> dict[str, Any] | None:
    """Arguments of a call as an object, None if they are none; nothing at all is an empty one."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments.strip() or "{}")
        except (ValueError, RecursionError):
            return None
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, dict) else None


def _sendable(calls: list[dict[str, Any]], turn: int) -> list[dict[str, Any]]:
    """Calls as they came, each with an id of its own and arguments that a server can parse."""
    ids: set[str] = set()
    for n, call in enumerate(calls):
        id = str(call.get("id") or f"call_{turn}_{n}")
        while id in ids:
            id = f"{id}_{n}"
        ids.add(id)
        call["id"] = id
        call.setdefault("type", "function")
        if not as_object(call["function"].get("arguments")):
            call["function"]["arguments"] = "{}"
    return calls


def with_native_calls(message: Mapping[str, Any], turn: int) -> dict[str, Any]:
    """An assistant message whose text holds an action in the Hermes grammar, its calls made native ones.

    All of it stays text unless every call reads well.
    """
    text = text_of(message)
    start = text.rfind("</think>") + 1
    prose: list[str] = []
    calls: list[dict[str, Any]] = []
    at = 0
    while (opening := text.find("<tool_call>", max(at, start))) >= 0:
        body = opening + len("<tool_call>")
        body += len(text) - body - len(text[body:].lstrip())
        try:
            call, end = _DECODER.raw_decode(text, body)
        except (ValueError, RecursionError):
            return dict(message)
        closing = text.find("</tool_call>", end)
        arguments = call.get("arguments", {}) if isinstance(call, dict) else None
        if closing < 0 or text[end:closing].strip() or not isinstance(arguments, dict):
            return dict(message)
        if not isinstance(call.get("name"), str):
            return dict(message)
        prose.append(text[at:opening])
        written = json.dumps(arguments, ensure_ascii=False)
        function = {"name": call["name"], "arguments": written}
        calls.append({"id": f"call_{turn}_{len(calls)}", "type": "function", "function": function})
        at = closing + len("</tool_call>")
    if not calls:
        return dict(message)
    return {**message, "content": "".join([*prose, text[at:]]).strip(), "tool_calls": calls}
