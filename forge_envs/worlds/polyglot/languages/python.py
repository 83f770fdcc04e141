"""Python: `pytest`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping

from forge_envs.slips import FunctionNode, Positions, slips
from forge_envs.syntax import parse
from forge_envs.worlds.polyglot.languages.base import REPORT, Changed, Control, Language, Results
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
    noise = (r" in \d+\.\d+s(?: \(\S+\))?",)

    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Functions and methods called `test…`, as pytest and unittest find them."""
        found: Counter[str] = Counter()
        for path, text in tests.items():
            if not path.endswith("_test.py"):
                continue
            for node in parse(text).body:
                group = node.body if isinstance(node, ast.ClassDef) else [node]
                kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
                found.update(n.name for n in group if isinstance(n, kinds) and n.name.startswith("test"))
        return found

    def plant(self, text: str, control: Control) -> str:
        """A function at the end."""
        return f"{text}\n\ndef test_{control.name}():\n    assert 1 == 2\n"

    def retell(self, text: str, control: Control) -> Changed | None:
        """A function or method."""
        source, rng = text.encode(), control.chance
        positions = Positions(source)
        able = [(test, found) for test in _tests(text) if (found := slips(test, positions, rng))]
        if not able:
            return None
        best = min(found[0].kind for _, found in able)
        test, found = rng.choice([pair for pair in able if pair[1][0].kind == best])
        for edit in sorted(found[0].edits, key=lambda edit: edit.start, reverse=True):
            source = source[: edit.start] + edit.text.encode() + source[edit.end :]
        return Changed(source.decode(), test.name)

    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """pytest, as one would type it, and a report."""
        return _PYTEST

    def results(self, report: str, output: str) -> Results:
        """From pytest's JUnit XML."""
        return read_junit(report)


def _tests(text: str) -> list[FunctionNode]:
    found: list[FunctionNode] = []
    for node in parse(text).body:
        group = node.body if isinstance(node, ast.ClassDef) else [node]
        found += [n for n in group if isinstance(n, FunctionNode) and n.name.startswith("test")]
    return found


_PYTEST = f'"${{FORGE_PYTHON:-python3}}" -m pytest -p no:cacheprovider --junitxml={REPORT}/report.xml'
