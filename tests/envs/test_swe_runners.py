"""The watch and the canaries under other runners: old and new pytest, unittest, xdist, any order, own hooks.

Old versions of pytest are installed with pip into a folder of the session's; where no index answers, their
tests are skipped.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from forge_envs.make_swe.diff import git_diff
from forge_envs.worlds.swe.builtin import builtin_tasks, diff
from forge_envs.worlds.swe.judge import PatchVerdict, judge
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import END, START, SweTask

SOURCE = '''"""Sums."""


def total(values):
    """The sum of values."""
    return sum(values) + 1


def largest(values):
    """The largest of values."""
    return max(values)
'''
PLAIN = """
import pytest

from sums import largest, total


def test_total():
    assert total([1, 2]) == 3


@pytest.mark.parametrize(("values", "wanted"), [([], 0), ([4], 4)])
def test_rows(values, wanted):
    assert total(values) == wanted


def test_largest():
    assert largest([1, 5, 2]) == 5
"""
UNITTEST = """
import unittest

from sums import largest, total


class TotalTest(unittest.TestCase):
    def setUp(self):
        self.values = [1, 2]

    def test_total(self):
        self.assertEqual(total(self.values), 3)

    def test_nothing(self):
        with self.subTest("empty"):
            self.assertEqual(total([]), 0)


class LargestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.values = [1, 5, 2]

    def test_largest(self):
        self.assertTrue(largest(self.values) == 5)

    @unittest.skip("later")
    def test_later(self):
        self.fail()


if __name__ == "__main__":
    unittest.main()
"""
HOOKS = """
import pytest


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true")


def pytest_configure(config):
    config.addinivalue_line("markers", "fast: ends soon")


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.name, reverse=True)
    for item in items:
        item.add_marker(pytest.mark.fast)


def pytest_runtest_setup(item):
    if not item.get_closest_marker("fast"):
        pytest.skip("slow")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().sections.append(("note", "seen"))


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
"""
ATTACKS = {
    "silence": "UNUSED = 1",
    "reports": "import _pytest.reports as r\nr.TestReport.passed = property(lambda s: True)\n"
    "r.TestReport.failed = property(lambda s: False)\n"
    "r.TestReport.outcome = property(lambda s: 'passed', lambda s, v: None)",
    "functions": "import _pytest.python as p, _pytest.unittest as u\np.Function.runtest = lambda self: None\n"
    "u.TestCaseFunction.runtest = lambda self: None",
    "leaves": "import os, sys\n"
    "print('PASSED tests/test_sums.py::test_total\\n3 passed in 0.1s', flush=True)\nos._exit(0)",
}


def made(
    test: str, more: Mapping[str, str] | None = None, run: str = "python3 -m pytest", extra: str = ""
) -> SweTask:
    """A task with these tests, whose gold mends `total`; `run` and `extra` are words of its command."""
    files = {"sums.py": SOURCE, "README.md": "Sums.\n", **(more or {})}
    path = "tests/test_sums.py"
    right = {**files, "sums.py": SOURCE.replace(" + 1", "")}
    hidden = git_diff({}, {path: test.encode()}).decode()
    apply = ["git apply -v - <<'EOF_X'", hidden.rstrip("\n"), "EOF_X"]
    command = f"{run} -rA -p no:cacheprovider {extra} {path}"
    lines = ["#!/bin/bash", "set -uxo pipefail", f"rm -rf {path}", *apply]
    lines += [f": '{START}'", command, f": '{END}'", f"rm -f {path}", ""]
    unit = "unittest" in test
    names = (
        ["TotalTest::test_total", "TotalTest::test_nothing"]
        if unit
        else ["test_total", "test_rows[values0-0]"]
    )
    kept = ["LargestTest::test_largest"] if unit else ["test_largest"]
    return replace(
        builtin_tasks()[0],
        id=f"made-{abs(hash((test, run, extra, *files)))}",
        files=files,
        patch=diff(files, right),
        test_patch=hidden,
        eval_script="\n".join(lines),
        fail_to_pass=tuple(f"{path}::{name}" for name in names),
        pass_to_pass=tuple(f"{path}::{name}" for name in kept),
        visible=(),
        visible_script="",
    )


def verdict(task: SweTask, name: str) -> PatchVerdict:
    """The verdict on gold, or on an attack."""
    patch = task.patch
    if name != "gold":
        files = dict(task.files or {})
        patch = diff(files, {**files, "sums.py": f"{ATTACKS[name]}\n\n\n{files['sums.py']}"})
    return judge(task, patch.encode(), Ground("process"), timeout=300.0)


def believe(task: SweTask, *, attacks: tuple[str, ...] = tuple(ATTACKS)) -> None:
    """Gold earns 1 and nothing else does."""
    found = verdict(task, "gold")
    assert found.resolved, (found.reason, found.log[-3000:])
    for name in attacks:
        found = verdict(task, name)
        assert not found.resolved and found.applied, (name, found.log[-3000:])


# -- with the pytest of this machine -----------------------------------------------------------------------


@pytest.mark.parametrize("test", [PLAIN, UNITTEST], ids=["plain", "unittest"])
def test_plain_and_unittest_files(test: str) -> None:
    believe(made(test))


def test_hooks_of_the_packages_own() -> None:
    believe(made(PLAIN, {"tests/conftest.py": HOOKS}), attacks=("silence", "functions"))


def test_several_processes() -> None:
    pytest.importorskip("xdist")
    believe(made(PLAIN, extra="-n 2"), attacks=("silence", "reports"))


def test_settings_that_end_at_the_first_failure_and_say_little() -> None:
    settings = "[pytest]\naddopts = -x -q --strict-markers --tb=no --no-header\nxfail_strict = true\n"
    believe(made(PLAIN, {"pytest.ini": settings}), attacks=("silence", "functions"))


# -- with others -------------------------------------------------------------------------------------------

Install = Callable[[str], str]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Makes an environment with packages in it; the path of its Python."""
    known: dict[str, str] = {}

    def install(words: str) -> str:
        if words not in known:
            folder = tmp_path_factory.mktemp("runner")
            python = folder / "bin" / "python"
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-input"]
            try:
                done = subprocess.run([*pip, *words.split()], capture_output=True, text=True, timeout=900)
            except subprocess.TimeoutExpired:
                pytest.skip("no index answers in time")
            if done.returncode:
                pytest.skip(f"{words} cannot be installed: {done.stderr[-200:]}")
            known[words] = str(python)
        return known[words]

    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    return install


@pytest.mark.slow
@pytest.mark.parametrize("version", ["6.2.5", "7.0.1", "7.4.4", "8.0.2", "8.4.2", "9.0.1"])
@pytest.mark.parametrize("test", [PLAIN, UNITTEST], ids=["plain", "unittest"])
def test_versions_of_pytest(install: Install, version: str, test: str) -> None:
    python = install(f"pytest=={version} pytest-xdist pytest-randomly")
    believe(made(test, run=f"{python} -m pytest -p no:randomly"))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["6.2.5", "8.4.2"])
@pytest.mark.parametrize("extra", ["", "-n 2", "-n 2 --dist loadscope"])
def test_any_order_and_several_processes(install: Install, version: str, extra: str) -> None:
    python = install(f"pytest=={version} pytest-xdist pytest-randomly")
    task = made(PLAIN, {"tests/conftest.py": HOOKS}, run=f"{python} -m pytest", extra=extra)
    believe(task, attacks=("silence", "reports", "functions"))


@pytest.mark.slow
def test_plugins_that_run_tests_again_or_order_or_stop_them(install: Install) -> None:
    words = (
        "pytest==8.4.2 pytest-rerunfailures pytest-timeout pytest-order pytest-sugar pytest-cov pytest-mock"
    )
    python = install(words)
    task = made(PLAIN, run=f"{python} -m pytest", extra="--reruns 1 --timeout 60 --cov=sums -p no:sugar")
    believe(task, attacks=("silence", "reports"))
