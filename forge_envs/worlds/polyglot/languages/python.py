"""Python: `pytest`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping

from forge_envs.slips import FunctionNode, Positions, Slip, slips
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

    def retell(self, text: str, control: Control) -> str | None:
        """A function or method below the one that it is made of."""
        source, rng = text.encode(), control.chance
        positions = Positions(source)
        able = [(test, found) for test in _tests(text) if (found := slips(test, positions, rng))]
        if not able:
            return None
        best = min(found[0].kind for _, found in able)
        test, found = rng.choice([pair for pair in able if pair[1][0].kind == best])
        return _told_again(source, test, found[0], f"test_{control.name}", positions).decode()

    def command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """pytest, as one would type it, and a report."""
        return f"{_PYTEST} -k 'not test_{control.name}'"

    def control_command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """pytest without exception."""
        return _PYTEST

    def results(self, report: str, output: str) -> Results:
        """From pytest's JUnit XML."""
        return read_junit(report)


def _tests(text: str) -> list[FunctionNode]:
    found: list[FunctionNode] = []
    for node in ast.parse(text).body:
        group = node.body if isinstance(node, ast.ClassDef) else [node]
        found += [n for n in group if isinstance(n, FunctionNode) and n.name.startswith("test")]
    return found


def _told_again(source: bytes, test: FunctionNode, slip: Slip, name: str, positions: Positions) -> bytes:
    begin = positions.line(min([test.lineno, *(mark.lineno for mark in test.decorator_list)]))
    end = positions.of(test)[1]
    place = source.index(test.name.encode(), source.index(b"def", positions.of(test)[0]) + 3)
    edits = [(place, place + len(test.name.encode()), name)]
    edits += [(edit.start, edit.end, edit.text) for edit in slip.edits]
    told = source
    for start, stop, new in sorted(edits, reverse=True):
        told = told[:start] + new.encode() + told[stop:]
    copy = told[begin : end + len(told) - len(source)]
    return source[:end] + b"\n\n" + copy + b"\n" + source[end:]


_PYTEST = f'"${{FORGE_PYTHON:-python3}}" -m pytest -p no:cacheprovider --junitxml={REPORT}/report.xml'
