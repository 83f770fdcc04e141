"""What honest people do to a repository beside its fix: one function a habit, run where an agent works.

A program of the standard library alone, run in the repository after gold was applied:
    python3 -m honest_habits NAME SOURCE TEST    # does it; exit status 3: the habit does not fit here
    python3 -m honest_habits                     # prints the names
SOURCE is the first file of Python that gold changes, TEST the first file of the hidden tests.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

UNFIT = 3
HABITS: dict[str, Callable[[Path, Path], None]] = {}


class Unfit(Exception):
    """This repository gives no occasion for it."""


def habit(act: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """Register a habit under its name."""
    HABITS[act.__name__] = act
    return act


def put(path: Path | str, text: str) -> Path:
    """Write a file and the folders above it."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8", newline="")
    return place


def head(text: str) -> int:
    """How many lines the docstring and `__future__` imports take."""
    last = 0
    for node in ast.parse(text).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        last = node.end_lineno or 0
    return last


def insert(source: Path, text: str) -> None:
    """Put code at the top of a module."""
    lines = source.read_text().split("\n")
    at = head(source.read_text())
    put(source, "\n".join([*lines[:at], "", text.rstrip("\n"), *lines[at:]]))


def append(source: Path, text: str) -> None:
    """Put code at the end of a module."""
    put(source, source.read_text().rstrip("\n") + "\n\n\n" + text)


def dotted(source: Path) -> str:
    """The module's package."""
    return ".".join(source.with_suffix("").parts[:-1])


def top_level(text: str) -> list[str]:
    """Names that a module defines."""
    names: list[str] = []
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def functions(text: str) -> list[ast.FunctionDef]:
    """Plain functions of a module that stand there without decorators."""
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return [node for node in found if not node.decorator_list]


def bound_to_new_module(source: Path, target: Path, module: str) -> None:
    """Move all code to a new module and import every name back."""
    text = source.read_text()
    put(target, text)
    names = ", ".join(name for name in dict.fromkeys(top_level(text)) if not name.startswith("__"))
    put(source, f'"""Moved to {module}."""\n\nfrom {module} import {names}  # noqa: F401\n')


from . import code, files, running, shape  # noqa: E402, F401  # they register their habits
