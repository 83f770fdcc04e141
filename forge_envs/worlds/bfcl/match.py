"""Whether calls are an accepted answer to a single-turn question, by the rules of the official AST checker.

Its rules in short: the name and the number of calls must agree; required arguments are there and no others
than the answer lists; a value has the documented type, or that of the first accepted value; text is compared
without case, spaces and most punctuation; an argument may be missing where "" is among its accepted values.
Odd corners are kept, as that an empty list is right where an argument may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.worlds.bfcl.categories import Category, Language
from forge_envs.worlds.bfcl.literals import from_java, from_javascript
from forge_envs.worlds.bfcl.task import OneShot

Function = Mapping[str, Any]
Answers = Mapping[str, list[Any]]
"""The accepted values of each argument; "" among them: it may be left out."""

PYTHON: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
JAVA: dict[str, type] = {
    "byte": int, "short": int, "integer": int, "long": int, "float": float, "double": float,
    "boolean": bool, "char": str, "String": str, "any": str,
    "Array": list, "ArrayList": list, "Queue": list, "Stack": list, "Set": set,
    "HashMap": dict, "Hashtable": dict,
}  # fmt: skip
JAVASCRIPT: dict[str, type] = {
    "String": str,
    "integer": int,
    "float": float,
    "Bigint": int,
    "Boolean": bool,
    "dict": dict,
    "array": list,
    "any": str,
}
TYPES: dict[Language, dict[str, type]] = {"python": PYTHON, "java": JAVA, "javascript": JAVASCRIPT}
_WITH_ELEMENTS: dict[Language, tuple[str, ...]] = {
    "python": ("array", "tuple"),
    "java": ("Array", "ArrayList"),
    "javascript": ("array",),
}


def fault(task: OneShot, calls: Sequence[ToolCall]) -> str:
    """What is wrong with the calls as an answer to a question; "" if nothing is."""
    category = task.category
    if category.rule == "none":
        return "no function should be called" if calls else ""
    if category.rule == "some":
        return "" if calls else "a function should be called"
    if len(calls) != len(task.answers):
        return f"{len(calls)} calls, not {len(task.answers)}"
    if category.rule == "any_order":
        return _in_any_order(task, calls)
    (name,) = task.answers[0]
    return call_fault(category, meant(task, name), calls[0], task.answers[0][name])


def _in_any_order(task: OneShot, calls: Sequence[ToolCall]) -> str:
    """Each answer takes the first call left that fits it; no answer takes another one later."""
    left = dict(enumerate(calls))
    for answer in task.answers:
        (name,) = answer
        function = meant(task, name)
        fitting = (
            n for n, call in left.items() if not call_fault(task.category, function, call, answer[name])
        )
        taken = next(fitting, None)
        if taken is None:
            return f"no call left is the {name} that is wanted"
        del left[taken]
    return ""


def meant(task: OneShot, name: str) -> Function:
    """The function that an answer of this name is about; one alone is meant whatever the answer calls it."""
    if task.category.rule == "one" and "multiple" not in task.category.name:
        return task.functions[0]
    found = (function for function in task.functions if function["name"] == name)
    return next(found, {"name": "", "parameters": {"properties": {}}})


def call_fault(category: Category, function: Function, call: ToolCall, answers: Answers) -> str:
    """What is wrong with one call; "" if nothing is."""
    if call.name != function["name"]:
        return f"the function is not {call.name}"
    properties = function["parameters"]["properties"]
    for name in function["parameters"].get("required", ()):
        if name not in call.arguments:
            return f"{name} is missing"
    for name, value in call.arguments.items():
        if name not in properties or name not in answers:
            return f"{name} is not wanted"
        try:
            right = value_fits(category.language, properties[name], value, answers[name])
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            right = False  # there the official checker itself breaks
        if not right:
            return f"{name} has a value that is not accepted"
    for name, accepted in answers.items():
        if name not in call.arguments and "" not in accepted:
            return f"{name} is missing, and not optional"
    return ""


def value_fits(language: Language, kind: Mapping[str, Any], value: Any, accepted: list[Any]) -> bool:
    """Whether a value of an argument is among the accepted ones."""
    expected = TYPES[language][kind["type"]]
    inner = None
    if kind["type"] in _WITH_ELEMENTS[language]:
        inner = TYPES[language][kind["items"]["type"]]
    if language != "python":
        if type(value) is not str:
            return False
        convert = from_java if language == "java" else from_javascript
        value = convert(value, kind["type"], kind["items"]["type"] if inner is not None else None)
    elif kind["type"] == "float" and type(value) is int:
        value = float(value)
    if not _type_fits(value, accepted, expected, inner):
        return False
    if _first_type(accepted) not in (None, expected):  # the answer is a variable, which is text
        return value in accepted
    if expected is dict:
        return _entries_fit(value, accepted)
    if expected is list and inner is dict:
        return any(_rows_fit(value, rows) for rows in accepted)
    if expected is str:
        return bare(value) in [bare(one) for one in accepted if type(one) is str]
    if expected is list:
        return [_bare(item) for item in value] in [[_bare(item) for item in one] for one in accepted]
    return value in accepted


def _first_type(accepted: Iterable[Any]) -> type | None:
    return next((type(one) for one in accepted if one != ""), None)


def _type_fits(
    value: Any, accepted: Iterable[Any], expected: type[Any], inner: type[Any] | None = None
) -> bool:
    if type(value) is not expected:
        return type(value) is _first_type(accepted)
    if inner is None:
        return True
    # All elements must fit one accepted list; any list fits where the argument may be left out.
    return any(
        not isinstance(one, list) or all(_type_fits(item, one, inner) for item in value) for one in accepted
    )


def bare(text: str) -> str:
    """A text as it is compared: without case, spaces and , . / - _ * ^, and with one kind of quotes.

    >>> bare("April 1, 2024") == bare("april-1/2024"), bare("it's")
    (True, 'it"s')
    """
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')


def _bare(item: Any) -> Any:
    return bare(item) if type(item) is str else item


def _entries_fit(value: Mapping[str, Any], accepted: Iterable[Any]) -> bool:
    """Whether an object is one of the accepted ones, each of which lists values by key."""
    for one in accepted:
        if one == "":
            continue
        right = all(
            key in one and _bare(item) in [_bare(option) for option in _listed(one[key])]
            for key, item in value.items()
        )
        if right and all(key in value or "" in options for key, options in one.items()):
            return True
    return False


def _listed(options: Any) -> Iterable[Any]:
    return [options[i] for i in range(len(options))]  # an object in their place breaks the official checker


def _rows_fit(value: Sequence[Any], rows: Sequence[Any]) -> bool:
    return len(value) == len(rows) and all(
        _entries_fit(item, [row]) for item, row in zip(value, rows, strict=True)
    )
