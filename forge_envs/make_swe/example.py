"""What a failing test shows, without the test: code that goes wrong, what it gives, what it should give."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import dedent
from typing import Any

from forge_envs.make_swe.edits import Function, Source

LONGEST_CODE = 30
"""Lines."""
LONGEST_VALUE = 300
RAISED = re.compile(r"DID NOT RAISE (?:any of )?\(?<class '([\w.]+)'>")
NOT_RAISED = re.compile(r"^(\w+) not raised")
UNEQUAL = re.compile(r"^(.*) != (.*?)(?:\n| : |$)", re.DOTALL)
WANTED_NAMES = frozenset(
    {"expected", "want", "wanted", "exp", "correct", "reference", "answer", "result_expected"}
)
WORDS = {"==": "equal to", "!=": "different from", "is": "the same object as", "in": "in", "not in": "not in"}


@dataclass(frozen=True)
class Example:
    """One thing that goes wrong."""

    test: str
    code: str
    """Statements that show it, the failing one last."""
    line: str
    """The expression that goes wrong, in one line; empty if it takes more."""
    got: str
    """What happens, as a sentence about the last line."""
    wanted: str
    """What should happen."""
    raised: str = ""
    """The exception that it ends with, if it does."""
    closed: bool = False
    """Whether the one line says it all, with no name that only the other lines explain."""


def read_example(
    nodeid: str, facts: Mapping[str, Any], place: tuple[str, int], data: bytes
) -> Example | None:
    """The example in a failing test of a test file; None where its code tells nothing that can be shown."""
    try:
        source = Source(place[0], data)
    except (SyntaxError, ValueError):
        return None
    function = next((f for f in source.functions() if f.line == place[1]), None)
    lines = [line for path, line, name in facts["entries"] if path == place[0] and _inside(function, line)]
    if function is None or not lines:
        return None
    path = _statements(function.node.body, lines[0])
    if not path:
        return None
    code = _code(source, function, path, facts)
    got, wanted, node, raised = _outcome(path[-1], facts)
    line, closed = _in_one_line(source, node, facts) if node is not None else ("", False)
    return Example(nodeid, code, line, got, wanted, raised, closed) if code else None


def _inside(function: Function | None, line: int) -> bool:
    return function is not None and function.node.lineno <= line <= (function.node.end_lineno or 0)


def _statements(body: list[ast.stmt], line: int) -> list[ast.stmt]:
    """The statements around a line, the outermost first."""
    for statement in body:
        if statement.lineno <= line <= (statement.end_lineno or 0):
            inner = [s for block in ("body", "orelse", "finalbody") for s in getattr(statement, block, [])]
            inner += [s for handler in getattr(statement, "handlers", []) for s in handler.body]
            return [statement, *_statements([s for s in inner if isinstance(s, ast.stmt)], line)]
    return []


# -- the code ------------------------------------------------------------------------------------------------


def _code(source: Source, function: Function, path: list[ast.stmt], facts: Mapping[str, Any]) -> str:
    """Imports and values that the code uses, what was done before, and the statement that fails."""
    body = function.node.body
    before = [s for s in body[: body.index(path[0])] if not _is_text(s)]
    shown = [*before, path[0]]
    size = sum((s.end_lineno or s.lineno) - s.lineno + 1 for s in shown)
    if size > LONGEST_CODE:
        shown = [path[0]] if (path[0].end_lineno or 0) - path[0].lineno < LONGEST_CODE else [path[-1]]
    if (shown[-1].end_lineno or 0) - shown[-1].lineno >= LONGEST_CODE:
        return ""
    text = "\n".join(_lines(source, statement) for statement in shown)
    used = {node.id for s in shown for node in ast.walk(s) if isinstance(node, ast.Name)}
    given = [f"{name} = {value}" for name, value in facts["params"].items() if name in used and _plain(value)]
    others = [f"# {n} is {value}" for n, value in facts["fixtures"].items() if n in used and _short(value)]
    own = facts.get("own", {}).items()
    others += [f"# self.{n} is {value}" for n, value in own if f"self.{n}" in text and _short(value)]
    return "\n".join([*_imports(source, used), *given, *others, text])


def _lines(source: Source, statement: ast.stmt) -> str:
    start = source.line_start(source.start(statement))
    text = source.data[start : source.end(statement)].decode("utf-8").replace("\r\n", "\n")
    return dedent(text)


def _imports(source: Source, used: set[str]) -> list[str]:
    """The test file's own imports of names that are used, relative ones left out."""
    found = []
    for node in source.tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not getattr(node, "level", 0):
            names = [a for a in node.names if (a.asname or a.name.partition(".")[0]) in used]
            if names and getattr(node, "module", "") != "__future__":
                kept = ", ".join(a.name + (f" as {a.asname}" if a.asname else "") for a in names)
                found.append(
                    f"from {node.module} import {kept}"
                    if isinstance(node, ast.ImportFrom)
                    else f"import {kept}"
                )
    return [*found, ""] if found else []


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _plain(value: str) -> bool:
    """Whether a value's text is the code of it."""
    try:
        ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return len(value) <= LONGEST_VALUE


def _short(value: str) -> bool:
    return len(value) <= 100 and "\n" not in value


# -- what happens --------------------------------------------------------------------------------------------

Outcome = tuple[str, str, ast.expr | None, str]
"""What happens, what should, the expression it is about, the exception."""


def _outcome(statement: ast.stmt, facts: Mapping[str, Any]) -> Outcome:
    message = str(facts["message"])
    missing = RAISED.search(message) if facts["type"] == "Failed" else None
    missing = missing or (NOT_RAISED.search(message) if facts["type"] == "AssertionError" else None)
    if missing:
        return "Nothing is raised.", f"`{missing[1].rpartition('.')[2]}` is raised.", _call(statement), ""
    if facts["type"] not in ("AssertionError", "Failed"):
        said = _cut(message.strip().split("\n")[0])
        raised = f"{facts['type']}: {said}" if said else str(facts["type"])
        return f"`{raised}` is raised.", "No error.", _call(statement), str(facts["type"])
    sides = _sides(statement, facts)
    if sides is not None:
        actual, got, word, wanted = sides
        return (
            f"It is `{_cut(got)}`.",
            f"It is {word} `{_cut(wanted)}`.".replace("is equal to", "is"),
            actual,
            "",
        )
    if isinstance(statement, ast.Assert):
        return "The condition in the last line does not hold.", "It holds.", None, ""
    return "The check in the last line fails.", "It passes.", None, ""


def _sides(statement: ast.stmt, facts: Mapping[str, Any]) -> tuple[ast.expr, str, str, str] | None:
    """The computed side of a comparison, its value, how it should be to the other, that one's value."""
    left, right = _operands(statement)
    values = facts["compared"]
    if not values and (unequal := UNEQUAL.match(str(facts["message"]))):
        values = ["==", unequal[1], unequal[2]]
    if not values or left is None or right is None or not all(values):
        return None
    operator, first, second = values
    if len(first) > LONGEST_VALUE * 3 or len(second) > LONGEST_VALUE * 3:
        return None
    if operator in ("==", "!=", "is") and _is_wanted(left, right):
        left, first, second = right, second, first
    return left, first, WORDS.get(operator, f"`{operator}`"), second


def _operands(statement: ast.stmt) -> tuple[ast.expr | None, ast.expr | None]:
    if (
        isinstance(statement, ast.Assert)
        and isinstance(statement.test, ast.Compare)
        and len(statement.test.ops) == 1
    ):
        return statement.test.left, statement.test.comparators[0]
    if (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and len(statement.value.args) >= 2
    ):
        name = getattr(statement.value.func, "attr", getattr(statement.value.func, "id", ""))
        if "equal" in name.lower():
            return statement.value.args[0], statement.value.args[1]
    return None, None


def _is_wanted(left: ast.expr, right: ast.expr) -> bool:
    """Whether the left side of a comparison is what was expected, and the right side what is computed."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, ast.Name) and one.id.lower() in WANTED_NAMES:
            return one is left
        if _computes(other, (ast.Call,)) and not _computes(one, (ast.Call,)):
            return one is left
    return _computes(right, (ast.Name, ast.Attribute)) and not _computes(left, (ast.Name, ast.Attribute))


def _computes(node: ast.expr, kinds: tuple[type[ast.AST], ...]) -> bool:
    return any(isinstance(inner, kinds) for inner in ast.walk(node))


def _call(statement: ast.stmt) -> ast.expr | None:
    """The outermost call of a statement that is no assertion."""
    inside = statement.body[0] if isinstance(statement, ast.With) and statement.body else statement
    for node in ast.walk(inside):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if not name.lower().startswith(("assert", "raises", "isinstance", "len")):
                return node
    return None


class _Given(ast.NodeTransformer):
    """Puts the values of parameters in their place."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """A name that is a parameter becomes its value."""
        value = self._values.get(node.id)
        return node if value is None else ast.parse(value, mode="eval").body


def _in_one_line(source: Source, node: ast.expr, facts: Mapping[str, Any]) -> tuple[str, bool]:
    """An expression with the values of the test's parameters, and whether nothing else is unknown in it."""
    given = {name: value for name, value in facts["params"].items() if _plain(value)}
    used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    text = " ".join(source.text(node).split())
    if used & set(given):
        text = ast.unparse(_Given(given).visit(ast.parse(source.text(node).strip(), mode="eval").body))
    top = {name for statement in source.tree.body for name in _names(statement)}
    closed = not used - set(given) - top - set(dir(builtins))
    return (text, closed) if len(text) <= 100 and "\n" not in text else ("", False)


def _names(statement: ast.stmt) -> set[str]:
    """What a statement of a file imports or defines."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    return {statement.name} if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) else set()


def _cut(text: str) -> str:
    text = text.replace("`", "'")
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
