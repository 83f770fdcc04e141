"""A test with one thing changed, so that it must fail: edits of its text, found in its syntax tree.

The strongest change is another expected value: it catches a program that makes every test pass, one whose
results are equal to everything, and one that reads what its caller expects. Where a test expects nothing that
stands there as a literal, its claim is wrapped, turned round, or waits for another exception.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
CONSTRUCTORS = frozenset(
    {"date", "datetime", "time", "timedelta", "Fraction", "Decimal", "UUID", "Path", "approx"}
    | {"set", "frozenset", "dict", "tuple", "list", "OrderedDict", "complex"}
)
"""Calls whose value changes with each of their arguments."""
OPPOSITES = {
    "assertTrue": "assertFalse",
    "assertIn": "assertNotIn",
    "assertIs": "assertIsNot",
    "assertIsNone": "assertIsNotNone",
    "assertIsInstance": "assertNotIsInstance",
}
OPPOSITES |= {right: left for left, right in OPPOSITES.items()}
"""Assertions of unittest that cannot both hold."""
EQUAL = frozenset(
    f"assert{kind}Equal" for kind in ("", "List", "Dict", "Tuple", "Set", "Sequence", "Count", "MultiLine")
) | {"assertEquals", "assertAlmostEqual", "assertCountEqual"}
CLAIMS = re.compile(r"assert|check|verif|expect|compar|equal|same|must|should|require", re.IGNORECASE)
"""Words of functions that claim something of their arguments. What others are given is no expected value, and
what comes of another one is the solution's affair."""
OTHERS = ("BufferError", "FloatingPointError", "ReferenceError", "EOFError")
"""Exceptions that hardly a test waits for."""
_WORD = re.compile(r"(?<![\\$A-Za-z0-9])[A-Za-z0-9]+")
LITERAL, WRAPPED, TURNED, CALLED, ADDED = range(5)
"""Kinds of slips, the strongest first."""


@dataclass(frozen=True, slots=True)
class TextEdit:
    """A part of the text, in bytes from its beginning, and what stands there instead."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Slip:
    """One change after which a test fails."""

    kind: int
    edits: tuple[TextEdit, ...]


class Positions:
    """Where the nodes of a syntax tree stand in their source, in bytes."""

    def __init__(self, source: bytes) -> None:
        self._starts = [0]
        for line in source.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)

    def of(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Begin and end of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self._starts[node.lineno - 1] + node.col_offset,
            self._starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def line(self, number: int) -> int:
        """Where a line begins; lines count from 1."""
        return self._starts[number - 1]


def slips(test: FunctionNode, positions: Positions, rng: random.Random) -> list[Slip]:
    """Ways to make a test fail that passes, the strongest first, later statements before earlier ones.

    None promises it: a test may not come to the changed line. What gold does with the result decides.
    """
    found: list[Slip] = []
    tables = _tables(test, positions, rng)
    for node in reversed(list(_certain(test.body))):
        if isinstance(node, ast.Assert):
            found += _of_assert(node.test, positions, rng, tables)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found += _of_call(node.value, positions, rng)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            found += _of_raises(node, positions, rng)
    last = test.body[-1]
    if last.lineno > test.lineno and not isinstance(last, (ast.Return, ast.Raise)):
        value = rng.randint(2, 99)
        claim = f"\n{' ' * test.body[0].col_offset}assert {value} == {value + rng.randint(1, 9)}"
        end = positions.of(last)[1]
        found.append(Slip(ADDED, (TextEdit(end, end, claim),)))
    return sorted(found, key=lambda slip: slip.kind)


def _certain(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run whenever a test passes; loops over what may be empty are among them."""
    for node in body:
        yield node
        if isinstance(node, (ast.With, ast.AsyncWith)):
            inner = [] if _raises(node) else node.body
        else:
            full = isinstance(node, ast.For) and isinstance(node.iter, (ast.Tuple, ast.List))
            inner = node.body if full else []  # type: ignore[attr-defined]
        yield from _certain(inner)


def _of_assert(
    claim: ast.expr, positions: Positions, rng: random.Random, tables: dict[str, tuple[TextEdit, ...]]
) -> Iterator[Slip]:
    start, end = positions.of(claim)
    if isinstance(claim, ast.Compare) and len(claim.ops) == 1 and isinstance(claim.ops[0], (ast.Eq, ast.Is)):
        sides = [claim.comparators[0], claim.left]
        for side in sides:
            if (edit := _other(side, positions, rng)) is not None:
                yield Slip(LITERAL, (edit,))
                return
            if isinstance(side, ast.Name) and side.id in tables:
                yield Slip(LITERAL, tables[side.id])
                return
        if isinstance(claim.ops[0], ast.Eq):
            at, to = positions.of(sides[0])
            yield Slip(WRAPPED, (TextEdit(at, at, "["), TextEdit(to, to, "]")))
            return
    yield Slip(TURNED, (TextEdit(start, start, "not ("), TextEdit(end, end, ")")))


def _of_call(call: ast.Call, positions: Positions, rng: random.Random) -> Iterator[Slip]:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in OPPOSITES:
        end = positions.of(call.func)[1]
        yield Slip(TURNED, (TextEdit(end - len(name), end, OPPOSITES[name]),))
    elif name.startswith("assertRaises") and call.args:
        yield Slip(WRAPPED, (TextEdit(*positions.of(call.args[0]), rng.choice(OTHERS)),))
    elif name in EQUAL:
        for side in reversed(call.args[:2]):
            if (edit := _other(side, positions, rng)) is not None:
                yield Slip(LITERAL, (edit,))
                return
        if call.args:
            at, to = positions.of(call.args[0])
            yield Slip(WRAPPED, (TextEdit(at, at, "["), TextEdit(to, to, "]")))
    elif CLAIMS.search(name):
        for side in reversed(call.args):
            if (edit := _other(side, positions, rng)) is not None:
                yield Slip(CALLED, (edit,))
                return


def _raises(node: ast.With | ast.AsyncWith) -> ast.Call | None:
    """The `pytest.raises(...)` of a with statement."""
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and call.args:
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if name in ("raises", "assertRaises", "assertRaisesRegex", "warns", "assertWarns"):
                return call
    return None


def _of_raises(node: ast.With | ast.AsyncWith, positions: Positions, rng: random.Random) -> Iterator[Slip]:
    call = _raises(node)
    if call is None or "arn" in ast.unparse(call.func):
        return
    yield Slip(WRAPPED, (TextEdit(*positions.of(call.args[0]), rng.choice(OTHERS)),))


def _tables(test: FunctionNode, positions: Positions, rng: random.Random) -> dict[str, tuple[TextEdit, ...]]:
    """By name of a parameter of `parametrize`: the edits that change its value in every row."""
    found: dict[str, tuple[TextEdit, ...]] = {}
    for mark in test.decorator_list:
        if not isinstance(mark, ast.Call) or getattr(mark.func, "attr", "") != "parametrize":
            continue
        if len(mark.args) < 2 or not isinstance(mark.args[1], (ast.List, ast.Tuple)):
            continue
        names = _names(mark.args[0])
        for at, name in enumerate(names):
            edits: list[TextEdit] = []
            for row in mark.args[1].elts:
                cell = _cell(row, at, len(names))
                edit = _other(cell, positions, rng) if cell is not None else None
                if edit is None:
                    break
                edits.append(edit)
            else:
                if edits:
                    found[name] = tuple(edits)
    return found


def _names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [name.strip() for name in node.value.split(",") if name.strip()]
    if isinstance(node, (ast.Tuple, ast.List)):
        return [name.value for name in node.elts if isinstance(name, ast.Constant)]  # type: ignore[misc]
    return []


def _cell(row: ast.expr, at: int, wide: int) -> ast.expr | None:
    cells: Sequence[ast.expr] = [row]
    if isinstance(row, ast.Call) and getattr(row.func, "attr", getattr(row.func, "id", "")) == "param":
        if row.keywords:  # marks may let it fail
            return None
        cells = row.args
    elif wide > 1:
        cells = row.elts if isinstance(row, (ast.Tuple, ast.List)) else []
    return cells[at] if at < len(cells) else None


def _other(node: ast.expr, positions: Positions, rng: random.Random) -> TextEdit | None:
    """A change of a literal after which it is another value; None for what is no literal."""
    if isinstance(node, ast.Constant):
        text = other_value(node.value, rng)
        return TextEdit(*positions.of(node), text) if text is not None else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _other(node.operand, positions, rng) if isinstance(node.operand, ast.Constant) else None
    inner: list[ast.expr] = []
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        inner = list(node.elts)
    elif isinstance(node, ast.Dict):
        inner = list(node.values)
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        inner = list(node.args) if name in CONSTRUCTORS else []
    empty = {ast.List: "[0]", ast.Tuple: "(0,)", ast.Dict: "{0: 0}"}.get(type(node))
    if not inner:
        return TextEdit(*positions.of(node), empty) if empty else None
    for one in rng.sample(inner, len(inner)):
        if (edit := _other(one, positions, rng)) is not None:
            return edit
    return None


def other_value(value: object, rng: random.Random) -> str | None:
    """The literal of another value of the same kind.

    >>> other_value(True, random.Random(0)), other_value("", random.Random(0))
    ('False', "'x'")
    """
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, int):
        by = rng.randint(1, 9)  # not always more, which would tell; but no value of another sign
        return repr(value - by if rng.random() < 0.5 and (value > by or value < 0) else value + by)
    if isinstance(value, float):
        made = value + rng.randint(1, 9) * max(1.0, abs(value))
        return repr(made) if made == made and abs(made) != float("inf") else None
    if isinstance(value, (str, bytes)):
        return _other_text(value, rng)
    return repr(rng.randint(1, 99)) if value is None else None


def _other_text(value: str | bytes, rng: random.Random) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    text = other_text(text, rng) or (text + rng.choice("abcdefghij") if text else "x")
    return repr(text.encode("latin-1") if isinstance(value, bytes) else text)


def other_text(text: str, rng: random.Random) -> str:
    """Another text of the same words or letters, where it has two: one takes the place of another, or both
    change places. A strange letter would tell what was changed to whoever compares a result with what it is
    made of. "" where no letter may change: what a backslash or a $ stands before may not.

    >>> other_text("/srv/logs", random.Random(0)), other_text("A", random.Random(0))
    ('/srv/lsgo', 'J')
    """
    words = [found.span() for found in _WORD.finditer(text)]
    letters = [(at, at + 1) for begin, end in words for at in range(begin, end)]
    if not letters:
        return ""
    for pieces in (words, letters) if rng.random() < 0.5 else (letters,):
        begin, end = rng.choice(pieces)
        others = [(b, e) for b, e in pieces if text[b:e].lower() != text[begin:end].lower()]
        if others:
            (b, e), both = rng.choice(others), rng.random() < 0.5
            edits = [(begin, end, text[b:e]), (b, e, text[begin:end] if both else text[b:e])]
            for start, stop, new in sorted(edits, reverse=True):
                text = text[:start] + new + text[stop:]
            return text
    at = rng.choice(letters)[0]
    kind = "0123456789" if text[at].isdigit() else "abcdefghijklmnopqrstuvwxyz"
    new = rng.choice([letter for letter in kind if letter != text[at].lower()])
    return text[:at] + (new.upper() if text[at].isupper() else new) + text[at + 1 :]
