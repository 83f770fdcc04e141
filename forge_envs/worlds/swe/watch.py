"""A pytest plugin that reports beside the log what the tests did. Copied into a box under a name of one use.

The log can be written by whatever the tests import. This report is made from pytest's own reports, kept in
memory until the session ends and written to a file whose name the environment told us before anything of the
repository was imported. A canary, a test of ours that must fail, tells whether failing still works at all. It
is no proof: code in the same process can do whatever this plugin does, if it was written against it.

It imports the standard library and pytest alone, and is written for Python 3.6 and pytest 6.
"""

import json
import os
from collections.abc import Generator
from typing import Any

import pytest

_REPORT = os.environ.pop("FORGE_WATCH_REPORT", "")
_CANARY = os.environ.pop("FORGE_WATCH_CANARY", "")
if _REPORT:
    os.environ.pop("PYTEST_ADDOPTS", None)  # a pytest that a test starts is not watched

_statuses: "dict[str, str]" = {}
_dump, _open, _replace = json.dumps, open, os.replace


def pytest_runtest_logreport(report: Any) -> None:
    """Keep what pytest says about a test; an error before or after it counts more than the test."""
    if hasattr(report, "wasxfail"):
        if report.skipped:
            _statuses[report.nodeid] = "XFAIL"
    elif report.failed:
        _statuses[report.nodeid] = "FAILED" if report.when == "call" else "ERROR"
    elif report.skipped:
        _statuses[report.nodeid] = "SKIPPED"
    elif report.when == "call":
        _statuses.setdefault(report.nodeid, "PASSED")


@pytest.hookimpl(hookwrapper=True)
def pytest_sessionfinish(session: Any, exitstatus: int) -> "Generator[None, None, None]":
    """Run the canary and write the report, after all others have had their say."""
    yield
    if not _REPORT or hasattr(session.config, "workerinput"):
        return
    report = {"tests": _statuses, "canary": _run_canary(session)}
    with _open(_REPORT + ".part", "w") as file:
        file.write(_dump(report))
    _replace(_REPORT + ".part", _REPORT)


def _fails() -> None:
    raise AssertionError("the canary")


def _run_canary(session: Any) -> str:
    """How a test that fails is reported, or "none" if there is no module to put it in."""
    from _pytest.runner import runtestprotocol

    for item in getattr(session, "items", ()):
        module = item.getparent(pytest.Module)
        if module is not None:
            canary = pytest.Function.from_parent(module, name="test_" + _CANARY, callobj=_fails)
            reports = runtestprotocol(canary, log=False, nextitem=None)
            return "failed" if any(report.outcome == "failed" for report in reports) else "passed"
    return "none"
