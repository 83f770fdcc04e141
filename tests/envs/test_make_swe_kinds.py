"""Planted bugs: every kind does what its name says, and changes nothing else."""

import ast
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.make_swe.edits import Edit, Source, apply_edits
from forge_envs.make_swe.kinds import Bug, kind_names, known_kinds, plant

# kind, body of a function of a, b and c before and after, arguments with which both differ
EXAMPLES: list[tuple[str, str, str, tuple[Any, ...]]] = [
    ("boundary", "return a < b", "return a <= b", (1, 1, 0)),
    ("boundary", "return 0 < (a) <= b", "return 0 < (a) < b", (2, 2, 0)),
    ("opposite_comparison", "return a is not  b", "return a is  b", (1, None, 0)),
    ("opposite_comparison", "return a not in (b)", "return a in (b)", (1, [2], 0)),
    ("opposite_comparison", "return (a) == b", "return (a) != b", (1, 2, 0)),
    ("boolean_operator", "return a and (b) and c", "return a or (b) or c", (0, 1, 1)),
    ("dropped_operand", "return (a or b) and c", "return c", (0, 0, 5)),
    ("dropped_operand", "return (a or b) and c", "return (a or b)", (1, 0, 0)),
    ("dropped_operand", "return a and (\n        b or c\n    )", "return a", (1, 0, 0)),
    ("negated_condition", "return b if a else c", "return b if not a else c", (1, 2, 3)),
    ("negated_condition", "if not a:\n        return b", "if a:\n        return b", (1, 2, 3)),
    ("negated_condition", "if a and b:\n        return c", "if not (a and b):\n        return c", (1, 1, 3)),
    ("dropped_unary", "return -a", "return a", (1, 0, 0)),
    ("dropped_unary", "return not  a", "return a", (1, 0, 0)),
    ("removed_guard", "if a:  # early\n        return b\n    return c", "return c", (1, 2, 3)),
    ("removed_branch", "if a:\n        c = 1\n    else:\n        c = 2\n    return c",
     "if a:\n        c = 1\n    return c", (0, 0, 9)),
    ("removed_branch", "if a:\n        c = 1\n    elif b:\n        c = 2\n    else:\n        c = 3\n"
     "    return c",
     "if a:\n        c = 1\n    else:\n        c = 3\n    return c", (0, 1, 9)),
    ("swapped_branches", "if a:\n        return b\n    else:\n        return c",
     "if a:\n        return c\n    else:\n        return b", (1, 2, 3)),
    ("swapped_branches", "return (b) if a else c", "return (c) if a else b", (1, 2, 3)),
    ("loop_exit", "for x in a:\n        if x:\n            break\n        b += 1\n    return b",
     "for x in a:\n        if x:\n            continue\n        b += 1\n    return b", ([1, 0], 0, 0)),
    ("exception_type", "try:\n        return a[b]\n    except KeyError:\n        return c",
     "try:\n        return a[b]\n    except IndexError:\n        return c", ({}, 1, 2)),
    ("exception_type", "raise ValueError(a)", "raise TypeError(a)", (1, 2, 3)),
    ("arithmetic", "return a + (b)", "return a - (b)", (1, 2, 0)),
    ("augmented", "a += b\n    return a", "a -= b\n    return a", (1, 2, 0)),
    ("augmented", "a += b\n    return a", "a = b\n    return a", (1, 2, 0)),
    ("off_by_one", "return a * 10", "return a * 11", (1, 2, 0)),
    ("off_by_one", "return a * 10", "return a * 9", (1, 2, 0)),
    ("flipped_flag", "return sorted(a, reverse=True)", "return sorted(a, reverse=False)", ([1, 2], 0, 0)),
    ("changed_text", "return a + ' -é'", "return a + ' -'", ("x", 0, 0)),
    ("changed_text", "return a + ' -é'", "return a + '-é'", ("x", 0, 0)),
    ("default_value", "def g(x=1):\n        return x\n    return g()",
     "def g(x=2):\n        return x\n    return g()", (0, 0, 0)),
    ("shifted_index", "return a[0]", "return a[1]", ([1, 2], 0, 0)),
    ("shifted_index", "return a[0]", "return a[-1]", ([1, 2], 0, 0)),
    ("shifted_index", "return a[-1]", "return a[0]", ([1, 2], 0, 0)),
    ("shifted_slice", "return a[1:b]", "return a[:b]", ([1, 2, 3], 2, 0)),
    ("shifted_slice", "return a[1:b]", "return a[1:b + 1]", ([1, 2, 3], 2, 0)),
    ("sibling_name", "return min(a, b)", "return max(a, b)", (1, 2, 0)),
    ("sibling_name", "return a . rstrip()", "return a . lstrip()", (" x ", 0, 0)),
    ("wrong_variable", "return a, len(b)", "return b, len(b)", (1, [], 0)),
    ("swapped_arguments", "return divmod(a, b)", "return divmod(b, a)", (1, 2, 0)),
    ("dropped_keyword", "return sorted(a, reverse=True)", "return sorted(a)", ([1, 2], 0, 0)),
    ("dropped_keyword", "return dict(x=a, y=(b))", "return dict(y=(b))", (1, 2, 0)),
    ("dropped_keyword", "return dict(x=a, y=(b))", "return dict(x=a)", (1, 2, 0)),
    ("dropped_fallback", "return a.get(b, (c))", "return a.get(b)", ({}, 1, 2)),
    ("unwrapped_call", "return sorted(a)", "return a", ([2, 1], 0, 0)),
    ("unwrapped_call", "return (a\n        .strip())", "return (a\n        )", (" x", 0, 0)),
    ("removed_statement", "a.append(b)\n    return a", "return a", ([], 1, 0)),
    ("swapped_tuple", "return a, (b)", "return b, (a)", (1, 2, 0)),
    ("short_loop", "return [x for x in range(a)]", "return [x for x in range(a - 1)]", (3, 0, 0)),
    ("short_loop", "return [x for x in range(a)]", "return [x for x in range(1, a)]", (3, 0, 0)),
    ("truth_for_none", "return b if a is None else c", "return b if not a else c", (0, 2, 3)),
    ("truth_for_none", "return b if a is not None else c", "return b if a else c", (0, 2, 3)),
    ("missed_case", "return a in (1, 2, b)", "return a in (1, b)", (2, 3, 0)),
    ("missed_case", "return isinstance(a, (int, str, list))", "return isinstance(a, (int, str))", ([], 0, 0)),
    ("lost_await", "async def g():\n        return await a\n    return g().send(None)",
     "async def g():\n        return a\n    return g().send(None)", (1, 0, 0)),
    ("lost_copy", "c = a[:]\n    c.append(b)\n    return a", "c = a\n    c.append(b)\n    return a",
     ([1], 2, 0)),
    ("lost_copy", "from copy import copy\n    c = copy(a)\n    c.append(b)\n    return a",
     "from copy import copy\n    c = a\n    c.append(b)\n    return a", ([1], 2, 0)),
    ("letters", "return a.casefold()", "return a.lower()", ("ß", 0, 0)),
    ("first_only", "return a.replace(b, c)", "return a.replace(b, c, 1)", ("xx", "x", "y")),
    ("once", "while a > b:\n        a -= c\n    return a", "if a > b:\n        a -= c\n    return a",
     (5, 1, 1)),
    ("dropped_filter", "return [x for x in a if (x > b)]", "return [x for x in a]", ([1, 2], 1, 0)),
]  # fmt: skip


def written(body: str) -> str:
    return f"def f(a, b, c):\n    {body}\n"


def bugs(text: str | bytes, kinds: list[str] | None = None) -> list[Bug]:
    data = text.encode() if isinstance(text, str) else text
    source = Source("f.py", data)
    return [bug for function in source.functions() for bug in plant(source, function, kinds or kind_names())]


def outcome(text: str, arguments: tuple[Any, ...]) -> object:
    space: dict[str, Callable[..., object]] = {}
    exec(text, space)
    try:
        return space["f"](
            *[value.copy() if isinstance(value, (list, dict)) else value for value in arguments]
        )
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(("kind", "before", "after", "arguments"), EXAMPLES)
def test_a_kind_makes_its_change_and_the_function_behaves_differently(kind, before, after, arguments):
    one, other = written(before), written(after)
    planted = [bug.planted(one.encode()) for bug in bugs(one, [kind])]
    assert other.encode() in planted
    assert outcome(one, arguments) != outcome(other, arguments)


def test_every_kind_has_an_example():
    assert {example[0] for example in EXAMPLES} == set(kind_names())
    assert len(kind_names()) >= 12


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("return isinstance(a, b)", ["swapped_arguments"]),
        ("return a + 'text' + f'{b}'", ["arithmetic"]),  # joined texts are not numbers
        (
            "return f'{a < b}'",
            ["boundary", "wrong_variable"],
        ),  # places inside f-strings are not known before Python 3.12
        (
            "'''Give 1 < 2 and 'x'.'''\n    return None",
            ["changed_text", "boundary"],
        ),  # a docstring is no code
        ("x: Literal[1] = a\n    return x", ["off_by_one", "shifted_index"]),  # nor is an annotation
        ("if b:\n        c = a\n    return c", ["removed_statement"]),  # no `pass` in its place
        ("return [x for x in range(1, a + 1)]", ["short_loop"]),  # nor `a + 1 - 1`
    ],
)
def test_what_is_left_alone(body, kinds):
    assert bugs(written(body), kinds) == []


LEADS = st.sampled_from(
    ["", "# é — an odd — comment\n", "X = {  'a' :1 }\n\n\n", "\f\nimport os ; import re\n"]
)
ENDS = st.sampled_from(["", "\n\n\nY = f(1,2,  3)   # tail\n", "# no line end", "class K :\n\tz= 1\n"])


@given(
    st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=4),
    LEADS,
    ENDS,
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_all_but_the_function_stays_as_it_was_to_the_byte(chosen, lead, end, newline, bom):
    texts = [written(example[1]).replace("def f", f"def f{i}") for i, example in enumerate(chosen)]
    data = (lead + "\n".join(texts) + end).replace("\n", newline).encode()
    data = b"\xef\xbb\xbf" + data if bom else data
    source = Source("f.py", data)
    spans = {
        function.name: (source.start(function.node), source.end(function.node))
        for function in source.functions()
    }
    for bug in bugs(data):
        after = bug.planted(data)
        if after is None:
            continue
        outer = bug.function.partition(".")[0]
        start, stop = spans[outer]
        assert after[:start] == data[:start]
        assert after.endswith(data[source.line_end(stop - 1) :])
        assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(data))


@given(st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=4))
def test_bugs_are_distinct_and_the_same_each_time(chosen):
    text = "".join(written(example[1]).replace("def f", f"def f{i}") for i, example in enumerate(chosen))
    keys = [bug.key for bug in bugs(text)]
    assert len(set(keys)) == len(keys)
    assert keys == [bug.key for bug in bugs(text)]


def test_edits_that_overlap_are_refused():
    assert apply_edits(b"abcdef", [Edit(4, 5, b"X"), Edit(0, 1)]) == b"bcdXf"
    with pytest.raises(ValueError, match="overlap at byte 1"):
        apply_edits(b"abc", [Edit(0, 2), Edit(1, 3)])


def test_functions_have_dotted_names_and_the_line_of_their_code():
    text = "class A:\n    @staticmethod\n    def g():\n        def h(): pass\n        return h\n"
    found = [(function.name, function.line) for function in Source("a.py", text.encode()).functions()]
    space: dict[str, Any] = {}
    exec(compile(text, "a.py", "exec"), space)
    code = space["A"].g.__code__
    assert found == [("A.g", code.co_firstlineno), ("A.g.h", space["A"].g().__code__.co_firstlineno)]


def test_unknown_kinds_are_named():
    assert known_kinds(["boundary"]) == ["boundary"]
    assert known_kinds([]) == kind_names()
    with pytest.raises(ValueError, match=r"unknown kinds of bugs: nonsense\. Known: boundary"):
        known_kinds(["nonsense", "boundary"])
