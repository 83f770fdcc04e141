"""What the last statement of a failing test looks at: the expressions whose values may be wrong."""

from __future__ import annotations

import ast

REFUSALS = frozenset({"raises", "assertRaises", "assertRaisesRegex", "assertRaisesRegexp", "assert_raises"})
COMPARED = {
    "assertEqual": "==", "assertEquals": "==", "assertIs": "is", "assertIn": "in", "assertNotIn": "not in",
    "assertNotEqual": "!=", "assertListEqual": "==", "assertDictEqual": "==", "assertTupleEqual": "==",
    "assertSequenceEqual": "==", "assertMultiLineEqual": "==", "assertSetEqual": "==", "assertLess": "<",
    "assertGreater": ">", "assertLessEqual": "<=", "assertGreaterEqual": ">=", "assertIsNot": "is not",
}  # fmt: skip
"""What unittest's checks compare their two arguments by."""


def called(node: ast.AST) -> str:
    """The last part of the name of what is called, empty if nothing is."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "attr", getattr(function, "id", ""))


def is_check(node: ast.stmt) -> bool:
    """Whether a statement only checks something."""
    if isinstance(node, ast.With):
        return any(called(item.context_expr) in REFUSALS for item in node.items)
    return isinstance(node, ast.Assert) or (
        isinstance(node, ast.Expr) and called(node.value).lower().startswith(("assert", "raises", "fail"))
    )


def refused(node: ast.stmt) -> ast.expr | None:
    """The call that a statement says must raise: `raises(X, f, 1)`; its function and arguments as a call."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and called(node.value) in REFUSALS:
        given = (
            node.value.args[2:] if called(node.value).endswith(("Regex", "Regexp")) else node.value.args[1:]
        )
        if given:
            call = ast.Call(given[0], given[1:], [k for k in node.value.keywords if k.arg != "match"])
            return ast.copy_location(call, node.value)
    return None


def suspects(node: ast.stmt) -> list[ast.expr]:
    """The expressions of a check whose values may be wrong, the most telling first."""
    if isinstance(node, ast.Assert):
        return _of_condition(node.test)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and is_check(node):
        found = [inner for argument in node.value.args[:2] for inner in _of_condition(argument)]
        if called(node.value) in COMPARED and len(node.value.args) >= 2:
            left, right = (f"({ast.unparse(side)})" for side in node.value.args[:2])
            whole = ast.parse(f"{left} {COMPARED[called(node.value)]} {right}", mode="eval").body
            found.append(whole)
        return found
    if isinstance(node, (ast.Expr, ast.Assign, ast.Return, ast.AnnAssign)) and node.value is not None:
        value = node.value
        return [value] if not isinstance(value, (ast.Yield, ast.YieldFrom)) else []
    if isinstance(node, (ast.If, ast.While)):
        return _of_condition(node.test)
    if isinstance(node, ast.For):
        return [ast.parse(f"list({ast.unparse(node.iter)})", mode="eval").body]
    if isinstance(node, ast.With):
        return [item.context_expr for item in node.items]
    return []


def _of_condition(test: ast.expr) -> list[ast.expr]:
    """The parts of a condition, then the condition itself."""
    if isinstance(test, ast.Compare):
        sides = [side for side in (test.left, *test.comparators) if not isinstance(side, ast.Constant)]
        return [*sides, test]
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _of_condition(test.operand)
    if isinstance(test, ast.BoolOp):
        return [part for value in test.values for part in _of_condition(value)]
    if isinstance(test, ast.Constant):
        return []
    if called(test) in ("isinstance", "len", "all", "any", "bool", "list", "set", "sorted", "tuple", "dict"):
        assert isinstance(test, ast.Call)
        inner = [a for a in test.args[:1] if not isinstance(a, (ast.GeneratorExp, ast.Starred))]
        return [*(inner if called(test) == "isinstance" else []), test]
    return [test]
