"""Which grammars there are: the ones of this package, and those that others bring along."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import cache

from forge_envs.grammars.bare import holds_bare_call
from forge_envs.grammars.grammar import Grammar
from forge_envs.grammars.reading import Malformed
from forge_envs.messages import Action, ToolCall
from forge_envs.plugins import load_entry_points

PLUGINS = "forge_envs.grammars"
"""Entry-point group of packages with grammars. Each entry point is a Grammar, or a module that registers
its own when it is imported. They are looked for when a name is asked for that is not known yet."""

GRAMMARS: dict[str, Grammar] = {}
"""By name, in the order of registration; filled by `register_grammar` alone."""

# Calls of families that no grammar here reads; they are no prose for a customer either.
_UNREAD = (
    "<|tool_call|>", "<｜tool_calls_begin｜>", "<start_function_call>", "<|START_ACTION|>",
    "<|action_start|>", "<|tools_prefix|>", "<function_calls>", "<TOOL_CALL>",
    "<tool_call ", "```tool_code", "```tool_call", "\nAction Input:",
)  # fmt: skip


def register_grammar(grammar: Grammar) -> None:
    """Make a grammar known by its name, so that any world takes `grammar=` that name.

    Raises ValueError for a name that is taken or no name, TypeError for what is no grammar.
    """
    missing = [
        member for member in ("name", "prose_alone", "example", "marks", "parse", "write", "for_tools")
        if not hasattr(grammar, member)
    ]  # fmt: skip
    if missing:
        raise TypeError(f"{grammar!r} is no grammar: it has no {', '.join(missing)}")
    name, marks = grammar.name, grammar.marks
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"grammar name {name!r}: it takes lower-case letters, digits and underscores")
    if name in GRAMMARS and _kind(GRAMMARS[name]) != _kind(grammar):  # a module may be loaded again
        raise ValueError(f"grammar name {name!r} is taken by {GRAMMARS[name]!r}")
    if not isinstance(marks, tuple) or not all(isinstance(mark, str) and mark.strip() for mark in marks):
        raise TypeError(f"grammar {name!r}: marks={marks!r} must be a tuple of texts that are not empty")
    if not isinstance(grammar.example, str) or not isinstance(grammar.prose_alone, bool):
        raise TypeError(f"grammar {name!r}: example must be a text and prose_alone true or false")
    if not isinstance(grammar.parse(""), Action):
        raise TypeError(f"grammar {name!r}: parse must return an Action")
    GRAMMARS[name] = grammar
    _marks.cache_clear()


def _kind(grammar: Grammar) -> tuple[str, str]:
    return type(grammar).__module__, type(grammar).__qualname__


def grammar_of(name: str) -> Grammar:
    """The grammar of this name. Raises ValueError with the names that are known."""
    if isinstance(name, str) and name not in GRAMMARS:
        load_plugins()
    if not isinstance(name, str) or name not in GRAMMARS:
        near = difflib.get_close_matches(str(name), GRAMMARS, 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"grammar={name!r}: known are {', '.join(GRAMMARS)}{hint}")
    return GRAMMARS[name]


def grammar_names() -> list[str]:
    """Names of all grammars: those of this package, then those of others."""
    load_plugins()
    return list(GRAMMARS)


@cache
def load_plugins() -> None:
    """Let installed packages register their grammars, once; one that fails is left out with a warning."""
    load_entry_points(PLUGINS, "grammars", _take)


def _take(found: object) -> None:
    if isinstance(found, Grammar):
        register_grammar(found)


MessageReader = Callable[[str, int, list[str], list[ToolCall]], int]
"""Reads the message at a place of a text into prose or calls; returns where it ends. Raises Malformed."""


def message_by_message(text: str, read: MessageReader, grammar: Grammar) -> Action:
    """The action of a format whose prose and calls are messages with headers of their own; never raises."""
    prose: list[str] = []
    calls: list[ToolCall] = []
    at = 0
    try:
        while at < len(text):
            at = read(text, at, prose, calls)
    except Malformed as error:
        if foreign(text, grammar.name):
            return prose_action(text, grammar)
        return Action("\n".join(prose).strip(), error=f"{error}; write {grammar.example}")
    return Action("\n".join(prose).strip(), tuple(calls))


# -- calls in another format ---------------------------------------------------------------------------


def prose_action(text: str, grammar: Grammar) -> Action:
    """Text without a call of this grammar: prose, unless it is a call in the format of another."""
    text = text.strip()
    if (other := foreign(text, grammar.name)) is None:
        return Action(text)
    return Action("", error=f"this is {other}, and this world reads {grammar.name}; write {grammar.example}")


def foreign(text: str, own: str) -> str | None:
    """What a text is that holds a call in another grammar than `own`; None for prose.

    >>> foreign('<|python_tag|>{"name": "look", "parameters": {}}', "hermes")
    'a call in the llama format'
    >>> foreign("It costs <b>5</b> $, as {'a': 1} says.", "hermes")
    """
    rare, marks = _marks()
    for character in rare:
        if character in text:
            break
    else:  # most prose
        return None
    for mark, name in marks:
        if name != own and mark in text:
            return f"a call in the {name} format" if name else f"a call in a format with {mark}"
    if not holds_bare_call(text):
        return None
    return "a call as JSON of another form" if own == "llama" else "a call as bare JSON"


@cache
def _marks() -> tuple[str, list[tuple[str, str]]]:
    """The rarest characters of all marks and those of bare calls, and the marks with their grammar."""
    marks = [(mark, name) for name, grammar in GRAMMARS.items() for mark in grammar.marks]
    marks += [(mark, "") for mark in _UNREAD]
    # <tool_call> alone is Hermes; with <function= or <arg_key> inside, it is another's.
    marks.sort(key=lambda found: found[1] == "hermes")
    return "".join(sorted({_rarest(mark) for mark, _ in marks} | set("{[`"))), marks


def _rarest(mark: str) -> str:
    """The first character that most prose does without."""
    return next((c for c in mark if not c.isalnum() and not c.isspace() and c != "_"), mark[0])


def tag_family(text: str, at: int) -> str | None:
    """Which grammar's call begins with the `<tool_call>` at `at`, a tag that three of them share.

    >>> tag_family("<tool_call>\\n<function=look>", 0)
    'qwen_xml'
    """
    head = text[at + len("<tool_call>") : at + 300].lstrip()
    if head.startswith("{"):
        return "hermes"
    if head.startswith("<function="):
        return "qwen_xml"
    return "glm" if "<arg_key>" in head.partition("</tool_call>")[0] else None
