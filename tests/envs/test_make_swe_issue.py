"""Issues of planted bugs: every example was executed, says what happens and what should, and names no fix."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from forge_envs.make_swe import driver, witness
from forge_envs.make_swe.leaks import leaks
from forge_envs.make_swe.names import joined_imports
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.reproduce import read_told
from forge_envs.make_swe.shown import show
from forge_envs.make_swe.statement import About, Issue, write_issue
from forge_envs.make_swe.tell import tell

GOLD = '''\
"""Belts."""


class BeltError(Exception):
    """A belt that is none."""


def clamp(x, low=0, high=10):
    """Bring a number between two others. Nothing else."""
    return max(low, min(x, high))


def words(text):
    return text.split()


def refuse(x):
    if x < 0:
        raise BeltError(f"{x} is below 0")
    return x


def pick(found, name):
    try:
        return found[name]
    except KeyError:
        raise BeltError("not there") from None


def tags(names):
    return {*names, "x"}


def thing(x):
    return [object(), x]


def pages(n):
    return list(range(n))


def numbered(n):
    return ["%d." % i for i in range(n)]


async def later(x):
    return x * 2


class Belt:
    def __init__(self, holes=None):
        self.holes = holes or []

    def add(self, hole):
        self.holes.append(hole)
        return len(self.holes)
'''
SWAPS = (
    ("min(x, high)", "min(x, high - 1)"),
    ("text.split()", "text.split(' ')"),
    ("if x < 0:", "if x < -5:"),
    ("except KeyError:", "except IndexError:"),
    ('{*names, "x"}', '{*names, "y"}'),
    ("[object(), x]", "[object(), x + 1]"),
    ("list(range(n))", "list(range(n - 1))"),
    ('"%d." % i for', '"%d." % (i + 1) for'),
    ("x * 2", "x * 3"),
    ("return len(self.holes)", "return self.holes.count"),
)
TESTS = '''\
import asyncio
import contextlib
import functools
import unittest

import pytest

from belt import Belt, BeltError, clamp, later, numbered, pages, pick, refuse, tags, thing, words
from . import nothing_of_users

LIMIT = 12
CASES = [(1, 1), (20, 10)]


def build(*holes):
    return Belt(list(holes))


@functools.lru_cache
def cached(x):
    return clamp(x)


@contextlib.contextmanager
def opened(text):
    yield words(text)


@pytest.fixture
def belt(start):
    made = build(1)
    made.add(start)
    return made


@pytest.fixture
def start():
    yield 7


def same(x, other):
    found = clamp(x)
    assert found == other


def test_expected_left():
    assert 10 == clamp(12)


def test_expected_name():
    result = 10
    expected = clamp(12)
    assert result == expected


def test_constant_of_the_module():
    assert clamp(LIMIT) == 10


def test_helper_with_decorator():
    assert cached(LIMIT) == 10


def test_context_with_decorator():
    with opened("a  b") as found:
        assert found == ["a", "b"]


def test_in_loop():
    for x, wanted in CASES:
        assert clamp(x) == wanted


def test_text_of_several_lines():
    text = """
one  two
    three"""
    assert words(text) == ["one", "two", "three"]


def test_not_in():
    assert "" not in words("a  b")


def test_in():
    assert 3 in pages(4)


def test_truth():
    assert not words(" ")


def test_fixture(belt):
    assert belt.add(2) == 3


@pytest.mark.parametrize(("x", "high"), [(12, 10), pytest.param(9, max(2, 5), id="no literal")])
def test_parameters(x, high):
    assert clamp(x, high=high) == high


class TestSet(unittest.TestCase):
    limit = 12

    def setUp(self):
        self.belt = build(self.limit)

    def twice(self, x):
        return clamp(clamp(x) + 5)

    def test_equal(self):
        self.assertEqual(2, self.belt.add(1))

    def test_method(self):
        self.assertEqual(self.twice(6), 10)

    def test_refused(self):
        with self.assertRaises(BeltError):
            refuse(-1)

    def test_refused_call(self):
        self.assertRaises(BeltError, refuse, -2)


def test_refused():
    with pytest.raises(BeltError):
        refuse(-1)


def test_other_exception():
    with pytest.raises(BeltError, match="not there"):
        pick({}, "a")


def test_checked_by_a_helper():
    same(11, 10)


def test_waits():
    assert asyncio.run(later(4)) == 8


def test_of_a_set():
    assert tags(["a", "b", "c", "d"]) == {"a", "b", "c", "d", "x"}


def test_of_an_address():
    assert thing(1)[1:] == [1]
    assert repr(thing(2)).endswith("2]")


def test_of_a_patch(monkeypatch):
    monkeypatch.setattr("belt.max", lambda *_: 5, raising=False)
    assert clamp(12) == 5 or clamp(12, high=20) != 5
    monkeypatch.undo()
    assert (clamp(12), nothing_of_users) == (10, None)


def test_order():
    assert numbered(2) == ["0.", "1."]
'''
UNTOLD = {"test_of_a_patch"}
"""What depends on a fixture of pytest's own: no issue shows it."""


class Host:
    """The driver and the witness on a folder of this machine."""

    def __init__(self, folder: Path, tmp: Path) -> None:
        self.folder, self.tmp, self.asked = folder, tmp, 0

    def play(self, *items: Mapping[str, Any]) -> list[dict[str, Any]]:
        out = self.tmp / "out.jsonl"
        job = {"root": str(self.folder), "out": str(out), "args": ["-q", "--tb=no", "-p", "no:cacheprovider"],
               "targets": ["tests"], "timeout": 300, "items": items}  # fmt: skip
        (self.tmp / "job.json").write_text(json.dumps(job))
        subprocess.run(
            [sys.executable, driver.__file__, str(self.tmp / "job.json")], cwd=self.folder, check=True
        )
        return [json.loads(line) for line in out.read_text().splitlines()]

    def witness(
        self,
        states: Mapping[str, Mapping[str, bytes]],
        scripts: Sequence[Mapping[str, str]],
        *,
        warm: bool = False,
    ) -> dict[str, Any]:
        self.asked += 1
        out = self.tmp / f"answers-{self.asked}"
        files = {state: {p: d.decode() for p, d in held.items()} for state, held in states.items()}
        job = {"root": str(self.folder), "out": str(out), "states": files, "scripts": list(scripts),
               "warm": warm}  # fmt: skip
        (self.tmp / "scripts.json").write_text(json.dumps(job))
        subprocess.run([sys.executable, witness.__file__, str(self.tmp / "scripts.json")], check=True,
                       env={**os.environ, "PYTHONPATH": str(self.folder)})  # fmt: skip
        found: dict[str, Any] = json.loads(out.read_text())
        return found


def bugged() -> str:
    text = GOLD
    for before, after in SWAPS:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


FILES = {"belt.py": GOLD.encode(), "tests/test_belt.py": TESTS.encode(),
         "tests/__init__.py": b"nothing_of_users = None\n"}  # fmt: skip
STATES = {"bug": {"belt.py": bugged().encode()}, "gold": {"belt.py": GOLD.encode()}}
NAMES = re.findall(r"def (test_\w+)", TESTS)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    folder = tmp_path_factory.mktemp("belt")
    for path, data in FILES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)
    return Host(folder, tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def failed(host: Host) -> tuple[dict[str, Any], dict[str, tuple[str, int]]]:
    """What the driver tells of the failing tests, and where all tests are."""
    base, run = host.play({"key": "base", "trace": True}, {"key": "bug", "files": {"belt.py": bugged()}})
    assert set(base["tests"].values()) == {"passed"}
    places = {nodeid: (str(path), int(line)) for nodeid, (path, line) in base["places"].items()}
    return run["failures"], places


def told(
    host: Host, failed: tuple[dict[str, Any], dict[str, tuple[str, int]]], name: str, seed: str
) -> Issue | str:
    facts, places = failed
    chosen = {
        nodeid: f for nodeid, f in facts.items() if nodeid.rpartition("::")[2].partition("[")[0] == name
    }
    assert chosen, f"{name} does not fail"
    return tell(Package("belt", "1.2", FILES), chosen, places, FILES, host, STATES, seed=seed)  # type: ignore[arg-type]


def executed(code: str, state: str, folder: Path) -> tuple[str, str]:
    """What a reader sees who runs a block: what is printed, and the last line of a traceback."""
    (folder / "belt.py").write_bytes(STATES[state]["belt.py"])
    if ">>> " in code:
        code = "\n".join(line[4:] for line in code.split("\n") if line.startswith((">>> ", "... ")))
        *first, last = re.split(r"\n(?=\S)", code)
        code = "\n".join([*first, f"print(repr({last}))"])
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip("\n"), done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_what_it_says_in_both_states(name, host, failed, tmp_path):
    issue = told(host, failed, name, seed=f"{name}-1")
    if name in UNTOLD:
        assert issue == "no example reproduces"
        return
    assert isinstance(issue, Issue), issue
    for language, code in re.findall(r"^```(python|pycon)\n(.*?)\n```$", issue.text, re.M | re.S):
        bug, gold = executed(code, "bug", tmp_path), executed(code, "gold", tmp_path)
        assert language and bug != gold, issue.text
        if "AssertionError" in bug[1]:
            assert gold == ("", ""), issue.text
            continue
        for said, raised in (bug, gold):
            assert said in issue.text and raised in issue.text, issue.text
        assert not gold[1] or "refused" in name or "exception" in name
        words = issue.text.replace("\n", " ")
        if bug[0] and gold[0] and bug[0] != "None":
            swapped = (
                f"should be `{bug[0]}`",
                f"expected `{bug[0]}`",
                f"should print `{bug[0]}`",
                f"I get `{gold[0]}`",
            )
            assert not any(phrase in words for phrase in swapped), issue.text
    assert "0x" not in issue.text and "{'" not in issue.text  # an address, a set in some order
    assert leaks(issue.text, "belt.py", "clamp", GOLD.encode(), bugged().encode()) == []
    assert "belt" in issue.text and "pytest" not in issue.text and "self." not in issue.text


def test_issues_differ_in_form_and_a_seed_gives_one(host, failed):
    texts = [told(host, failed, "test_expected_left", seed=str(seed)) for seed in range(6)]
    assert all(isinstance(issue, Issue) for issue in texts)
    said = {issue.text for issue in texts if isinstance(issue, Issue)}
    assert len(said) == 6
    assert len({text.partition("\n")[0] for text in said}) >= 4  # titles
    assert texts[0] == told(host, failed, "test_expected_left", seed="0")
    assert all("clamp(12)" in text and "1.2" in text for text in said)


ANSWER: dict[str, Any] = {"said": "", "raised": None, "value": {"repr": "3", "str": "3", "type": "int"}}


@pytest.mark.parametrize(
    ("first", "second", "tells"),
    [
        ("3", "3", True),
        ("{'a', 'b'}", "{'b', 'a'}", False),
        ("<A object at 0x7f00aa11bb22>", "<A object at 0x7f00aa11bb22>", False),
        ("<belt.A object>", "<belt.A object>", False),
        ("'/tmp/x'", "'/tmp/x'", False),
        ("x" * 5000, "x" * 5000, False),
    ],
)
def test_what_others_would_not_see_is_left_out(first, second, tells):
    answers = [{**ANSWER, "value": {"repr": text, "str": text, "type": "A"}} for text in (first, second)]
    assert (read_told(*answers) is not None) is tells
    assert read_told(None, ANSWER) is None
    assert read_told({**ANSWER, "said": "noise"}, {**ANSWER, "said": "noise"}) is None


def test_this_minute_is_left_out():
    import time

    for text in (str(time.time()), time.strftime("'%Y-%m-%d'", time.gmtime())):
        answer = {**ANSWER, "value": {"repr": text, "str": text, "type": "A"}}
        assert read_told(answer, answer) is None


def test_imports_of_one_module_are_one_line():
    assert joined_imports(["from a import b", "from a import c", "from a import b"]) == ["from a import b, c"]


@pytest.mark.parametrize("seed", range(40))
def test_every_form_of_every_kind_tells_both_values(seed):
    from forge_envs.make_swe.draft import Retelling
    from forge_envs.make_swe.reproduce import Example, Told

    draft = Retelling("t", "import belt\n", "belt.f(1)", "belt.f(1)", callee="belt.f")
    wrong, right = Told(written="41", printed="41", kind="int"), Told(written="17", printed="17", kind="int")
    error = Told(raised="belt.BeltError: no `hole` left", error="belt.BeltError", lines=(3,))
    other = Told(raised="KeyError: 'hole'", error="KeyError", lines=(3,))
    for bug, gold, kind in ((wrong, right, "value"), (error, right, "raises"), (wrong, error, "silent"),
                            (other, error, "other")):  # fmt: skip
        example = Example(draft, bug, gold)
        assert example.kind == kind
        text = write_issue(About("belt", "1.2", "3.11", "Do f."), [example], seed=f"{kind}{seed}").text
        assert (bug.written or bug.raised) in text or (bug.raised.replace("`", "'")) in text
        assert kind == "raises" or (gold.written or gold.raised.replace("`", "'")) in text
        assert "{" not in text and text.count("```") % 2 == 0 and show(example, random.Random(seed)).claim
