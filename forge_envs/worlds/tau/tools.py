"""Tools called as the official code calls them: any values go in, and whatever goes wrong is a refusal."""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from forge_envs.errors import MachineError, ToolError
from forge_envs.syntax import parse_expression
from forge_envs.tools import BadArguments, Tool, tools_of

F = TypeVar("F", bound=Callable[..., Any])


def official_tools(owner: type, *, settled: bool = True) -> Mapping[str, Tool]:
    """The tools of a class, which the agent sees with their schemas, without the check of arguments.

    Both benchmarks hand to a function whatever the agent wrote. Where the function has no use for a value
    it raises, in the middle of its work if it comes to that, and what it changed before stays changed.
    After a call that went through, what it changed is carried to the other side by `owner.settle()`, if there
    is such a thing; not with `settled=False`, as in τ²-bench's replay of gold.
    """
    return _official(owner, settled)


@functools.cache
def _official(owner: type, settled: bool) -> Mapping[str, Tool]:
    return {name: _unchecked(tool, settled) for name, tool in tools_of(owner).items()}


def _unchecked(tool: Tool, settled: bool) -> Tool:
    def run(owner: Any, /, **arguments: Any) -> Any:
        try:
            result = tool.function(owner, **arguments)
            if settled and hasattr(owner, "settle"):
                owner.settle()
            return result
        except MachineError:
            raise
        except Exception as error:  # whatever it is, the official code tells it to the agent
            if tool.writes:
                owner.writes += 1  # it may have changed something
            if isinstance(error, ToolError):
                raise
            raise _refusal(tool, arguments, error) from None

    return replace(tool, function=run, validate=dict)


def _refusal(tool: Tool, arguments: dict[str, Any], error: Exception) -> Exception:
    """What the agent is told: what of its arguments fits no schema, else the error itself."""
    try:
        replace(tool, function=_nothing).call(None, arguments)
    except BadArguments as told:
        return told
    return ToolError(f"{tool.name}: {type(error).__name__}: {error}"[:_LONGEST])


def _nothing(owner: object, /, **arguments: Any) -> None:
    """In place of a tool of which only the check of arguments is wanted."""


_LONGEST = 300


def same_tool(original: Callable[..., Any]) -> Callable[[F], F]:
    """Mark a method as what a tool does from here on; to the agent it stays the same tool."""
    built: Tool = original.__tool__  # type: ignore[attr-defined]

    def mark(function: F) -> F:
        function.__tool__ = replace(built, function=function)  # type: ignore[attr-defined]
        return function

    return mark


def coerced(validate: Callable[[Any], Any], value: Any) -> Any:
    """A value as an official data model stores it. Raises ToolError where the model refuses it."""
    try:
        return validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ToolError(f"{place}: {first['msg']}"[:_LONGEST]) from None


# -- sums --------------------------------------------------------------------------------------------------

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_MOST_BITS = 1 << 16
"""Of a whole number on the way."""
_LONGEST_SUM = 2_000
"""Characters. The official code has neither limit, and can be made to count for hours."""


def python_sum(expression: Any) -> str:
    """The value of an expression by Python's own arithmetic, rounded to two decimals.

    Raises ToolError, or whatever Python raises for what is no sum.

    >>> python_sum("10 ** 20 // 3"), python_sum("2 * (3.5 + 1)")
    ('3.333333333333333e+19', '9.0')
    """
    if not all(char in "0123456789+-*/(). " for char in expression) or len(expression) > _LONGEST_SUM:
        raise ToolError(f"an expression is at most {_LONGEST_SUM:,} digits, + - * / ( ) . and spaces")
    return str(round(float(_value(parse_expression(expression.lstrip(" \t")))), 2))


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        value = _OPERATORS[type(node.op)](left, right)
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise OverflowError("a number too large for a sum")
        return value
    raise ValueError("this is no sum")


def _power(left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int)
    if whole and left.bit_length() * max(right, 0) > _MOST_BITS:
        raise OverflowError("a number too large for a sum")
    return left**right
