"""The verdict on logs: published rows, with logs made for them and an independent second rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from swebench.harness.utils import make_test_spec

from forge_envs.worlds.swe.judge import _official, _share
from forge_envs.worlds.swe.logs import EXIT, contradiction
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.task import END, START, SweTask
from tests.envs.official import DATA

ROWS = DATA / "swebench"
pytestmark = pytest.mark.skipif(not ROWS.is_dir(), reason=f"no public data at {ROWS}")

PYTEST = ("flask", "marshmallow", "astroid", "pytest", "xarray", "pvlib", "pyvista", "sqlfluff")
"""Parsers that read `PASSED name` lines, the last of a name."""


def tasks() -> list[SweTask]:
    found = []
    for name in ("SWE-bench_Verified.fifth.parquet", "SWE-bench_Lite.dev.parquet"):
        path = ROWS / name
        found += list(load(f"swebench:{path}").by_id.values()) if path.is_file() else []
    return found


def log_of(task: SweTask, statuses: dict[str, str], code: int) -> str:
    lines = "\n".join(f"{status} {name}" for name, status in statuses.items())
    counts = f"{len(statuses)} tests in 0.10s"
    return (
        f"+ : '{START}'\n=== test session starts ===\n=== short test summary info ===\n{lines}\n"
        f"=== {counts} ===\n+ : '{END}'\n+ echo '{EXIT}: {code}'\n{EXIT}: {code}\n"
    )


def resolved(task: SweTask, statuses: dict[str, str], code: int) -> bool:
    """The rule of `reference/benchmarks.md` §2.4, written a second time."""
    if code and not {"FAILED", "ERROR"} & set(statuses.values()):
        return False

    def status(name: str) -> str:
        if name in statuses or name.count("[") <= name.count("]"):
            return statuses.get(name, "missing")
        alike = {value in ("PASSED", "XFAIL") for key, value in statuses.items() if key.startswith(name)}
        return "missing" if len(alike) != 1 else "PASSED" if alike.pop() else "FAILED"

    return all(status(name) in ("PASSED", "XFAIL") for name in task.fail_to_pass) and all(
        status(name) in ("PASSED", "XFAIL", "SKIPPED") for name in task.pass_to_pass
    )


CHANGES: dict[str, Callable[[SweTask, dict[str, str]], int]] = {
    "all pass": lambda task, found: 0,
    "exit status": lambda task, found: 1,
    "one fails": lambda task, found: found.update({task.fail_to_pass[0]: "FAILED"}) or 1,
    "one is skipped": lambda task, found: found.update({task.fail_to_pass[-1]: "SKIPPED"}) or 0,
    "one is missing": lambda task, found: found.pop(task.fail_to_pass[0]) and 0,
    "one is expected to fail": lambda task, found: found.update({task.fail_to_pass[0]: "XFAIL"}) or 0,
    "another breaks": lambda task, found: found.update({[*task.pass_to_pass, "x"][0]: "ERROR"}) or 1,
    "another is skipped": lambda task, found: found.update({[*task.pass_to_pass, "x"][0]: "SKIPPED"}) or 0,
    "a stranger fails": lambda task, found: found.update({"tests/test_other.py::test_x": "FAILED"}) or 1,
    "nothing ran": lambda task, found: found.clear() or 0,
}


@pytest.mark.parametrize("change", CHANGES)
def test_verdicts_on_published_rows(change: str) -> None:
    seen = set()
    for task in tasks():
        if task.log_parser.removeprefix("parse_log_") not in PYTEST:
            continue
        if any(" " in name for name in (*task.fail_to_pass, *task.pass_to_pass)):
            continue  # the parsers cut names at blanks
        statuses = dict.fromkeys((*task.pass_to_pass, *task.fail_to_pass), "PASSED")
        code = CHANGES[change](task, statuses)
        log = log_of(task, statuses, int(code))
        report = _official(task, make_test_spec(task.row), log)
        assert report["resolved"] is resolved(task, statuses, int(code)), task.id
        if report["resolved"]:
            assert contradiction(log) is None, task.id
        seen.add(task.log_parser)
    assert len(seen) >= 5


@pytest.mark.parametrize("path", sorted(ROWS.rglob("report.json")), ids=lambda path: path.parent.name)
def test_shares_are_those_of_stored_reports(path: Path) -> None:
    for report in [json.loads(path.read_text())]:
        reports = report.values() if all(isinstance(value, dict) for value in report.values()) else [report]
        for one in reports:
            status = one.get("tests_status", {})
            if {"FAIL_TO_PASS", "PASS_TO_PASS"} <= set(status):
                full = all(_share(status[key]) == 1.0 for key in ("FAIL_TO_PASS", "PASS_TO_PASS"))
                assert full == bool(one["resolved"])


def test_a_log_with_odd_bytes_is_read() -> None:
    task = next(task for task in tasks() if task.log_parser == "parse_log_pytest")
    statuses = dict.fromkeys((*task.pass_to_pass, *task.fail_to_pass), "PASSED")
    log = log_of(task, statuses, 0).replace(START, f"{START}\n\r\x00\x0b\x85\u2028é\ufffd", 1)
    assert _official(task, make_test_spec(task.row), log)["resolved"] is resolved(task, statuses, 0)
