"""What a patch may not change, and which logs are not believed."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest

from forge_envs.make_swe.diff import git_diff
from forge_envs.worlds.swe.builtin import builtin_tasks, diff
from forge_envs.worlds.swe.effects import BROKEN, UNTOLD, apply
from forge_envs.worlds.swe.guard import Guard, decides
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.logs import as_file, contradiction
from forge_envs.worlds.swe.patch import PatchError, parts, paths_of
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.site import Ground, Site, open_site
from forge_envs.worlds.swe.task import END, START, SweTask
from tests.envs.official import DATA

LOGS = DATA / "swebench" / "log_samples"


def task(**changes: object) -> SweTask:
    return dataclasses.replace(builtin_tasks()[0], **changes)


@pytest.mark.parametrize(
    "path",
    [
        "conftest.py",
        "deep/down/conftest.py",
        "sitecustomize.py",
        "src/usercustomize.py",
        "evil.pth",
        "pkg/__pycache__/a.cpython-311.pyc",
        "pytest.ini",
        "tox.ini",
        "setup.py",
        "tests/test_fields.py",
        "tests/helpers.py",
        "tests/data/x.json",
        "pytest.py",
        "_pytest/python.py",
        "json.py",
        "re/__init__.py",
        "x.dist-info/entry_points.txt",
        "x.dist-info/METADATA",
        "src/X.Egg-Info/PKG-INFO",
        "deep/entry_points.txt",
        "pytest.cpython-311-x86_64-linux-gnu.so",
        "json.cpython-311-x86_64-linux-gnu.so",
        "_pytest.abi3.so",
        "tomli/__init__.py",
        "cronline/tests/runner.py",
        "django/test/runner.py",
        "lib/matplotlib/testing/compare.py",
        "sympy/utilities/runtests.py",
        "sklearn/utils/_testing.py",
        "pylint/testutils/checker_test_case.py",
    ],
)
def test_what_runs_the_tests_is_not_part_of_a_solution(path: str) -> None:
    assert Guard(task()).forbids(path)
    assert not Guard(task(patch=f"--- a/{path}\n+++ b/{path}\n")).forbids(path), "unless gold changes it too"


@pytest.mark.parametrize(
    "path",
    [
        *("cronline/fields.py", "cronline/json.py", "README.md", "docs/tests.md", "setup.cfg", "src/test.py"),
        *("json.md", "calendar.csv", "cronline/dist-info.py", ".github/workflows/ci.yml"),
    ],
)
def test_solutions_are_free(path: str) -> None:
    assert not Guard(task()).forbids(path)


def test_the_runner_of_a_repository_is_protected() -> None:
    command = "PYTHONWARNINGS=x bin/test -C --verbose sympy/core/tests/test_a.py"
    script = f"cd /testbed\n: '{START}'\n{command}\n: '{END}'\n"
    guard = Guard(task(eval_script=script, patch="", test_patch="--- a/sympy/core/tests/test_a.py\n"))
    assert guard.forbids("bin/test")
    assert guard.forbids("sympy/core/tests/test_a.py") and guard.forbids("sympy/core/tests/other.py")
    assert not guard.forbids("sympy/core/add.py") and not guard.forbids("bin/other")


def test_a_folder_of_tests_that_gold_changes_is_free_unless_hidden_tests_are_in_it() -> None:
    gold = {"patch": "--- a/django/test/client.py\n+++ b/django/test/client.py\n"}
    guard = Guard(task(**gold, test_patch="--- a/tests/client/test_a.py\n"))
    assert not guard.forbids("django/test/utils.py") and not guard.forbids("django/test/signals/new.py")
    assert guard.forbids("django/contrib/test/a.py") and guard.forbids("django/test/tests/a.py")
    assert Guard(task(**gold, test_patch="--- a/django/test/test_a.py\n")).forbids("django/test/utils.py")


RUNNERS = {
    "astropy/astropy": "astropy/tests/runner.py",
    "django/django": "django/test/runner.py",
    "matplotlib/matplotlib": "lib/matplotlib/testing/compare.py",
    "pydata/xarray": "xarray/testing.py",
    "pylint-dev/pylint": "pylint/testutils/unittest_linter.py",
    "scikit-learn/scikit-learn": "sklearn/utils/testing.py",
    "sphinx-doc/sphinx": "sphinx/testing/util.py",
    "sympy/sympy": "sympy/testing/runtests.py",
}


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no public data at {LOGS}")
def test_runners_of_published_repositories_are_protected() -> None:
    seen = set()
    for published in load(f"swebench:{DATA}/swebench/SWE-bench_Verified.fifth.parquet").by_id.values():
        runner = RUNNERS.get(published.repo, "")
        folder = runner.rpartition("/")[0]
        if runner and not (
            "test" in folder and any(path.startswith(folder) for path in paths_of(published.patch))
        ):
            assert Guard(published).forbids(runner), published.id
            seen.add(published.repo)
    assert seen == set(RUNNERS)


@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no public data at {LOGS}")
def test_published_solutions_are_kept() -> None:
    read = 0
    for name in ("SWE-bench_Verified.fifth.parquet", "SWE-bench_Lite.dev.parquet"):
        for published in load(f"swebench:{DATA}/swebench/{name}").by_id.values():
            try:
                found = parts(published.patch.encode())
            except PatchError:  # it moves a file; our boxes write no such patches
                continue
            assert Guard(published).split(found) == (found, []), published.id
            read += 1
    assert read > 110


def test_parts_are_split() -> None:
    new = {"a.py": "x\n", "tests/test_b.py": "y\n", "conftest.py": "z\n"}
    patch = diff(dict.fromkeys(new, ""), new).encode()
    kept, dropped = Guard(task()).split(parts(patch))
    assert [part.path for part in kept] == ["a.py"]
    assert sorted(dropped) == ["conftest.py", "tests/test_b.py"]


@pytest.mark.parametrize(
    ("path", "before", "after", "same"),
    [
        ("setup.cfg", "[metadata]\nname = a\n", "[metadata]\nname = b\n", True),
        ("setup.cfg", "[metadata]\nname = a\n", "[metadata]\nname = a\n[tool:pytest]\naddopts = -x\n", False),
        ("setup.cfg", "", "[options.entry_points]\npytest11 =\n  a = b\n", False),
        ("pyproject.toml", "[project]\nname = 'a'\n", "[project]\nname = 'a'\nversion = '2'\n", True),
        ("pyproject.toml", "", "[tool.pytest.ini_options]\naddopts = '-x'\n", False),
        ("pyproject.toml", "", "[project.entry-points.pytest11]\na = 'b'\n", False),
        ("pyproject.toml", "", "[build-system]\nbackend-path = ['.']\n", False),
        ("pyproject.toml", "", "[tool.poetry.plugins.pytest11]\na = 'b'\n", False),
        ("pyproject.toml", "", "[tool.flit.entrypoints.pytest11]\na = 'b'\n", False),
        ("pyproject.toml", "", "[tool.setuptools.dynamic]\nentry-points = {file = 'x.txt'}\n", False),
        ("pyproject.toml", "", "[tool.hatch.build.hooks.custom]\npath = 'x.py'\n", False),
        ("pyproject.toml", "", "[tool.plugins]\na = 'b'\n", False),
        ("pyproject.toml", "", "[tool.ruff]\nline-length = 90\n[tool.black]\n[tool.mypy]\n", True),
        ("setup.cfg", "", "[flake8]\nmax-line-length = 90\n", True),
    ],
)
def test_settings_that_decide(path: str, before: str, after: str, same: bool) -> None:
    assert (decides(path, before) == decides(path, after)) is same


@pytest.mark.parametrize("path", ["setup.cfg", "pyproject.toml"])
def test_broken_settings_decide_nothing(path: str) -> None:
    for text in ("[x\n=", BROKEN):
        assert decides(path, text) is None


@pytest.mark.parametrize("text", ["tool = 1", "project = 1", f"x = {'[' * 20_000}"])
def test_settings_that_no_tool_reads_decide_nothing(text: str) -> None:
    assert decides("pyproject.toml", text) is None


# -- logs ---------------------------------------------------------------------------------------------------

HONEST = f"""\
+ : '{START}'
+ pytest -rA tests
============================= test session starts ==============================
collected 2 items

tests/test_a.py .F                                                       [100%]

=================================== FAILURES ===================================
FAILED nothing: this is what a test printed
=========================== short test summary info ============================
PASSED tests/test_a.py::test_one
FAILED tests/test_a.py::test_two - assert 1 == 2
========================= 1 failed, 1 passed in 0.12s ==========================
+ SWEBENCH_TEST_EXIT_CODE=1
+ : '{END}'
+ echo '>>>>> Test Exit Code: 1'
>>>>> Test Exit Code: 1
"""
GREEN = (
    HONEST.replace(" .F ", " .. ")
    .replace("FAILED tests", "PASSED tests")
    .replace("FAILED nothing", "nothing")
    .replace("1 failed, 1", "2")
    .replace("CODE=1", "CODE=0")
    .replace("Code: 1", "Code: 0")
)


def test_honest_logs_are_believed() -> None:
    assert contradiction(HONEST) is None
    assert contradiction(GREEN) is None


@pytest.mark.parametrize(
    "log",
    [
        HONEST.replace("Code: 1", "Code: 0"),
        GREEN.replace("+ SWEBENCH", "PASSED tests/test_a.py::test_two\n+ SWEBENCH"),
        GREEN.replace(" .. ", " .F "),
        GREEN.replace("in 0.12s", "at some time"),
        GREEN.replace("collected", f"{END}\ncollected"),
        f"{START}\n{GREEN}",
        GREEN + ">>>>> Test Exit Code: 1\n",
    ],
)
def test_logs_that_contradict_themselves_are_not(log: str) -> None:
    assert contradiction(log)


def test_sessions_that_tests_print_are_no_failures() -> None:
    inner = "=== short test summary info ===\nFAILED a.py::test_x - assert 0\n=== 1 failed in 0.01s ===\n"
    assert contradiction(GREEN.replace("nothing: this", f"{inner}nothing: this")) is None


def test_a_log_as_a_file_is_nowhere_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with as_file("é\r\n") as path:
        assert Path(path).read_bytes() == "é\r\n".encode() == Path(path).read_bytes()
        assert list(tmp_path.iterdir()) == []


def test_settings_too_long_to_read_are_put_back() -> None:
    found = builtin_tasks()[0]
    settings = b"[tool.pytest.ini_options]\naddopts = '--co'\n" + (b"#" * 9_999 + b"\n") * 1_700
    verdict = judge(
        found, found.patch.encode() + git_diff({}, {"pyproject.toml": settings}), Ground("process")
    )
    assert verdict.resolved and verdict.dropped == ("pyproject.toml",)


CUT = {"pytest_output_1.txt"}
"""A log that was stored without its last line."""


@pytest.mark.parametrize(
    "path", sorted(LOGS.rglob("*.txt")) if LOGS.is_dir() else [], ids=lambda path: path.name
)
def test_real_logs_are_believed(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    if START not in text:
        text = f"{START}\n{text}\n{END}\n"
    assert (contradiction(text) is not None) == (path.name in CUT)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (lambda output: output.replace("FORGE-EFFECTS ", "FORGE-EFFECTS find: no space left\n"), UNTOLD),
        (lambda output: output[-8:], UNTOLD),  # a list that is longer than what comes back of it
        (lambda output: output, 0),
    ],
    ids=["complaint", "cut", "whole"],
)
def test_a_box_that_does_not_say_what_was_written_has_not_applied_a_patch(monkeypatch, said, told):
    found = task()
    site = open_site(found, Ground("process"), judged=True)
    run = Site.run
    monkeypatch.setattr(
        Site,
        "run",
        lambda self, *args, **kwargs: dataclasses.replace(
            done := run(self, *args, **kwargs), output=said(done.output)
        ),
    )
    try:
        applied = apply(site, found.patch.encode())
    finally:
        site.close()
    assert applied.ran.code == told and bool(applied.files) is (told == 0)
