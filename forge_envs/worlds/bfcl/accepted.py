"""Gold of single-turn questions: calls made of accepted values."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.worlds.bfcl.categories import Language
from forge_envs.worlds.bfcl.match import Answers, Function, meant, value_fits
from forge_envs.worlds.bfcl.task import OneShot

_MOST = 64
"""Ways to give an argument that are tried."""


def gold_calls(task: OneShot) -> list[ToolCall]:
    """Calls that are accepted, as far as there are any; arguments that may be left out are."""
    return [_call(task, meant(task, name), answers[name]) for answers in task.answers for name in answers]


def _call(task: OneShot, function: Function, answers: Answers) -> ToolCall:
    language, required = task.category.language, function["parameters"].get("required", ())
    properties = function["parameters"]["properties"]
    arguments = {}
    for key, accepted in answers.items():
        if ("" in accepted and key not in required) or key not in properties:
            continue
        ways = list(itertools.islice(_ways(language, accepted, properties[key]), _MOST))
        fitting = (way for way in ways if _fits(language, properties[key], way, accepted))
        if ways:
            arguments[key] = next(fitting, ways[0])
    return ToolCall(function["name"], arguments)


def _fits(language: Language, kind: Mapping[str, Any], value: Any, accepted: list[Any]) -> bool:
    try:
        return value_fits(language, kind, value, accepted)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return False


def _ways(language: Language, accepted: list[Any], kind: Mapping[str, Any]) -> Iterator[Any]:
    """Values that may be right."""
    for one in accepted:
        for value in _plain(one, kind):
            if language == "python":
                yield value
            else:
                yield from _texts(language, value, kind)


def _plain(one: Any, kind: Mapping[str, Any]) -> Iterator[Any]:
    """An accepted value as a call gives it: of an object, and of a list of them, each entry's first."""
    if isinstance(one, dict):
        yield _first_entries(one)
    elif isinstance(one, list) and one and all(isinstance(row, dict) for row in one):
        yield [_first_entries(row) for row in one]
    yield one


def _first_entries(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, options in row.items():
        if isinstance(options, list) and options and "" not in options:
            found[key] = options[0]
    return found


# -- values of other languages -----------------------------------------------------------------------------


def _texts(language: Language, value: Any, kind: Mapping[str, Any]) -> Iterator[str]:
    """Ways to write a value in another language, of which one may be read as what it is."""
    write = _java if language == "java" else _javascript
    yield from write(value, kind)
    if isinstance(value, str):
        yield value
    else:
        yield json.dumps(value)


def _java(value: Any, kind: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, int | float):
        yield from (str(value), f"{value}L", f"{value}f")
    elif isinstance(value, list):
        for quote in ('"', ""):
            items = ", ".join(_java_item(item, quote, kind.get("items", {}).get("type")) for item in value)
            yield f"new Object[]{{{items}}}"
            yield f"new ArrayList<>(Arrays.asList({items}))" if value else "new ArrayList<>()"
    elif isinstance(value, dict):
        puts = " ".join(f"put({json.dumps(key)}, {_java_item(one, chr(34))});" for key, one in value.items())
        yield f"new HashMap<String, Object>() {{{{ {puts} }}}}"


def _java_item(item: Any, quote: str, kind: str | None = None) -> str:
    if isinstance(item, str):
        return f"{quote}{item}{quote}"
    return f"{json.dumps(item)}L" if kind == "long" else json.dumps(item)


def _javascript(value: Any, kind: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, int | float):
        yield from (str(value), f"{value}n")
    elif isinstance(value, str):
        yield json.dumps(value, ensure_ascii=False)
