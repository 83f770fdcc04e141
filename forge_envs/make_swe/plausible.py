"""What nobody would type into an issue: lines without end, and names that a package keeps to itself."""

from __future__ import annotations

import ast

LONGEST_LINE = 160
"""Characters of a line of a script."""
OPEN = frozenset({"_replace", "_asdict", "_fields", "_make"})
"""Names of named tuples, which begin with a bar so that fields can have any other."""


def plausible(script: str) -> bool:
    """Whether a user may have written a script.

    >>> plausible("import h11\\nh11.Request(method='GET')"), plausible("from h11._util import validate")
    (True, False)
    """
    if any(len(line) > LONGEST_LINE for line in script.split("\n")):
        return False
    tree = ast.parse(script)
    if not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.walk(tree)):
        return False  # it shows what Python does
    return not any(_private(name) for node in ast.walk(tree) for name in _names(node))


def _names(node: ast.AST) -> list[str]:
    """The names that a part of a script reaches for in what others wrote."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.ImportFrom):
        return [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    if isinstance(node, ast.Import):
        return [part for alias in node.names for part in alias.name.split(".")]
    return []


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in OPEN
