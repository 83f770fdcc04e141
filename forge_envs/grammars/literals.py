"""Values as Python writes them, as some templates do lists and objects; read in place and in bounds."""

from __future__ import annotations

import re
from typing import Any

from forge_envs.grammars.reading import DEEPEST, Malformed, read_json, skip_space

STRING = re.compile(r"""'((?:[^'\\]|\\.)*+)'|"((?:[^"\\]|\\.)*+)\"""", re.DOTALL)
"""A string in either quote; `unescaped` says what it holds."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_CONSTANT = re.compile(r"(True|False|None)\b")
_CONSTANTS = {"True": True, "False": False, "None": None}


def read_literal(text: str, at: int, levels: int = DEEPEST) -> tuple[Any, int]:
    """A value as Python writes it, and where it ends. Raises Malformed."""
    if string := STRING.match(text, at):
        return unescaped(string), string.end()
    if constant := _CONSTANT.match(text, at):
        return _CONSTANTS[constant[1]], constant.end()
    opening = text[at : at + 1]
    if opening not in ("[", "{"):
        try:
            return read_json(text, at, levels)
        except Malformed as error:
            raise Malformed(f"a value {error}", error.at) from None
    if levels == 0:
        raise Malformed(f"a value is nested more than {DEEPEST} deep", at)
    items: list[Any] = []
    pairs: dict[str, Any] = {}
    closing = "]" if opening == "[" else "}"
    at = skip_space(text, at + 1)
    while not text.startswith(closing, at):
        item, at = read_literal(text, at, levels - 1)
        if opening == "{":
            at = skip_space(text, at)
            if not isinstance(item, str) or not text.startswith(":", at):
                raise Malformed("an object has a string, a colon and a value for each key", at)
            if item in pairs:
                raise Malformed(f"the key {item[:60]!r} stands twice in one object", at)
            pairs[item], at = read_literal(text, skip_space(text, at + 1), levels - 1)
        else:
            items.append(item)
        at = item_after(text, at, closing)
    return pairs if opening == "{" else items, at + 1


def unescaped(string: re.Match[str]) -> str:
    """The text that a `STRING` holds."""
    held = string[1] if string[1] is not None else string[2]
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), held)


def item_after(text: str, at: int, closing: str) -> int:
    """Where the next item begins, or `closing` stands. Raises Malformed."""
    at = skip_space(text, at)
    if text.startswith(",", at):
        return skip_space(text, at + 1)
    if not text.startswith(closing, at):
        raise Malformed(f"a comma or {closing} is missing", at)
    return at
