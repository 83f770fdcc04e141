"""Bugs in values: operators of arithmetic, numbers, flags, texts, indices, names."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from forge_envs.make_swe.edits import Edit, Source
from forge_envs.make_swe.kind import kind
from forge_envs.make_swe.kinds_logic import back_blank, over, skip_blank

ARITHMETIC: dict[type[ast.AST], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "//",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
PAIRS = (
    ("min", "max"),
    ("any", "all"),
    ("lstrip", "rstrip"),
    ("startswith", "endswith"),
    ("find", "rfind"),
    ("index", "rindex"),
    ("split", "rsplit"),
    ("partition", "rpartition"),
    ("upper", "lower"),
    ("keys", "values"),
    ("ljust", "rjust"),
    ("floor", "ceil"),
    ("union", "intersection"),
    ("append", "extend"),
    ("match", "fullmatch"),
    ("isdigit", "isalpha"),
)
SIBLINGS = {**dict(PAIRS), **{right: left for left, right in PAIRS}, "strip": "lstrip", "search": "match"}
IDLE: dict[type[ast.AST], tuple[bytes, ...]] = {
    **dict.fromkeys((ast.Add, ast.Sub), (b"0",)),
    **dict.fromkeys((ast.Mult, ast.Div, ast.FloorDiv, ast.Pow), (b"0", b"1")),
}
"""What nobody adds or multiplies by: `x + 0` tells where something was."""
UNLIKE_NUMBERS = (ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.ListComp)


@kind(ast.BinOp)
def arithmetic(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`-` for `+` and the like; texts and lists that are joined are left alone."""
    assert isinstance(node, ast.BinOp)
    texts = any(isinstance(side, UNLIKE_NUMBERS) or _is_text(side) for side in (node.left, node.right))
    if not texts and type(node.op) in ARITHMETIC:
        yield [over(source.operator(node.left, node.right), ARITHMETIC[type(node.op)])]


@kind(ast.AugAssign)
def augmented(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`-=` for `+=` and the like, or `=`."""
    assert isinstance(node, ast.AugAssign)
    tokens = source.operator(node.target, node.value)
    if not _is_text(node.value) and type(node.op) in ARITHMETIC:
        yield [over(tokens, ARITHMETIC[type(node.op)] + "=")]
    yield [over(tokens, "=")]


@kind(ast.Constant)
def off_by_one(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A number one too large or too small."""
    parent = source.parents.get(node)
    if not isinstance(parent, (ast.Subscript, ast.Slice, ast.arguments)):
        idle = IDLE.get(type(parent.op), ()) if isinstance(parent, ast.BinOp) else ()
        yield from (edits for edits in _shifted(source, node) if edits[0].text not in idle)


@kind(ast.Constant)
def flipped_flag(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`True` for `False`."""
    if not isinstance(source.parents.get(node), ast.arguments):
        yield from _flipped(source, node)


@kind(ast.Constant)
def changed_text(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A short text with its last or first character missing."""
    assert isinstance(node, ast.Constant)
    written = source.text(node) if _is_text(node) else ""
    quote = written.lstrip("rRbBuU")[:1]
    inside = written.strip("rRbBuU").strip(quote) if quote else ""
    plain = quote and written.endswith(quote) and "\\" not in written and quote not in inside
    parent = source.parents.get(node)
    if plain and 1 <= len(inside) <= 30 and not isinstance(parent, (ast.Expr, ast.arguments)):
        start, end = source.start(node), source.end(node)
        if "'''" in written or '"""' in written or len(source.between(start, end)) != 1:
            return
        last = len(inside[-1].encode())
        yield [Edit(end - 1 - last, end - 1)]
        if len(inside) > 1:
            first = start + written.index(quote) + 1
            yield [Edit(first, first + len(inside[0].encode()))]


@kind(ast.FunctionDef, ast.AsyncFunctionDef)
def default_value(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """Another default of an argument."""
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
        yield from _flipped(source, default)
        yield from _shifted(source, default)


@kind(ast.Subscript)
def shifted_index(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """The neighbour of an element, or the other end."""
    assert isinstance(node, ast.Subscript)
    index = node.slice
    at, end = source.start(index), source.end(index)
    if isinstance(index, ast.Constant) and type(index.value) is int:
        for value in (index.value + 1, index.value - 1):
            yield [Edit(at, end, str(value).encode())]
    elif isinstance(index, ast.UnaryOp) and isinstance(index.operand, ast.Constant):
        yield [Edit(at, end, b"0")]


@kind(ast.Slice)
def shifted_slice(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """A slice that begins or ends elsewhere."""
    assert isinstance(node, ast.Slice)
    for bound in filter(None, (node.lower, node.upper)):
        at, end = source.start(bound), source.end(bound)
        if source.data[at - 1 : at] != b"(":
            lower = bound is node.lower
            yield [Edit(at if lower else back_blank(source, at), skip_blank(source, end) if lower else end)]
        if isinstance(bound, ast.Constant) and type(bound.value) is int:
            yield [Edit(at, end, str(bound.value + 1).encode())]
        elif isinstance(bound, (ast.Name, ast.Attribute, ast.Call)):
            yield [Edit(end, end, b" + 1")]


@kind(ast.Call)
def sibling_name(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """`max` for `min`, `rstrip` for `lstrip`, and other names that are mixed up."""
    assert isinstance(node, ast.Call)
    called = node.func
    name = (
        called.id
        if isinstance(called, ast.Name)
        else called.attr
        if isinstance(called, ast.Attribute)
        else ""
    )
    if name in SIBLINGS:
        end = source.end(called)
        yield [Edit(end - len(name.encode()), end, SIBLINGS[name].encode())]


@kind(ast.Name)
def wrong_variable(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    """Another argument of the function in place of one."""
    assert isinstance(node, ast.Name)
    parent = source.parents.get(node)
    called = isinstance(parent, ast.Call) and parent.func is node
    here: ast.AST | None = node
    while here is not None and not isinstance(here, (ast.FunctionDef, ast.AsyncFunctionDef)):
        here = source.parents.get(here)
    if here is None or called or not isinstance(node.ctx, ast.Load):
        return
    names = [a.arg for a in (*here.args.posonlyargs, *here.args.args, *here.args.kwonlyargs)]
    names = [name for name in names if name not in ("self", "cls")]
    if node.id in names and len(names) > 1:
        other = names[(names.index(node.id) + 1) % len(names)]
        yield [Edit(source.start(node), source.end(node), other.encode())]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes))


def _shifted(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    if isinstance(node, ast.Constant) and type(node.value) is int and source.text(node).isdigit():
        place = source.start(node), source.end(node)
        yield [Edit(*place, str(node.value + 1).encode())]
        if node.value > 0:
            yield [Edit(*place, str(node.value - 1).encode())]


def _flipped(source: Source, node: ast.AST) -> Iterator[list[Edit]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield [Edit(source.start(node), source.end(node), str(not node.value).encode())]
