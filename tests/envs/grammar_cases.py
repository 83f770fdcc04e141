"""Calls and texts with which grammars are tried."""

import json

from hypothesis import strategies as st

TAGS = (
    "<tool_call>", "</tool_call>", "<think>", "</think>", "</parameter>", "<function=f>", "</arg_value>",
    "[TOOL_CALLS]", "<|python_tag|>", "<|call|>", "<|tool_call_end|>", "<｜tool▁call▁end｜>", "```",
    "\n```\n",
)  # fmt: skip
TEXT = st.text(st.characters(codec="utf-8"))
TAGGED = st.lists(st.sampled_from(TAGS) | st.text("ab {}\"':1\n", max_size=4), max_size=4).map("".join)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT | TAGGED
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | TAGGED, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
ARGUMENTS = st.dictionaries(NAMES, JSON, max_size=3)
WORDS = st.lists(st.sampled_from(["hello", "5 < 6", "Ü", "{a}", "yes.\n", "'no'"]), max_size=4).map(
    lambda words: " ".join(words).strip()
)


def kind(value):
    """The JSON type of a value."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def schemas_of(calls):
    """Tools that take these calls, in the OpenAI form."""
    tools = []
    for call in calls:
        properties = {key: {"type": kind(value)} for key, value in call.arguments.items()}
        parameters = {"type": "object", "properties": properties}
        tools.append({"type": "function", "function": {"name": call.name, "parameters": parameters}})
    return tools


def as_json(calls):
    """Calls by name and arguments, to compare: 1, 1.0 and True differ."""
    return json.dumps([(call.name, call.arguments) for call in calls])
