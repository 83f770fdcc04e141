"""Java and JavaScript values as text: what the official checker reads in them, and how to write them.

It reads with regular expressions, not with a parser; what it cannot read stays text. The expressions here
accept the same texts, in time that hostile ones cannot stretch; nothing is read of a text longer than
`LONGEST`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

LONGEST = 4_000
"""Characters of a value; with the official expressions some texts of a hundred take hours."""
_INTEGER = r"-?\d+"
_DECIMAL = r"-?\d+(?:\.\d+)?"
_EXPONENT = r"(?:[eE][+-]?\d+)?"


def _read(pattern: str, text: str, convert: Callable[[str], Any]) -> Any:
    """The value of the pattern's group, or the text as it is."""
    hit = re.match(rf"{pattern}$", text)
    return convert(hit[1]) if hit else text


def _guess(text: str) -> Any:
    """A value of which no type is known."""
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


# -- Java ------------------------------------------------------------------------------------------------


def from_java(text: str, kind: str, element: str | None = None) -> Any:
    """The value of a Java expression, if it is one of its type; else the text.

    Raises KeyError for types that the official checker has no reading for.

    >>> from_java("12L", "long"), from_java("12", "long"), from_java("new int[]{1, 2}", "Array", "integer")
    (12, '12', [1, 2])
    """
    return _JAVA[kind](text, element) if len(text) <= LONGEST else text


def _java_array(text: str, element: str | None) -> Any:
    hit = re.search(r"new\s+\w+\[\]\s*\{(.*?)\}", text)
    if not hit:
        return text
    return [_java_element(one.strip(), element) for one in hit[1].split(",") if one.strip()]


def _java_list(text: str, element: str | None) -> Any:
    """An ArrayList, of which quotes are cut off where its elements are texts."""
    listed = re.search(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)", text)
    added = re.search(r"new\s+ArrayList<\w*>\(\)\s*\{\{", text)
    if listed:
        found = listed[1].split(",")
    elif added or re.search(r"new\s+ArrayList<\w*>\(\)", text):
        block = text[added.end() :].strip() if added else ""
        found = re.findall(r"add\((.+?)\)", block[: block.find("}}", 1)] if "}}" in block[1:] else "")
    else:
        return text
    cut = element in ("char", "String")
    return [one.strip()[1:-1] if cut else _java_element(one.strip(), element) for one in found]


def _java_map(text: str, element: str | None) -> Any:
    hit = re.search(r"new\s+HashMap<.*?>\s*\(\)\s*\{", text, re.DOTALL)
    if not hit:
        return {} if re.search(r"new\s+HashMap<.*?>\s*\(\)", text) else text
    block = text[hit.end() :]
    block = block[: block.find("}") + 1]  # without an end it is empty
    block = block[: block.rfind(")") + 1]
    return {key: _java_value(one.strip()) for key, one in re.findall(r"put\(\"(.*?)\",\s*(.*?)\)", block)}


def _java_element(text: str, element: str | None) -> Any:
    return from_java(text, element) if element else _java_value(text)


def _java_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    if re.match(rf"{_INTEGER}[lL]$", text):
        return int(text[:-1])
    if re.match(rf"{_DECIMAL}{_EXPONENT}[fF]$", text):
        return float(text.rstrip("\n")[:-1])
    return _guess(text)


def _boolean(text: str, element: str | None) -> Any:
    return text == "true" if text in ("true", "false") else text


def _as_it_is(text: str, element: str | None) -> str:
    return text


def _java_integer(text: str, element: str | None) -> Any:
    return _read(rf"({_INTEGER})", text, int)


_JAVA: dict[str, Callable[[str, str | None], Any]] = {
    **dict.fromkeys(("byte", "short", "integer"), _java_integer),
    "long": lambda text, element: _read(rf"({_INTEGER})[lL]", text, int),
    "float": lambda text, element: _read(rf"({_DECIMAL}{_EXPONENT})[fF]", text, float),
    "double": lambda text, element: _read(rf"({_DECIMAL}{_EXPONENT})", text, float),
    "boolean": _boolean,
    **dict.fromkeys(("char", "String", "any"), _as_it_is),
    "Array": _java_array,
    "ArrayList": _java_list,
    "HashMap": _java_map,
}


# -- JavaScript ------------------------------------------------------------------------------------------


def from_javascript(text: str, kind: str, element: str | None = None) -> Any:
    """The value of a JavaScript expression, if it is one of its type; else the text.

    Raises KeyError for an unknown type.

    >>> from_javascript("'a'", "String"), from_javascript("[1, 'b']", "array")
    ('a', [1, 'b'])
    >>> from_javascript("9n", "Bigint")
    9
    """
    return _JAVASCRIPT[kind](text, element) if len(text) <= LONGEST else text


def _js_text(text: str, element: str | None = None) -> str:
    quoted = any(text.startswith(quote) and text.endswith(quote) for quote in "\"'")
    return text[1:-1] if quoted else text


def _js_array(text: str, element: str | None = None) -> Any:
    text = text.strip()
    rows = _js_rows(text)
    if rows:
        found = [row.strip() for row in re.findall(r"\[(.*?)\]", rows)]
        found[0] = found[0].removeprefix("[")
        return [[_js_value(one) for one in row.split(",")] for row in found]
    hit = re.match(r"\[(.*?)\]|\bnew\s+Array\((.*?)\)", text)
    if not hit:
        return text
    inside = (hit[2] if hit[1] is None else hit[1]).strip()
    elements = [one.strip() for one in inside.split(",")] if inside else []
    try:
        return [from_javascript(one, element) if element else _js_value(one) for one in elements]
    except KeyError:
        return text


def _js_rows(text: str) -> str:
    """The text of a list of lists that the text begins with; "" if it begins with none.

    Lists are separated by commas, and each is on one line. Inside a list brackets may stand, as long as what
    follows the last of them is a comma and a list, or the end.
    """
    head = re.match(r"(\[|new\s+Array\()\s*(?=\[)", text)
    if not head:
        return ""
    end = "]" if head[1] == "[" else ")"
    start, close = head.end(), text.find("]", head.end())
    while close >= 0 and "\n" not in text[start:close]:
        after = re.compile(r"\s*").match(text, close + 1).end()  # type: ignore[union-attr]
        if text.startswith(end, after):
            return text[: after + 1]
        following = re.compile(r",\s*(?=\[)").match(text, after)
        start = following.end() if following else start
        close = text.find("]", max(close + 1, start))
    return ""


def _js_object(text: str, element: str | None = None) -> Any:
    text = text.strip()
    hit = re.match(r"\{(.*?)\}", text)
    if text == "{}" or not hit:
        return {} if hit else text
    found: dict[str, Any] = {}
    for key, one in re.findall(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)", hit[1]):
        one = one.strip()
        if one.startswith("[") and one.endswith("]"):
            value = _js_array(one)
        elif one.startswith("{") and one.endswith("}"):
            value = _js_object(one)
        else:
            value = _js_value(one.strip("'\""))
        found[key.strip().strip("'\"")] = value
    return found


def _js_value(text: str) -> Any:
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    inner = _js_text(text)
    return _guess(text) if inner == text else inner


_JAVASCRIPT: dict[str, Callable[[str, str | None], Any]] = {
    "String": _js_text,
    "integer": lambda text, element: _read(rf"({_INTEGER})", text, int),
    "float": lambda text, element: _read(rf"({_DECIMAL})", text, float),
    "Bigint": lambda text, element: _read(rf"({_INTEGER})n", text, int),
    "Boolean": _boolean,
    "dict": _js_object,
    "array": _js_array,
    "any": _as_it_is,
}
