"""Bugs in calls and statements: what is passed, kept, repeated, forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forge_envs.make_swe.edits import Edit, Source
from forge_envs.make_swe.kind import kind
from forge_envs.make_swe.kinds_logic import TIGHT, back_blank, blocks, exchanged, whole_lines

WRAPPERS = frozenset(
    {"str", "int", "float", "list", "tuple", "set", "frozenset", "dict", "sorted", "abs", "reversed"}
)
POLISHERS = frozenset(
    {"strip", "lstrip", "rstrip", "lower", "upper", "copy", "title", "capitalize", "casefold"}
)
UNLIKE = frozenset({"isinstance", "issubclass", "getattr", "hasattr", "setattr", "delattr", "map", "filter"})
"""Calls whose arguments are so unlike that nobody confuses them for long."""
FALLBACKS = {"get": 2, "pop": 2, "getattr": 3, "next": 2}


@kind(ast.Call)
def swapped_arguments(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """Two neighbouring arguments the wrong way round."""
    assert isinstance(node, ast.Call)
    if getattr(node.func, "id", "") in UNLIKE:
        return
    for left, right in zip(node.args, node.args[1:], strict=False):
        if not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
            yield exchanged(source, (left, left), (right, right))


@kind(ast.Call)
def dropped_keyword(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """An argument by name forgotten."""
    assert isinstance(node, ast.Call)
    for keyword in node.keywords:
        start, end = source.start(keyword), source.end(keyword)
        before = source.between(source.end(node.func), start)[-1:]
        after = source.between(end, source.end(node))[:1]
        if keyword.arg is None or not before or not after:
            continue
        if before[0].text == ",":
            yield [Edit(before[0].start, end)]
        elif after[0].text == ",":
            following = source.between(after[0].end, source.end(node))
            yield [Edit(start, following[0].start)]
        elif after[0].text == ")":
            yield [Edit(start, end)]


@kind(ast.Call)
def dropped_fallback(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`get`, `pop`, `getattr` or `next` without what they give when there is nothing."""
    assert isinstance(node, ast.Call)
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if len(node.args) == FALLBACKS.get(name) and not node.keywords:
        gap = source.gap(node.args[-2], node.args[-1])
        comma = next(token for token in gap if token.text == ",")
        yield [Edit(comma.start, source.outer_end(node.args[-1], gap))]


@kind(ast.Call)
def unwrapped_call(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A conversion or a clean-up forgotten: `x` for `sorted(x)` or `x.strip()`."""
    assert isinstance(node, ast.Call)
    start, end = source.start(node), source.end(node)
    if isinstance(node.func, ast.Attribute) and node.func.attr in POLISHERS and not node.args:
        dots = [t for t in source.between(source.end(node.func.value), end) if t.text == "."]
        if dots and not node.keywords:
            yield [Edit(dots[0].start, end)]
    elif isinstance(node.func, ast.Name) and node.func.id in WRAPPERS and len(node.args) == 1:
        argument = node.args[0]
        if not isinstance(argument, (ast.Starred, ast.GeneratorExp)):
            text = source.text(argument)
            yield [Edit(start, end, (text if isinstance(argument, TIGHT) else f"({text})").encode())]


@kind(ast.Assign, ast.AugAssign, ast.Expr)
def removed_statement(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A statement forgotten: a call, or an assignment to something that was there before."""
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id not in _arguments(source, node):
            return  # nobody could read the name afterwards
    elif isinstance(node, ast.Expr) and not isinstance(node.value, (ast.Call, ast.Await, ast.Yield)):
        return
    start, end = source.start(node), source.end(node)
    block = next((b for b in blocks(source.parents[node]) if node in b), [])
    alone = not source.between(source.line_start(start), start) and not source.between(
        end, source.line_end(end - 1)
    )
    if alone and len(block) > 1:  # a `pass` in its place would tell where something was
        yield [whole_lines(source, start, end)]


@kind(ast.Return, ast.Assign, ast.Yield)
def swapped_tuple(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """The first two of a tuple the wrong way round."""
    value = getattr(node, "value", None)
    if isinstance(value, ast.Tuple) and len(value.elts) > 1:
        one, two = value.elts[:2]
        if not isinstance(one, ast.Starred) and not isinstance(two, ast.Starred):
            yield exchanged(source, (one, one), (two, two))


@kind(ast.For, ast.comprehension)
def short_loop(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A loop over numbers that stops one too early or begins one too late."""
    assert isinstance(node, (ast.For, ast.comprehension))
    called = node.iter
    if (
        isinstance(called, ast.Call)
        and isinstance(called.func, ast.Name)
        and called.args
        and not called.keywords
    ):
        first, stop = called.args[0], called.args[min(1, len(called.args) - 1)]
        if called.func.id == "range" and isinstance(stop, (*TIGHT, ast.BinOp)):
            if not isinstance(getattr(stop, "right", stop), ast.Constant):  # nobody writes `n + 1 - 1`
                yield [Edit(source.end(stop), source.end(stop), b" - 1")]
            if len(called.args) == 1:
                yield [Edit(source.start(first), source.start(first), b"1, ")]


@kind(ast.comprehension)
def dropped_filter(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A comprehension without its condition."""
    assert isinstance(node, ast.comprehension)
    if len(node.ifs) == 1:
        gap = source.gap(node.iter, node.ifs[0])
        word = next(token for token in gap if token.text == "if")
        opened = [token for token in gap if token.start > word.start]
        yield [Edit(back_blank(source, word.start), source.outer_end(node.ifs[0], opened))]


def _arguments(source: Source, node: ast.AST) -> set[str]:
    """The names of the arguments of the function around a node."""
    here: ast.AST | None = node
    while here is not None and not isinstance(here, (ast.FunctionDef, ast.AsyncFunctionDef)):
        here = source.parents.get(here)
    found = () if here is None else ast.walk(here.args)
    return {argument.arg for argument in found if isinstance(argument, ast.arg)}
