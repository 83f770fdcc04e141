"""Python: `pytest`."""

from __future__ import annotations

import ast
import shlex
from collections import Counter
from collections.abc import Mapping

from forge_envs.worlds.polyglot.languages.base import REPORT, Control, Language, Results
from forge_envs.worlds.polyglot.languages.junit import read_junit


class Python(Language):
    """`pytest` on the test files."""

    name, title, fence = "python", "Python", "python"
    tools = ("python3",)
    probe = "\"${FORGE_PYTHON:-python3}\" -c 'import pytest, sys; print(sys.version.split()[0])'"
    least = (3, 8)
    install = "apt-get install python3 python3-pytest   (or: pip install pytest)"
    report = f"{REPORT}/report.xml"
    begins = r"(?:async )?def test"
    noise = (r" in \d+\.\d+s(?: \(\S+\))?", r", 1 deselected", r" / 1 deselected / \d+ selected")

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Functions and methods called `test…`, as pytest and unittest find them."""
        found: Counter[str] = Counter()
        for path, text in tests.items():
            if not path.endswith("_test.py"):
                continue
            for node in ast.parse(text).body:
                group = node.body if isinstance(node, ast.ClassDef) else [node]
                kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
                found.update(n.name for n in group if isinstance(n, kinds) and n.name.startswith("test"))
        return found

    def plant(self, text: str, control: Control) -> str:
        """A function at the end."""
        return f"{text}\n\ndef test_{control.name}():\n    assert 1 == 2\n"

    def command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """pytest, as one would type it, and a report."""
        first, *_ = tests
        return f"{_PYTEST} --deselect {shlex.quote(first)}::test_{control.name}"

    def control_command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """pytest without exception."""
        return _PYTEST

    def results(self, report: str, output: str) -> Results:
        """From pytest's JUnit XML."""
        return read_junit(report)


_PYTEST = f'"${{FORGE_PYTHON:-python3}}" -m pytest -p no:cacheprovider --junitxml={REPORT}/report.xml'
