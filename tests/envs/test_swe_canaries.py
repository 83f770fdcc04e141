"""Canaries: copies of a task's own tests that pass and fail as told, wherever they stand."""

from __future__ import annotations

import ast
import dataclasses
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.slips import other_value
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.canaries import NO_CANARIES, Canary, Planting, change, plant
from forge_envs.worlds.swe.control import GoldRuns, doubt, spoiled
from forge_envs.worlds.swe.effects import Applied, _name
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.patch import parts
from forge_envs.worlds.swe.script_run import ScriptRun
from forge_envs.worlds.swe.site import Ground

SOURCE = """\
import unittest

import pytest


@pytest.mark.parametrize("text,expected", [("1", 1), ("-2", -2), pytest.param("3", 3)])
def test_rows(text, expected):
    assert int(text) == expected


def test_values():
    assert "ä".upper() == "Ä"
    assert {"a": [1, 2]} == dict(a=[1, 2])


def test_raises():
    with pytest.raises(ValueError):
        int("x")


def test_loop():
    for number in (1, 2, 3):
        assert number * 2 == number + number


class TestMore(unittest.TestCase):
    def test_equal(self):
        self.assertEqual(len("abc"), 3)

    def test_true(self):
        self.assertTrue(1 < 2)

    @staticmethod
    def helper():
        return 1


async_value = 3


def test_one_line(): assert async_value == 3
"""
NAMES = (
    *(f"test_rows[{text}]" for text in ("1-1", "-2--2", "3-3")),
    *("test_values", "test_raises", "test_loop", "TestMore::test_equal", "TestMore::test_true"),
    "test_one_line",
)
DECISIVE = [f"tests/test_a.py::{name}" for name in NAMES]


def planted(seed: int, source: str = SOURCE, *, gentle: bool = False) -> Planting:
    return plant({"tests/test_a.py": source.encode()}, DECISIVE, random.Random(seed), gentle=gentle)


def statuses(text: bytes, folder: Path) -> dict[str, str]:
    """What pytest says of each test of a file, by the name of its function."""
    (folder / "test_a.py").write_bytes(text)
    words = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_a.py"]
    said = subprocess.run(words, cwd=folder, capture_output=True, text=True).stdout
    found: dict[str, str] = {}
    for line in said.splitlines():
        word, _, name = line.partition(" test_a.py::")
        if name and word in ("PASSED", "FAILED", "ERROR"):
            function = name.split(" - ")[0].partition("[")[0].rpartition("::")[2]
            assert found.setdefault(function, word) == word, "all rows do the same"
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gentle", [False, True])
def test_canaries_do_as_told_and_the_rest_as_before(tmp_path: Path, seed: int, gentle: bool) -> None:
    made = planted(seed, gentle=gentle)
    found = statuses(made.files["tests/test_a.py"], tmp_path)
    for canary in made.canaries:
        assert found.pop(canary.name) == ("FAILED" if canary.fails else "PASSED"), canary
    assert found == {name.partition("[")[0].rpartition("::")[2]: "PASSED" for name in NAMES}, (
        "the tests themselves"
    )
    kinds = {canary.fails for canary in made.canaries}
    assert kinds == {True, False}


@given(seed=st.integers(0, 10_000))
def test_the_tests_of_a_file_stay_word_for_word(seed: int) -> None:
    made = planted(seed)
    text = made.files["tests/test_a.py"].decode()
    rest = iter(text.splitlines())
    assert all(any(line == other for other in rest) for line in SOURCE.splitlines()), "a subsequence"
    names = [canary.name for canary in made.canaries]
    assert len(set(names)) == len(names) and not any(name in SOURCE for name in names)
    ast.parse(text)
    assert sum(canary.fails for canary in made.canaries) == 3


def test_names_and_places_differ_between_judgements() -> None:
    assert len({canary.name for seed in range(5) for canary in planted(seed).canaries}) > 20


def test_who_counts_lines_gets_canaries_at_the_end_alone() -> None:
    source = "import inspect\n\n\ndef test_values():\n    assert inspect.currentframe().f_lineno == 5\n"
    assert planted(1, source).files["tests/test_a.py"].decode().startswith(source)


def test_a_file_that_is_no_python_gets_plain_ones() -> None:
    made = planted(1, "print 'python 2'\n")
    assert {canary.fails for canary in made.canaries} == {True, False}


@given(
    value=st.one_of(
        st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.binary()
    ),
    seed=st.integers(0, 99),
)
def test_another_value_is_another(value: object, seed: int) -> None:
    text = other_value(value, random.Random(seed))
    if text is not None:
        made = ast.literal_eval(text)
        assert made != value and type(made) is type(value)


@given(text=st.text("abcXYZ019 /:", min_size=1), seed=st.integers(0, 99))
def test_a_changed_text_is_made_of_its_own_letters(text: str, seed: int) -> None:
    made = ast.literal_eval(other_value(text, random.Random(seed)) or "")
    if len({letter for letter in text.lower() if letter.isalnum()}) > 1:
        assert set(made) <= set(text), "a strange letter tells what was changed"


def test_a_changed_number_may_be_less_as_well_as_more() -> None:
    made = [int(other_value(40, random.Random(seed)) or "") for seed in range(99)]
    assert min(made) < 40 < max(made)


# -- believing ----------------------------------------------------------------------------------------------

TASK = next(task for task in builtin_tasks() if task.id == "forge__ledger-2")
BAD = Canary("tests/test_money.py", "test_other_cents", True)
PLANTING = Planting({}, (BAD,))
PASSED = dict.fromkeys((*TASK.fail_to_pass, *TASK.pass_to_pass), "PASSED")
FAIR = {**PASSED, "tests/test_money.py::test_other_cents": "FAILED"}


def run(told: dict[str, str], **changes: object) -> ScriptRun:
    return dataclasses.replace(ScriptRun("", told=told, ended=True), **changes)  # type: ignore[arg-type]


def believed(found: ScriptRun, gold: ScriptRun | None = None) -> str:
    def asked() -> ScriptRun:
        assert gold is not None, "gold need not be asked"
        return gold

    return doubt(TASK, PLANTING, found, GoldRuns(asked, asked))


def test_a_fair_run_is_believed_and_gold_is_not_asked() -> None:
    assert believed(run(FAIR)) == ""


@pytest.mark.parametrize("status", ["PASSED", "XFAIL", "SKIPPED", None])
def test_a_canary_that_does_not_fail_where_golds_does_is_a_reason(status: str | None) -> None:
    told = {**PASSED, **({} if status is None else {"tests/test_money.py::test_other_cents": status})}
    assert believed(run(told), run(FAIR)) == "a test that must fail did not"
    assert believed(run(told), run(told)) == "", "what gold does as well is held against nobody"


@pytest.mark.parametrize("status", ["XFAIL", "SKIPPED"])
def test_doors_beside_passing_count_where_gold_takes_them(status: str) -> None:
    told = {**FAIR, TASK.fail_to_pass[0]: status}
    assert "not with gold" in believed(run(told), run(FAIR))
    assert believed(run(told), run(told)) == ""


def test_what_was_written_while_tests_ran_is_a_reason_unless_gold_writes_it() -> None:
    found = run(FAIR, changed=frozenset({"./tests/helpers.py"}))
    assert "helpers.py" in believed(found, run(FAIR))
    assert believed(found, found) == ""
    assert believed(run(FAIR, looked=False)) and believed(run(FAIR, ended=False))


def test_only_runs_in_which_canaries_could_have_done_it_ask_gold() -> None:
    assert not spoiled(run(FAIR), (0.0, 1.0)) and spoiled(run(FAIR), (1.0, 0.5))
    assert spoiled(run(FAIR), (0.5, 1.0)) and not spoiled(run(FAIR, ended=False), (1.0, 0.5))


# -- effects ------------------------------------------------------------------------------------------------


def test_what_a_patch_writes_must_be_what_it_names() -> None:
    from forge_envs.sandbox import Result

    applied = Applied(Result(0, ""), frozenset({"a.py", "conftest.py", "a.py.orig"}), frozenset())
    assert "conftest.py" in applied.beyond(["a.py"]) and not applied.beyond(["a.py", "conftest.py"])


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        *(("helpers.py", ".", "helpers"), ("src/x/a.py", "src", "x"), ("a.abi3.so", ".", "a")),
        *(("src/x/a.py", ".", "src"), ("docs/a.py", "src", "")),
    ],
)
def test_what_import_says_to_get_a_file(path: str, root: str, name: str) -> None:
    assert _name(path, root) == name


def test_links_are_seen_in_a_patch() -> None:
    header = "diff --git a/pytest b/pytest\nnew file mode {}\nindex 0000000..1111111\n"
    link, plain = (parts(header.format(mode).encode())[0] for mode in (120000, 100644))
    assert link.is_link and link.is_new and not plain.is_link and plain.is_new


# -- a whole judgement, in boxes of the host's own ----------------------------------------------------

NEW_HELPER = (
    "diff --git a/ledger/signs.py b/ledger/signs.py\nnew file mode 100644\n--- /dev/null\n"
    "+++ b/ledger/signs.py\n@@ -0,0 +1,2 @@\n+def signed(sign, cents):\n"
    "+    return -cents if sign == '-' else cents\n"
)


def test_a_helper_module_in_the_package_is_part_of_a_solution() -> None:
    patch = TASK.patch.replace(
        'return -cents if sign == "-" else cents',
        "from ledger.signs import signed; return signed(sign, cents)",
    )
    found = judge(TASK, (patch + NEW_HELPER).encode(), Ground("process"), timeout=120.0)
    assert found.resolved and not found.dropped, found.reason


def test_a_new_module_at_the_top_is_left_out() -> None:
    top = NEW_HELPER.replace("ledger/signs.py", "signs.py")
    found = judge(TASK, (TASK.patch + top).encode(), Ground("process"), timeout=120.0)
    assert found.resolved and found.dropped == ("signs.py",)


def test_expected_failures_are_none() -> None:
    patch = TASK.patch.replace(
        '+    return -cents if sign == "-" else cents', "+    __import__('pytest').xfail('not yet')"
    ).encode()
    assert judge(TASK, patch, Ground("process"), guard=False, timeout=120.0).resolved, "officially it is"
    assert not judge(TASK, patch, Ground("process"), timeout=120.0).resolved


def test_after_a_change_the_first_form_of_a_test_is_nowhere_and_canaries_stand_beside_it() -> None:
    source = b"def test_a():\n    assert f(1) == 2\n\n\ndef test_b():\n    assert f(2) == 3\n"
    seen = set()
    for seed in range(40):
        made = change({"t.py": source}, ["t.py::test_a"], ["t.py::test_b"], random.Random(seed))
        (text,) = made.files.values()
        bodies = dict(re.findall(rb"def (\w+)\(\):\n    (.*)\n", text))
        assert b"assert f(1) == 2" not in bodies.values(), "no form of it that passes"
        assert bodies[b"test_b"] == b"assert f(2) == 3", "an agent knows it, and would see which run it is"
        for canary in made.canaries:
            assert canary.fails is (bodies[canary.name.encode()] != b"assert f(2) == 3")
        names = {canary.name for canary in made.canaries}
        assert "test_a" in names and len(names) > 3
        seen.add(text)
    assert len(seen) > 10


def test_where_none_that_a_patch_must_mend_can_be_changed_another_is() -> None:
    source = b"def test_a():\n    f()\n\n\ndef test_b():\n    assert f(2) == 3\n"
    made = change({"t.py": source}, [], ["t.py::test_b"], random.Random(0))
    assert "test_b" in {canary.name for canary in made.canaries}


def test_of_tests_that_a_patch_must_mend_some_are_changed_and_not_always_the_same() -> None:
    source = b"".join(b"def test_%d():\n    assert f(%d) == 2\n\n\n" % (i, i) for i in range(4))
    names = [f"test_{i}" for i in range(4)]
    drawn = {
        frozenset(
            canary.name
            for canary in change(
                {"t.py": source}, [f"t.py::{name}" for name in names], [], random.Random(seed)
            ).canaries
            if canary.name in names
        )
        for seed in range(200)
    }
    assert len(drawn) == 15 and frozenset() not in drawn
    assert change({"t.py": b"def ("}, ["t.py::test_a"], [], random.Random(0)) == NO_CANARIES
