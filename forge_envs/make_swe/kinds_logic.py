"""Bugs in conditions and branches."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forge_envs.make_swe.edits import Edit, Source, Token
from forge_envs.make_swe.kind import kind

BOUNDARY: dict[type[ast.AST], str] = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
OPPOSITE: dict[type[ast.AST], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Lt: ">",
    ast.LtE: ">=",
    ast.Gt: "<",
    ast.GtE: "<=",
}
CONFUSED = {
    "KeyError": "IndexError",
    "IndexError": "KeyError",
    "ValueError": "TypeError",
    "TypeError": "ValueError",
    "AttributeError": "KeyError",
    "StopIteration": "IndexError",
    "LookupError": "ValueError",
    "OSError": "ValueError",
    "RuntimeError": "ValueError",
    "NotImplementedError": "ValueError",
}
TIGHT = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)


def over(tokens: list[Token], text: str) -> Edit:
    """Replace a run of tokens by one text."""
    return Edit(tokens[0].start, tokens[-1].end, text.encode())


@kind(ast.Compare)
def boundary(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`<` for `<=` and the like."""
    yield from _compared(source, node, BOUNDARY)


@kind(ast.Compare)
def opposite_comparison(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`==` for `!=`, `in` for `not in`, `<` for `>`."""
    yield from _compared(source, node, OPPOSITE)


def _compared(source: Source, node: ast.AST, table: dict[type[ast.AST], str]) -> Iterator[list[Edit]]:
    assert isinstance(node, ast.Compare)
    sides = [node.left, *node.comparators]
    for left, right, operator in zip(sides, sides[1:], node.ops, strict=False):
        tokens, text = source.operator(left, right), table.get(type(operator))
        if tokens and text:
            yield [over(tokens, text)]


@kind(ast.BoolOp)
def boolean_operator(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`or` for `and`."""
    assert isinstance(node, ast.BoolOp)
    text = "or" if isinstance(node.op, ast.And) else "and"
    pairs = zip(node.values, node.values[1:], strict=False)
    yield [over(source.operator(left, right), text) for left, right in pairs]


@kind(ast.BoolOp)
def dropped_operand(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """One side of `and` or `or` forgotten."""
    assert isinstance(node, ast.BoolOp)
    first, second = node.values[:2]
    gap = source.gap(first, second)
    before = [token for token in gap if token.text == ")"]
    opened = source.between(0, source.start(first))[-len(before) :] if before else []
    at = opened[0].start if opened else source.start(first)
    operator = source.operator(first, second)[0]
    yield [Edit(at, skip_blank(source, operator.end))]
    for left, right in zip(node.values, node.values[1:], strict=False):
        operator = source.operator(left, right)[0]
        end = source.outer_end(right, source.gap(left, right))
        yield [Edit(back_blank(source, operator.start), end)]


def skip_blank(source: Source, at: int) -> int:
    """The first place from here on that is no blank."""
    while source.data[at : at + 1] in (b" ", b"\t"):
        at += 1
    return at


def back_blank(source: Source, at: int) -> int:
    """Where the blanks before a place begin."""
    while source.data[at - 1 : at] in (b" ", b"\t"):
        at -= 1
    return at


@kind(ast.If, ast.IfExp)
def negated_condition(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A condition turned round."""
    assert isinstance(node, (ast.If, ast.IfExp))
    test = node.test
    at, end = source.start(test), source.end(test)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield [Edit(at, skip_blank(source, at + len("not")))]
    elif isinstance(test, TIGHT):
        yield [Edit(at, at, b"not ")]
    elif not isinstance(test, ast.Compare):  # a comparison turned round is `opposite_comparison`
        yield [Edit(at, at, b"not ("), Edit(end, end, b")")]


@kind(ast.UnaryOp)
def dropped_unary(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`not` or a minus sign forgotten."""
    assert isinstance(node, ast.UnaryOp)
    parent = source.parents.get(node)
    in_test = isinstance(parent, (ast.If, ast.IfExp)) and parent.test is node
    if isinstance(node.op, (ast.Not, ast.USub)) and not in_test:
        sign = "not" if isinstance(node.op, ast.Not) else "-"
        at = source.start(node)
        yield [Edit(at, skip_blank(source, at + len(sign)))]


@kind(ast.If)
def removed_guard(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """An early way out is gone."""
    assert isinstance(node, ast.If)
    leaves = isinstance(node.body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))
    if leaves and len(node.body) <= 2 and not node.orelse and not _is_elif(source, node):
        block = next((b for b in blocks(source.parents[node]) if node in b), [])
        if len(block) > 1:
            yield [whole_lines(source, source.start(node), source.end(node))]


@kind(ast.If)
def removed_branch(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """An `else` or `elif` is gone."""
    assert isinstance(node, ast.If)
    if not node.orelse:
        return
    words = [t for t in source.gap(node.body[-1], node.orelse[0]) if t.text == "else"]
    if words:
        yield [whole_lines(source, words[0].start, source.end(node.orelse[-1]))]
    elif isinstance(branch := node.orelse[0], ast.If):
        rest = branch.orelse
        words = [t for t in source.gap(branch.body[-1], rest[0]) if t.text == "else"] if rest else []
        last = words[0].start if words else source.start(rest[0]) if rest else None
        start = source.line_start(source.start(branch))
        end = source.line_start(last) if last is not None else source.line_end(source.end(branch) - 1)
        yield [Edit(start, end)]


@kind(ast.If, ast.IfExp)
def swapped_branches(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """What is done when the condition holds, and when it does not, the wrong way round."""
    assert isinstance(node, (ast.If, ast.IfExp))
    if isinstance(node, ast.IfExp):
        yield exchanged(source, (node.body, node.body), (node.orelse, node.orelse))
        return
    one, two = node.body, node.orelse
    if not two or (isinstance(two[0], ast.If) and _is_elif(source, two[0])):
        return
    if one[0].lineno > node.test.lineno and one[0].col_offset == two[0].col_offset:
        yield exchanged(source, (one[0], one[-1]), (two[0], two[-1]))


@kind(ast.Break, ast.Continue)
def loop_exit(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`continue` for `break`."""
    text = b"continue" if isinstance(node, ast.Break) else b"break"
    yield [Edit(source.start(node), source.end(node), text)]


@kind(ast.ExceptHandler, ast.Raise)
def exception_type(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """Another exception caught or raised."""
    named = node.type if isinstance(node, ast.ExceptHandler) else getattr(node, "exc", None)
    if isinstance(named, ast.Call):
        named = named.func
    for name in named.elts if isinstance(named, ast.Tuple) else [named]:
        if isinstance(name, ast.Name) and name.id in CONFUSED:
            yield [Edit(source.start(name), source.end(name), CONFUSED[name.id].encode())]


# -- help for these and other kinds ------------------------------------------------------------------------


def blocks(node: ast.AST) -> list[list[ast.stmt]]:
    """The lists of statements of a node."""
    fields = (getattr(node, name, None) for name in ("body", "orelse", "finalbody"))
    return [block for block in fields if isinstance(block, list)]


def whole_lines(source: Source, start: int, end: int) -> Edit:
    """Remove all lines from the one that holds `start` to the one that holds the byte before `end`."""
    return Edit(source.line_start(start), source.line_end(end - 1))


def exchanged(source: Source, one: tuple[ast.AST, ast.AST], two: tuple[ast.AST, ast.AST]) -> list[Edit]:
    """Two stretches, each from a first to a last node, in each other's place."""
    a, b = ((source.start(first), source.end(last)) for first, last in (one, two))
    return [Edit(*a, source.data[slice(*b)]), Edit(*b, source.data[slice(*a)])]


def _is_elif(source: Source, node: ast.If) -> bool:
    at = source.start(node)
    return source.data[at : at + 4] == b"elif"
