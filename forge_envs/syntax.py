"""Python's own syntax, read by one thread at a time.

CPython 3.11 counts the depth of the tree that it builds in one place for all threads, and a thread gives way
while it builds where garbage collection runs Python code: `ast.parse` then ends in a SystemError
(python/cpython#106905).
"""

from __future__ import annotations

import ast
import threading

_READING = threading.RLock()


def parse(source: str | bytes) -> ast.Module:
    """The tree of a module. Raises as `ast.parse`."""
    with _READING:
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """The tree of an expression. Raises as `ast.parse`.

    >>> ast.unparse(parse_expression("1+  2"))
    '1 + 2'
    """
    with _READING:
        return ast.parse(source, mode="eval").body
