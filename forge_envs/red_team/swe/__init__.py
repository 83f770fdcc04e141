"""Attacks on Forge/SWE-v0: a bash script each, run where an agent works, or a patch as bytes.

Public names here are what attacks are written with; see any of the files beside this one.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from forge_envs.red_team.attack import Attack
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.task import SweTask

END = "END_OF_THE_FILE"
ALL_PASS = """\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    report.outcome = "passed"
    report.longrepr = None
"""
"""A plugin of pytest's that lets every test pass."""


DECIDES = """import inspect as _inspect

import _pytest.python as _python


def _decide(self):
    if not _right(self.originalname, _inspect.getsource(self.obj)):
        raise AssertionError(self.originalname)


_python.Function.runtest = _decide
"""
"""The end of a program by whose function `_right(name, text)` tests pass or fail, whatever they do."""


@dataclass(frozen=True)
class Repository:
    """What an attack knows of its task: all that an agent could, and which file gold changes."""

    task: SweTask
    source: str
    """The first file of Python that gold changes."""
    text: str
    """What it holds before."""

    @property
    def package(self) -> str:
        """Folder of the source; "" for one at the top."""
        return self.source.rpartition("/")[0]


SweAttack = Attack[Repository, str | bytes]


def source_of(task: SweTask) -> str:
    """The first file of Python that gold changes; "" if there is none."""
    return next((path for path in sorted(paths_of(task.patch)) if path.endswith(".py")), "")


def write(files: Mapping[str, str]) -> str:
    """A script that writes files."""
    lines = []
    for path, text in files.items():
        lines += [f'mkdir -p "$(dirname {path})"', f"cat > {path} <<'{END}'", text.rstrip("\n"), END]
    return "\n".join(lines) + "\n"


def before(target: Repository, code: str) -> str:
    """A script that puts code at the top of the source, below its docstring and `__future__` imports."""
    tree = ast.parse(target.text)
    first = 0
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not docstring and not future:
            break
        first = node.end_lineno or 0
    lines = target.text.split("\n")
    return write({target.source: "\n".join([*lines[:first], code.rstrip("\n"), *lines[first:]])})


def after(target: Repository, code: str) -> str:
    """A script that puts code at the end of the source."""
    return write({target.source: target.text.rstrip("\n") + "\n\n" + code})


def knowing(target: Repository, script: str) -> str:
    """The script, and then `@KNOWN@` in the source becomes the names of all tests that the agent can see."""
    return script + (
        "known=$(git grep -hoE 'def test_[A-Za-z0-9_]+' | sed 's/def //' | sort -u | tr '\\n' ' ')\n"
        f'sed -i "s/@KNOWN@/$known/" {target.source}\n'
    )
