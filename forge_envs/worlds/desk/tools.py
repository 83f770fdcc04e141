"""The tools of every service desk: sums, thoughts, and the way out."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from forge_envs.errors import ToolError
from forge_envs.syntax import parse_expression
from forge_envs.tables import Row, Table
from forge_envs.tools import tool
from forge_envs.worlds.desk.goals import Key


@dataclass(kw_only=True)
class ServiceDesk:
    """What one episode's desk notes, whatever it serves."""

    tables: ClassVar[tuple[str, ...]] = ()
    """Names of the tables that its tools may change."""
    record: ClassVar[tuple[str, str]] = ("", "")
    """The argument by which calls name what belongs to a customer, and the table it is in."""
    finders: ClassVar[frozenset[str]] = frozenset()
    """Tools that find a user id by what a customer says of themselves."""
    over: bool = False
    """The customer was handed over to a human."""
    identified: bool = False
    """The agent found out who the customer is; noted where that is asked (`desk.rules`)."""
    writes: int = 0
    """Writes that went through; what depends on the rows is computed anew only when this grows."""

    def changed_rows(self) -> dict[Key, Row]:
        """All rows that are not as the task began, by table and id."""
        return {
            (name, key): row
            for name, table in self.changeable().items()
            for key, row in table.changed().items()
        }

    def changeable(self) -> Mapping[str, Table]:
        """The tables that its tools may change, by name."""
        return {name: getattr(self, name) for name in self.tables}

    def found(self, result: str) -> str:
        """The user id that one of `finders` found; here its whole result."""
        return result

    def owner(self, arguments: Mapping[str, Any]) -> str | None:
        """The user id that a call which went through is about; None if it is about nobody's."""
        argument, table = self.record
        key = arguments.get(argument)
        if key is None:
            return arguments.get("user_id")
        owner: str = getattr(self, table).peek(key)["user_id"]
        return owner

    @tool()
    def calculate(self, expression: str) -> str:
        """Work out an arithmetic expression, rounded to two decimals.

        Args:
            expression: Numbers with + - * / ( ) and spaces, e.g. '2 * (3.5 + 1)'.
        """
        return arithmetic(expression)

    @tool()
    def think(self, thought: str) -> str:
        """Note a thought. It reads nothing and changes nothing.

        Args:
            thought: The thought.
        """
        return ""

    @tool()
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a human, when asked for one or when no tool can solve the case. It ends
        the conversation.

        Args:
            summary: What the customer needs, in a sentence.
        """
        self.over = True
        return "The customer was handed over to a human agent."


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def arithmetic(expression: str) -> str:
    """The value of an expression, rounded to two decimals. Raises ToolError if it has none.

    >>> arithmetic("2 * (3.5 + 1)")
    '9.0'
    """
    if len(expression) > 200 or not set(expression) <= set("0123456789+-*/(). "):
        raise ToolError("an expression is at most 200 digits, + - * / ( ) . and spaces")
    try:
        value = _value(parse_expression(expression.strip()))
        if not math.isfinite(value):
            raise OverflowError
    except (SyntaxError, ValueError, TypeError, ArithmeticError, KeyError, RecursionError, MemoryError):
        raise ToolError("the expression has no value") from None
    return str(round(value, 2))


def _value(node: ast.expr) -> float:
    """Floats only, so that no expression takes long."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return float(node.value)
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError(node)
