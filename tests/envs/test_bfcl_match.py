"""The rules by which an answer to a question is accepted. Each verdict is that of the official code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.messages import ToolCall
from forge_envs.worlds.bfcl.categories import CATEGORIES
from forge_envs.worlds.bfcl.literals import from_java, from_javascript
from forge_envs.worlds.bfcl.match import fault
from forge_envs.worlds.bfcl.task import OneShot

Row = tuple[dict[str, Any], Any, list[Any], bool]
"""The document of an argument, a value, the accepted values, the verdict."""
TEXT, WHOLE, NUMBER, FLAG = ({"type": kind} for kind in ("string", "integer", "float", "boolean"))
TEXTS = {"type": "array", "items": TEXT}
NUMBERS = {"type": "array", "items": NUMBER}
PAIR = {"type": "tuple", "items": WHOLE}
OBJECT = {"type": "dict"}
OBJECTS = {"type": "array", "items": OBJECT}

VALUES: list[Row] = [
    (TEXT, "new york, NY", ["New York NY"], True),
    (TEXT, "April-1/2024", ["April 1, 2024"], True),
    (TEXT, "it's", ['it"s'], True),
    (TEXT, "2 + 2", ["2+2"], True),
    (TEXT, "2(2)", ["2 2"], False),
    (TEXT, "", ["a", ""], True),
    (TEXT, "New Yorks", ["New York"], False),
    (TEXT, 5, ["5"], False),
    (TEXT, 5, [5], True),
    (TEXT, "5", [5], False),
    (TEXT, None, ["a"], False),
    (WHOLE, 5, [5], True),
    (WHOLE, 5.0, [5], False),
    (WHOLE, True, [1], False),
    (WHOLE, "x", ["x"], True),
    (WHOLE, "X", ["x"], False),
    (WHOLE, 5, ["x"], False),
    (WHOLE, 5, [""], False),
    (NUMBER, 5, [5.0], True),
    (NUMBER, 5, [5], True),
    (NUMBER, 5.5, [5], False),
    (NUMBER, "5", [5.0], False),
    (FLAG, True, [True], True),
    (FLAG, False, [True], False),
    (FLAG, 1, [True], False),
    (FLAG, "true", [True], False),
    (TEXTS, ["a b", "C"], [["ab", "c"]], True),
    (TEXTS, ["c", "ab"], [["ab", "c"]], False),
    (TEXTS, ["ab"], [["x"], ["ab"]], True),
    (TEXTS, [1], [["a"]], False),
    (TEXTS, [], [["a"], ""], True),
    (TEXTS, [], [["a"]], False),
    (TEXTS, [], [[]], True),
    (TEXTS, "a", ["a"], True),
    (TEXTS, "a", [["a"]], False),
    (NUMBERS, [1.5, 2.0], [[1.5, 2]], True),
    (NUMBERS, [1, 2], [[1, 2]], True),
    (NUMBERS, [1, 2], [[1.0, 2.0]], False),
    (PAIR, [1, 2], [[1, 2]], True),
    (OBJECT, {"a": "X y"}, [{"a": ["xy", "z"]}], True),
    (OBJECT, {"a": "x"}, [{"a": ["x"], "b": ["", 1]}], True),
    (OBJECT, {"a": "x"}, [{"a": ["x"], "b": [1]}], False),
    (OBJECT, {"a": "x", "b": 2}, [{"a": ["x"], "b": ["", 1]}], False),
    (OBJECT, {"a": "x", "c": 2}, [{"a": ["x"]}], False),
    (OBJECT, {"a": ["X"]}, [{"a": [["x"]]}], False),
    (OBJECT, {}, [""], False),
    (OBJECT, {}, [{}], True),
    (OBJECT, {"a": 1}, ["", {"a": [1]}], True),
    (OBJECTS, [{"a": 1}, {"a": 2}], [[{"a": [1]}, {"a": [2, 3]}]], True),
    (OBJECTS, [{"a": 2}, {"a": 1}], [[{"a": [1]}, {"a": [2]}]], False),
    (OBJECTS, [{"a": 1}], [[{"a": [1]}, {"a": [2]}]], False),
    (OBJECTS, [], [[{"a": [1]}], ""], True),
]
JAVA: list[Row] = [
    ({"type": "long"}, "5L", [5], True),
    ({"type": "long"}, "5", [5], False),
    ({"type": "long"}, 5, [5], False),
    ({"type": "boolean"}, "true", [True], True),
    ({"type": "boolean"}, "True", [True], False),
    ({"type": "double"}, "1e3", [1000.0], True),
    ({"type": "float"}, "1.5f", [1.5], True),
    ({"type": "String"}, "A b", ["ab"], True),
    ({"type": "any"}, "five", ["five"], True),
    ({"type": "integer"}, "size", ["size"], True),
    ({"type": "Array", "items": {"type": "integer"}}, "new int[]{1, 2}", [[1, 2]], True),
    ({"type": "Array", "items": {"type": "String"}}, 'new String[]{"a"}', [['"a"']], True),
    (
        {"type": "ArrayList", "items": {"type": "String"}},
        'new ArrayList<>(Arrays.asList("a", "b"))',
        [["a", "b"]],
        True,
    ),
    (
        {"type": "ArrayList", "items": {"type": "char"}},
        "new ArrayList<Character>() {{ add('a'); }}",
        [["a"]],
        True,
    ),
    ({"type": "HashMap"}, 'new HashMap<String, Object>() {{ put("a", 1); }}', [{"a": [1]}], True),
    ({"type": "HashMap"}, "new HashMap<>()", [{}], True),
    ({"type": "HashMap"}, "a map", ["a map"], True),
    ({"type": "Queue"}, "new LinkedList<>()", [[]], False),  # there the official code breaks
]
JAVASCRIPT: list[Row] = [
    ({"type": "String"}, "'a'", ["a"], True),
    ({"type": "Bigint"}, "9n", [9], True),
    ({"type": "Boolean"}, "false", [False], True),
    ({"type": "float"}, "3", [3], True),
    ({"type": "array", "items": {"type": "String"}}, "['a', \"b\"]", [["a", "b"]], True),
    ({"type": "array", "items": {"type": "float"}}, "[1, 2]", [[1.0, 2.0]], True),
    ({"type": "array", "items": {"type": "array"}}, "[[1, 2], [3]]", [[[1, 2], [3]]], True),
    ({"type": "dict"}, "{a: 1, 'b': \"x\", c: [1, 2]}", [{"a": [1], "b": ["x"], "c": [[1, 2]]}], True),
    ({"type": "dict"}, "{}", [{}], True),
    ({"type": "any"}, "handler", ["handler"], True),
]
LANGUAGES = {"simple_python": VALUES, "simple_java": JAVA, "simple_javascript": JAVASCRIPT}
ROWS = [(name, row) for name, rows in LANGUAGES.items() for row in rows]


def document(name: str, required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "parameters": {"properties": properties, "required": required}}


def question(category: str, functions: list[dict[str, Any]], answers: list[dict[str, Any]]) -> OneShot:
    return OneShot("x", "x", "v4", CATEGORIES[category], (), "", (), tuple(functions), tuple(answers))


@pytest.mark.parametrize(("category", "row"), ROWS, ids=[str(row[:3]) for _, row in ROWS])
def test_values_are_accepted_by_the_official_rules(category: str, row: Row) -> None:
    kind, value, accepted, right = row
    task = question(category, [document("f", [], x=kind)], [{"f": {"x": accepted}}])
    assert (fault(task, [ToolCall("f", {"x": value})]) == "") == right


F = document("f", ["a"], a=WHOLE, b=WHOLE, c=WHOLE)
G = document("g", [], a=WHOLE)
A1, A2 = ({"f": {"a": [n], "b": [n, ""]}} for n in (1, 2))


@pytest.mark.parametrize(
    ("category", "answers", "calls", "right"),
    [
        ("simple_python", [A1], [("f", {"a": 1})], True),
        ("simple_python", [A1], [("f", {"a": 1, "b": 1})], True),
        ("simple_python", [A1], [("f", {"b": 1})], False),
        ("simple_python", [A1], [("f", {"a": 1, "c": 1})], False),
        ("simple_python", [A1], [("f", {"a": 1, "d": 1})], False),
        ("simple_python", [A1], [("g", {"a": 1})], False),
        ("simple_python", [A1], [], False),
        ("simple_python", [A1], [("f", {"a": 1})] * 2, False),
        ("simple_python", [{"f": {"a": [1], "b": [2]}}], [("f", {"a": 1})], False),
        ("simple_python", [{"other": {"a": [1]}}], [("f", {"a": 1})], True),
        ("multiple", [{"g": {"a": [3]}}], [("g", {"a": 3})], True),
        ("multiple", [{"g": {"a": [3]}}], [("f", {"a": 3})], False),
        ("parallel", [A1, A2], [("f", {"a": 2}), ("f", {"a": 1})], True),
        ("parallel", [A1, A2], [("f", {"a": 1}), ("f", {"a": 1})], False),
        ("parallel", [A1, A2], [("f", {"a": 1})], False),
        # The first answer takes the first call that fits it, which the second one would need.
        ("parallel", [{"f": {"a": [1, 2]}}, A2], [("f", {"a": 2}), ("f", {"a": 1})], False),
        ("live_parallel_multiple", [A1, {"g": {"a": [3, ""]}}], [("g", {}), ("f", {"a": 1})], True),
        ("live_irrelevance", [], [], True),
        ("live_irrelevance", [], [("h", {})], False),
        ("live_relevance", [], [("h", {})], True),
        ("live_relevance", [], [], False),
    ],
)
def test_calls_are_matched_by_the_official_rules(
    category: str, answers: list[Any], calls: list[tuple[str, dict[str, Any]]], right: bool
) -> None:
    task = question(category, [F, G], answers)
    assert (fault(task, [ToolCall(*call) for call in calls]) == "") == right


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUE, st.sampled_from(ROWS))
def test_any_value_has_a_verdict(value: Any, one: tuple[str, Row]) -> None:
    category, (kind, _, accepted, _) = one
    task = question(category, [document("f", [], x=kind)], [{"f": {"x": accepted}}])
    assert isinstance(fault(task, [ToolCall("f", {"x": value})]), str)


@pytest.mark.parametrize(
    "text",
    [
        "[[a]" + ",[a]" * 900 + "x",
        "new HashMap<>() {" + " " * 3_900,
        "new ArrayList<>() {{" + " " * 3_900,
        'new HashMap<>() { put("' + '",' * 1_900,
        "{" + "a:," * 1_300 + "}",
        "[" * 4_000,
        "9" * 100_000,
        "[[" * 100_000,
    ],
    ids=range(8),
)
def test_hostile_texts_are_read_or_left_as_they_are(text: str) -> None:
    for kind in ("Array", "ArrayList", "HashMap", "integer", "double"):
        from_java(text[:4_000], kind, "any") if kind != "HashMap" else from_java(text, kind)
    for kind in ("array", "dict", "integer", "String"):
        from_javascript(text, kind, "any" if kind == "array" else None)
