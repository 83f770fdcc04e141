"""Scripts that a user would type: cut to what counts, without what a package keeps to itself, of whatever
lies beside the tests; and a driver that compiles once and never runs bytecode of another state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forge_envs.make_swe import driver
from forge_envs.make_swe.draft import drafts
from forge_envs.make_swe.lab import END, written
from forge_envs.make_swe.plausible import LONGEST_LINE, plausible
from forge_envs.make_swe.reproduce import Example, Told
from forge_envs.make_swe.statement import About, subject, write_issue
from forge_envs.make_swe.witness import SHOW

TESTS = """\
import unittest

from wheels import _spokes, Wheel, turn


class TestWheel(unittest.TestCase):
    def setUp(self):
        self.small = Wheel(3)
        self.large = Wheel(9)

    def test_turn(self):
        found = turn(self.small, 1)
        found = turn(self.small, 2)
        self.assertEqual(found, 7)

    def test_of_its_own(self):
        self.assertEqual(_spokes(self.small), 3)

    def test_words(self):
        text = \"""
        one
          two
        \"""
        wanted = ["one", "two"]
        self.assertEqual(wanted, turn(text))
"""
FILES = {"wheels.py": b"", "test_wheels.py": TESTS.encode()}


def scripts(name: str, begins: int, fails: int) -> list[str]:
    """The scripts of a failing test, which begins and fails in these lines."""
    facts: dict[str, Any] = {"frames": [[fails, name, {}]], "params": {}, "indices": {}, "fixtures": []}
    found = drafts(f"test_wheels.py::TestWheel::{name}", facts, ("test_wheels.py", begins), FILES)
    return [draft.script(SHOW) for draft in found]


def test_a_script_begins_with_what_the_value_comes_from():
    """The module lies beside its tests, which is no reason against it."""
    first = scripts("test_turn", 11, 14)[0]
    assert first == f"from wheels import Wheel, turn\n\nsmall = Wheel(3)\n{SHOW}(turn(small, 2))\n"


def test_nobody_imports_what_a_package_keeps_to_itself():
    assert scripts("test_of_its_own", 16, 17) == []
    assert not plausible("from wheels._tools import a")
    assert not plausible("import wheels\nwheels.Wheel(3)._axle")
    assert plausible("from __future__ import annotations\nimport wheels\nwheels.row._asdict()")
    assert not plausible(f"import wheels\nx = '{'a' * LONGEST_LINE}'")
    assert not plausible("x = 1")  # that shows what Python does


def test_tests_within_their_package_import_it_by_its_name():
    path, text = (
        "src/wheels/tests/test_turn.py",
        b"""from .. import turn
from ..rim import rims
from .help import helped

def test_of_both():
    assert turn(rims()) == 7

def test_of_help():
    assert turn(helped()) == 7
""",
    )
    facts: dict[str, Any] = {"params": {}, "indices": {}, "fixtures": []}

    def told(name: str, line: int) -> list[str]:
        frames = {"frames": [[line + 1, name, {}]]}
        return [d.script(SHOW) for d in drafts(f"{path}::{name}", facts | frames, (path, line), {path: text})]

    assert told("test_of_both", 5)[0].startswith("from wheels import turn\nfrom wheels.rim import rims\n")
    assert told("test_of_help", 8) == []


def test_a_text_of_several_lines_stays_one():
    first = scripts("test_words", 19, 25)[0]
    assert (
        first
        == f'''from wheels import turn

text = """
        one
          two
        """
{SHOW}(turn(text))
'''
    )


def example(before: str, value: str, callee: str = "") -> Example:
    from forge_envs.make_swe.draft import Retelling

    draft = Retelling("t", before, "", value, callee=callee)
    return Example(
        draft, Told(written="1", printed="1", kind="int"), Told(written="2", printed="2", kind="int")
    )


@pytest.mark.parametrize(
    ("before", "value", "callee", "about"),
    [
        ("import wheels\nf = lambda x: wheels.turn(x)", "f(1)", "f", "wheels.turn"),
        ("import wheels\nw = wheels.Wheel(1)", "w.turn(2)", "w.turn", "turn"),
        ("import wheels", "wheels.turn(2)", "wheels.turn", "wheels.turn"),
        ("import re\nimport wheels\nx = re.match('a', 'a')", "''.join(wheels.turn(x))", "", "wheels.turn"),
    ],
)
def test_a_title_names_what_others_know(before, value, callee, about):
    assert subject(example(before, value, callee)) == about


def test_a_title_quotes_no_expression_that_tells_nothing():
    found = example("import wheels\nspokes = wheels.turn(2)", "{s for s in spokes if len(s) > 1}")
    titles = {
        write_issue(About("wheels", "1", "3.11"), [found], seed=str(n)).text.split("\n")[0] for n in range(60)
    }
    assert len(titles) > 5 and not any("for s in" in title for title in titles)


def test_claims_are_the_same_with_and_without_documentation():
    found = example("import wheels", "wheels.turn(2)", "wheels.turn")
    for n in range(20):
        plain, quoting = (
            write_issue(About("wheels", "1", "3.11", doc), [found], seed=str(n)) for doc in ("", "Turn it.")
        )
        assert plain.claims == quoting.claims


def test_no_run_sees_bytecode_of_another_state(tmp_path: Path):
    """Changes of one length, within a second, with the module's bytecode there."""
    root = tmp_path / "wheels"
    (root / "tests").mkdir(parents=True)
    (root / "wheels.py").write_text("SPOKES = 3\n")
    (root / "tests" / "test_wheels.py").write_text(
        "import wheels\ndef test_three():\n    assert wheels.SPOKES == 3\n"
    )
    states = [3, 4, 3, 5, 3]
    items = [{"key": str(n), "files": {"wheels.py": f"SPOKES = {n}\n"}} for n in states]
    items.insert(2, {"key": "as it was"})
    out = tmp_path / "out.jsonl"
    job = {"root": str(root), "out": str(out), "args": ["-q", "-p", "no:cacheprovider"], "targets": ["tests"],
           "timeout": 300.0, "items": items}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    before = (root / "wheels.py").stat().st_mtime_ns
    subprocess.run([sys.executable, driver.__file__, str(tmp_path / "job.json")], cwd=root, check=True)
    found = [json.loads(line)["tests"]["tests/test_wheels.py::test_three"] for line in out.open()]
    assert found == ["passed", "failed", "passed", "passed", "failed", "passed"]
    assert (root / "wheels.py").stat().st_mtime_ns == before
    assert [*(root / "__pycache__").glob("wheels.*.pyc")]


def test_a_text_goes_into_a_command_as_it_is(tmp_path: Path):
    text = "a $b `c` \\ 'd' \"e\"\n\n\tEOF\n"
    subprocess.run(["bash", "-c", written(str(tmp_path / "f"), text) + f"echo {END}"], check=True, stdout=-1)
    assert (tmp_path / "f").read_text() == text
