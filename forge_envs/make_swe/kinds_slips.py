"""Slips that people make and reviewers miss: a case, a copy, an await, a repetition, letters beyond ASCII."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forge_envs.make_swe.edits import Edit, Source
from forge_envs.make_swe.kind import kind
from forge_envs.make_swe.kinds_logic import TIGHT

LETTERS = {
    "casefold": "lower",
    "isdecimal": "isdigit",
    "isdigit": "isnumeric",
    "isalnum": "isalpha",
    "isidentifier": "isalnum",
    "splitlines": "split",
}
COPIES = frozenset({"copy", "deepcopy"})
ONCE = frozenset({"replace"})
ASKS = frozenset({"isinstance", "issubclass", "startswith", "endswith"})


@kind(ast.Compare)
def truth_for_none(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`if not x` for `if x is None`: 0, an empty text and an empty list are taken for nothing."""
    assert isinstance(node, ast.Compare)
    nothing = node.comparators[0]
    none = len(node.ops) == 1 and isinstance(nothing, ast.Constant) and nothing.value is None
    if (
        none
        and isinstance(node.left, (ast.Name, ast.Attribute))
        and isinstance(node.ops[0], (ast.Is, ast.IsNot))
    ):
        at, word = source.start(node), b"not " if isinstance(node.ops[0], ast.Is) else b""
        yield [Edit(at, at, word), Edit(source.end(node.left), source.end(node))]


@kind(ast.Compare, ast.Call)
def missed_case(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """One of several cases forgotten: `x in ("a", "b")`, `isinstance(x, (A, B))`."""
    held = None
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        held = node.comparators[0]
    elif isinstance(node, ast.Call) and node.args:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        held = node.args[-1] if name in ASKS else None
    if isinstance(held, (ast.Tuple, ast.List, ast.Set)) and len(held.elts) > 2:
        for before, case in zip(held.elts, held.elts[1:], strict=False):
            yield [Edit(source.end(before), source.end(case))]


@kind(ast.Await)
def lost_await(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A coroutine that nobody waits for."""
    assert isinstance(node, ast.Await)
    yield [Edit(source.start(node), source.start(node.value))]


@kind(ast.Call, ast.Subscript)
def lost_copy(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """The thing itself for a copy of it: what is changed later changes for its owner too."""
    if isinstance(node, ast.Subscript):
        whole = isinstance(node.slice, ast.Slice) and not (
            node.slice.lower or node.slice.upper or node.slice.step
        )
        if whole and isinstance(node.ctx, ast.Load):
            yield [Edit(source.end(node.value), source.end(node))]
        return
    assert isinstance(node, ast.Call)
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in COPIES and len(node.args) == 1 and isinstance(node.args[0], TIGHT):
        yield [
            Edit(source.start(node), source.start(node.args[0])),
            Edit(source.end(node.args[0]), source.end(node)),
        ]


@kind(ast.Call)
def letters(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A method that is right for ASCII and wrong for other letters, digits and line ends."""
    assert isinstance(node, ast.Call)
    name = getattr(node.func, "attr", "")
    if name in LETTERS and not node.args and not node.keywords:
        end = source.end(node.func)
        yield [Edit(end - len(name), end, LETTERS[name].encode())]


@kind(ast.Call)
def first_only(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """The first occurrence is replaced, not all."""
    assert isinstance(node, ast.Call)
    plain = not node.keywords and not any(isinstance(argument, ast.Starred) for argument in node.args)
    if plain and getattr(node.func, "attr", "") in ONCE and len(node.args) == 2:
        yield [Edit(source.end(node.args[1]), source.end(node) - 1, b", 1")]


@kind(ast.While)
def once(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """Done once, not again and again."""
    assert isinstance(node, ast.While)
    leaves = any(isinstance(inner, (ast.Break, ast.Continue)) for inner in ast.walk(node))
    if not leaves and not isinstance(node.test, ast.Constant) and not node.orelse:
        start = source.start(node)
        yield [Edit(start, start + len("while"), b"if")]
