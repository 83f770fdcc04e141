"""A pytest plugin that tells beside the log what the tests do. Copied into a box under a name of one use.

The log can be written by whatever the tests import, and so can a file. What this plugin tells goes line
by line into the stream that leaves the box, through a copy of standard output that was made before anything
of the repository was imported: what was told cannot be taken back, and a failure that was told stays one.
Code in the same process can tell more, or keep the plugin from telling; it does not know which tests are
canaries.

It imports the standard library and pytest alone, and is written for Python 3.6 and pytest 6.
"""

import faulthandler
import fcntl
import json
import os
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

_MARK = os.environ.pop("FORGE_WATCH_MARK", "")
_PATIENCE = float(os.environ.pop("FORGE_WATCH_PATIENCE", "") or "0")
_OUT = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 64) if _MARK else -1
if _MARK:
    os.environ.pop("PYTEST_ADDOPTS", None)  # a pytest that a test starts is not watched

_dumps, _write = json.dumps, os.write


def _tell(*words: str) -> None:
    """One line of ours; it begins with a line's end because anything may stand before it."""
    _write(_OUT, ("\n" + _MARK + _dumps(words) + "\n").encode("utf-8", "backslashreplace"))


def _is_watched(config: Any) -> bool:
    """Whether this process tells: not a worker of xdist, whose controller does."""
    return bool(_MARK) and not hasattr(config, "workerinput")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: Any) -> None:
    """Canaries fail, and what comes after them runs all the same."""
    if _is_watched(config) and hasattr(config.option, "maxfail"):
        config.option.maxfail = 0


def _begin(name: str) -> None:
    """Something begins; if nothing else has begun when our patience ends, the process ends as well."""
    _tell("begin", name)
    if _PATIENCE:
        with suppress(RuntimeError, ValueError, OSError):  # somebody closed what we write to
            faulthandler.dump_traceback_later(_PATIENCE, exit=True, file=_OUT)


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart(collector: Any) -> None:
    """A file of tests is imported."""
    if _MARK:
        _begin(collector.nodeid or "the collection of tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid: str) -> None:
    """A test begins."""
    if _MARK:
        _begin(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: Any) -> None:
    """What pytest says about a test."""
    if not _MARK:
        return
    if hasattr(report, "wasxfail"):
        if report.skipped:
            _tell("XFAIL", report.nodeid)
    elif report.failed:
        _tell("FAILED" if report.when == "call" else "ERROR", report.nodeid)
    elif report.skipped:
        _tell("SKIPPED", report.nodeid)
    elif report.when == "call":
        _tell("PASSED", report.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_sessionfinish(session: Any, exitstatus: int) -> "Generator[None, None, None]":
    """The tests ended by themselves, after all others have had their say."""
    if _is_watched(session.config) and _PATIENCE:
        faulthandler.cancel_dump_traceback_later()
    yield
    if _is_watched(session.config):
        _tell("end", str(int(exitstatus)))
