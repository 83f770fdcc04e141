"""Calls without a mark: JSON of many shapes, or code. Models fall back to them whatever they were asked.

A customer may be told JSON as well, so a text is such a call only if it begins or ends with one: an object
that has a tool's name and its arguments, under the keys that models use for these, and no other keys.
"""

from __future__ import annotations

import json
import re
from typing import Any

_NAMES = ("name", "function", "tool", "tool_name", "action")
_ARGUMENTS = ("arguments", "parameters", "args", "tool_input", "action_input")
_OTHERS = {"type", "id", "index", "call_id", "tool_call_id"}
_KEYS = {*_NAMES, *_ARGUMENTS, *_OTHERS}

# The head of an object that is a call; the quotes may be those of Python's dicts.
_HEAD = re.compile(
    r"""(?=\{\s*+["'])\{\s*"""  # for speed: most braces open no object
    r"""(?:(?:"type"\s*:\s*"function"|'type'\s*:\s*'function')\s*,\s*)?"""
    r"""(["'])(?:name|function|tool|tool_name)\1\s*:"""
    r"""\s*\1[^"'\n{}]{1,100}\1\s*,\s*\1(?:arguments|parameters|args|tool_input)\1\s*:\s*["']?\s*\{"""
)
_ROW = re.compile(r"[\s;,]*(?=\{)")
# What may stand around a call that ends a text: closing brackets, a fence, tags.
_AROUND = re.compile(r"(?:[\s\]\[};,`.]|</?[\w:|/.-]{1,40}>)*")
_CODE = re.compile(r"\[\s*[A-Za-z_][\w.]*\((?:\)|\s*[A-Za-z_]\w*\s*=)")  # [look(item="a")]
_NAMED = re.compile(r'[A-Za-z_][\w.-]*(?:\[ARGS\]\s*\{|\{\s*"[^"\n]*"\s*:)')  # look{"item": "a"}
_DECODER = json.JSONDecoder()


def holds_bare_call(text: str) -> bool:
    """Whether a text (without white space around it) begins or ends with a call that has no mark.

    >>> holds_bare_call('I look.\\n{"name": "look", "arguments": {"item": "a"}}')
    True
    >>> holds_bare_call('{"name": "Ann", "age": 5}')
    False
    """
    if text.startswith(("{", "[", "```")) and is_bare_call(text):
        return True
    if text.endswith("}") and _NAMED.match(text):
        return True
    head = _HEAD.search(text)
    return head is not None and (head.start() == 0 or _ends_with_calls(text, head.start()))


def is_bare_call(text: str) -> bool:
    """Whether the whole text is a call without a mark, or a list of them, perhaps in a fence."""
    if text.startswith("```") and text.endswith("```") and len(text) > 6:
        text = text[3:-3].removeprefix("json").strip()
    if text.endswith(")]") and _CODE.match(text):
        return True
    if text[-1:] not in ("}", "]") or not any(f'"{name}"' in text for name in _NAMES):
        return False
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if isinstance(data, dict):
        data = data.get("tool_calls", data.get("function_call", data))
    found = data if isinstance(data, list) else [data]
    return bool(found) and all(map(_is_call, found))


def _ends_with_calls(text: str, at: int) -> bool:
    """Whether calls in a row stand at `at`, and nothing behind them but what closes something."""
    while True:
        try:
            data, at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return False
        if not _is_call(data):
            return False
        following = _ROW.match(text, at)
        if following is None:
            return _AROUND.fullmatch(text, at) is not None
        at = following.end()


def _is_call(data: Any) -> bool:
    if not isinstance(data, dict) or not data.keys() <= _KEYS:
        return False
    if isinstance(data.get("function"), dict):
        data = data["function"]
    name = next((data[key] for key in _NAMES if key in data), None)
    arguments = next((data[key] for key in _ARGUMENTS if key in data), None)
    if isinstance(arguments, str):  # an object as a string, and not what a person says
        return isinstance(name, str) and arguments.lstrip().startswith("{")
    return isinstance(name, str) and isinstance(arguments, dict)
