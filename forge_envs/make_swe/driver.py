"""Runs inside a box, by itself: a test suite again and again, each time with other files in place.

`python3 driver.py JOB`: a JSON file with what to do, one result per line appended to the job's `out`. Every
run is a fork of this process, which has pytest loaded and nothing of the package. Needs pytest and fork.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import shutil
import signal
import sys
import time
from typing import Any, NamedTuple

import pytest

LONGEST = 1_500
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
MOST = 0.5
"""Share of the tests up to which those that may notice run by themselves at first."""


class Recorder:
    """A pytest plugin that writes down what happened to every test, and how it failed."""

    def __init__(self, root: str, selected: set[str] | None, trace: bool) -> None:
        self.root, self.selected, self.trace = root, selected, trace
        self.tests: dict[str, str] = {}
        self.failures: dict[str, dict[str, Any]] = {}
        self.places: dict[str, list[Any]] = {}
        self.reached: dict[str, list[list[Any]]] = {}
        self.broken: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the selected tests, and note where each is written."""
        if self.selected is not None:
            items[:] = [item for item in items if item.nodeid in self.selected]
        for item in items:
            code = getattr(inspect.unwrap(getattr(item, "function", None) or len), "__code__", None)
            if code is not None:
                self.places[item.nodeid] = [self._relative(code.co_filename), code.co_firstlineno]

    def pytest_collectreport(self, report: Any) -> None:
        """Files that could not be collected."""
        if report.failed:
            self.broken.append(f"{report.nodeid}: {str(report.longrepr)[-LONGEST:]}")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Which functions of the repository a test reaches."""
        if not self.trace:
            yield
            return
        codes: set[Any] = set()

        def note(frame: Any, event: str, _: Any) -> None:
            if event == "call":
                codes.add(frame.f_code)

        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(None)
        inside = [code for code in codes if code.co_filename.startswith(self.root + os.sep)]
        self.reached[item.nodeid] = [[self._relative(c.co_filename), c.co_firstlineno] for c in inside]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Any:
        """The status of a test, and what is to be told of a failure."""
        report = (yield).get_result()
        status = report.outcome
        if hasattr(report, "wasxfail"):
            status = "xfailed" if report.skipped else "xpassed"
        if report.when != "call" and status == "failed":
            status = "error"
        if report.when == "call" or status != "passed":
            self.tests[item.nodeid] = status
        if status == "failed" and call.excinfo is not None:
            self.failures[item.nodeid] = self._facts(item, call.excinfo)

    def _facts(self, item: Any, excinfo: Any) -> dict[str, Any]:
        callspec = getattr(item, "callspec", None)
        params = dict(getattr(callspec, "params", {}))
        fixtures = {
            k: v for k, v in getattr(item, "funcargs", {}).items() if k not in params and k != "request"
        }
        return {
            "frames": self._frames(item, excinfo),
            "indices": {str(k): int(v) for k, v in getattr(callspec, "indices", {}).items()},
            "type": excinfo.typename,
            "message": ADDRESS.sub("", str(excinfo.value))[:LONGEST],
            "params": {name: shown(value) for name, value in params.items()},
            "fixtures": sorted(fixtures),
        }

    def _frames(self, item: Any, excinfo: Any) -> list[list[Any]]:
        """Where the test's own file was when it failed, and what its names held there."""
        own = self.places.get(item.nodeid, [""])[0]
        found = []
        for entry in excinfo.traceback:
            if self._relative(str(entry.path)) == own:
                values = {name: shown(value) for name, value in list(entry.frame.f_locals.items())[:40]}
                found.append([entry.lineno + 1, entry.name, values])
        return found[-4:]

    def _relative(self, path: str) -> str:
        path = os.path.realpath(os.path.join(self.root, path))
        return os.path.relpath(path, self.root) if path.startswith(self.root + os.sep) else ""


def shown(value: object) -> str:
    """A value as Python writes it, cut and without addresses."""
    try:
        return ADDRESS.sub("", repr(value))[:LONGEST]
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def main(path: str) -> None:
    """Do all that the job asks for."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    root = os.path.realpath(job["root"])
    sys.dont_write_bytecode = True
    sys.path[0] = root  # as `python -m pytest` has it
    os.chdir(root)
    warm(job, root)
    for item in job["items"]:
        result = run_item(job, root, item)
        with open(job["out"], "a", encoding="utf-8") as out:
            out.write(json.dumps(result) + "\n")


def warm(job: dict[str, Any], root: str) -> None:
    """Compile everything once in this box, before a file is changed; later runs write no bytecode.

    A changed file is newer than its bytecode, so that is not used; put back, it is as old as it was.
    """
    done = os.path.join(os.path.dirname(job["out"]), "warm")
    if os.path.exists(done):
        return
    for folder, names, _ in os.walk(root):
        if "__pycache__" in names:
            shutil.rmtree(os.path.join(folder, "__pycache__"), ignore_errors=True)
    sys.dont_write_bytecode = False
    try:
        fork(job, root, [*job["args"], "--collect-only", *job["targets"]], None, False)
    finally:
        sys.dont_write_bytecode = True
    with open(done, "w", encoding="utf-8"):
        pass


def run_item(job: dict[str, Any], root: str, item: dict[str, Any]) -> dict[str, Any]:
    """One item: its files in place, the tests that may notice, then all tests if one did."""
    before: dict[str, FileBefore | None] = {}
    began = time.monotonic()
    try:
        for path, text in item.get("files", {}).items():
            full = os.path.join(root, path)
            before[full] = place(full, None if text is None else FileBefore(text.encode("latin-1")))
        result: dict[str, Any] = {}
        # most of the tests are as dear as all of them, and then all must run once more
        if item.get("select") and len(item["select"]) < MOST * item.get("of", float("inf")):
            targets = sorted({nodeid.partition("::")[0] for nodeid in item["select"]})
            result = fork(job, root, [*job["args"], "-x", *targets], set(item["select"]), False)
            bad = {"failed", "error"} & set(result.get("tests", {}).values())
            result["stage"] = "quick"
            if result["end"] != "done" or not (bad or result["broken"]):
                return {"key": item["key"], "seconds": time.monotonic() - began, **result}
        result = fork(job, root, [*job["args"], *job["targets"]], None, bool(item.get("trace")))
        return {"key": item["key"], "seconds": time.monotonic() - began, "stage": "full", **result}
    finally:
        for full, held in before.items():
            place(full, held)


class FileBefore(NamedTuple):
    """What a file holds, and when it was written, in nanoseconds; now, where that is not said."""

    data: bytes
    written: int | None = None


def place(path: str, held: FileBefore | None) -> FileBefore | None:
    """Write a file, or remove it for None; returns what it held, None if it was not there."""
    before = None
    if os.path.exists(path):
        with open(path, "rb") as file:
            before = FileBefore(file.read(), os.stat(path).st_mtime_ns)
    if held is None:
        os.unlink(path)
        return before
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(held.data)
    if held.written is not None:
        os.utime(path, ns=(held.written, held.written))
    return before


def fork(
    job: dict[str, Any], root: str, args: list[str], select: set[str] | None, trace: bool
) -> dict[str, Any]:
    """One pytest run in a child: `end` is done, timeout or crash."""
    answer = f"{job['out']}.child"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(answer)
    child = os.fork()
    if child == 0:
        play(root, args, select, trace, answer)
    until = time.monotonic() + float(job["timeout"])
    while time.monotonic() < until:
        done, _ = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    late = time.monotonic() >= until
    if late:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
    try:
        with open(answer, encoding="utf-8") as file:
            return {"end": "done", **json.load(file)}
    except (OSError, ValueError):
        return {"end": "timeout" if late else "crash", "tests": {}, "broken": []}


def play(root: str, args: list[str], select: set[str] | None, trace: bool, answer: str) -> None:
    """The child: run pytest quietly, leave the answer, end at once."""
    code = 1
    try:
        os.setsid()
        log = os.open(answer + ".log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        recorder = Recorder(root, select, trace)
        status = int(pytest.main(args, plugins=[recorder]))
        found = {
            "exit": status,
            "tests": recorder.tests,
            "failures": recorder.failures,
            "places": recorder.places if trace else {},
            "reached": recorder.reached,
            "broken": recorder.broken,
        }
        with open(answer + ".log", encoding="utf-8", errors="replace") as file:
            found["log"] = file.read()[-LONGEST:] if status not in (0, 1) else ""
        with open(answer + ".part", "w", encoding="utf-8") as file:
            json.dump(found, file)
        os.rename(answer + ".part", answer)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
