"""One run of an evaluation script in a box, and what came of it: the log, and beside it what our plugin told.

A watched run goes in two steps. The script is run up to its tests first, so that the test files lie there as
they will be judged; canaries are planted in them; then the whole script runs, with their planted texts put in
place just before its tests. After the tests, files that Python imports and those of tests are looked at: who
writes one while the tests run moves its time of change, which nobody in the box can set back.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from forge_envs.sandbox import Result
from forge_envs.sandbox.waiting import waiting
from forge_envs.worlds.swe.canaries import Planting
from forge_envs.worlds.swe.site import Site, unwell
from forge_envs.worlds.swe.task import END, START, SweTask

PREPARED = "FORGE-PREPARED "
"""What the texts of test files follow, as they leave the box."""
LOG = 16_000_000
"""Characters that are kept of a log at each end."""
PATIENCE = 0.1
"""Share of the time limit that one test may take, but no less than the next."""
LEAST_PATIENCE = 120.0
"""Seconds."""
GOOD = "PASSED"
_WORSE = ("PASSED", "SKIPPED", "XFAIL", "FAILED", "ERROR")
"""Of all that was told of a test, the last of these holds."""
IMPORTED = (".py", ".pth", ".so", ".pyc")
_LOOKED = ".forge-looked.py"
_LISTED = (
    r"\( -type f -o -type l \) \( -name '*.py' -o -name '*.pth' -o -name '*.so' -o -name '*.pyc' "
    r"-o -name '*.cfg' -o -name '*.ini' -o -name '*.toml' -o -path '*test*' \)"
)
"""What is looked at before and after: whatever Python imports, settings, and files of tests."""


@dataclass(frozen=True)
class ScriptRun:
    """What a run showed."""

    log: str
    """As the tests printed it, without what our plugin told."""
    timed_out: bool = False
    told: Mapping[str, str] = field(default_factory=dict)
    """Status by pytest's node id; the worst of what was told."""
    running: str = ""
    """The test that began last, where the session has no end."""
    ended: bool = False
    changed: frozenset[str] = frozenset()
    """Files that were there before the tests and were written while they ran."""
    new: frozenset[str] = frozenset()
    """Folders in which something that Python imports came to be meanwhile."""
    looked: bool = True
    """Whether the files could be looked at."""


class Stage:
    """A box in which a task's tests will run."""

    def __init__(self, task: SweTask, site: Site) -> None:
        from swebench.harness.utils import make_test_spec

        self.task, self.site = task, site
        self.spec = make_test_spec(task.row)
        self._lines = _with_assets(self.spec.eval_script, task.assets, site).split("\n")
        self._before: frozenset[str] = frozenset()

    def plain(self, timeout: float) -> ScriptRun:
        """Run the official script, and nothing else."""
        script = self.site.put("eval.sh", "\n".join(self._lines).encode())
        ran = self._wait(f"/bin/bash {script}", timeout)
        return ScriptRun(ran.output, ran.timed_out)

    def prepare(self, timeout: float) -> dict[str, bytes]:
        """Run the script up to its tests; the texts of the files that hold the tests that decide."""
        wanted = sorted(_test_files(self.task))
        tools = self.site.tools
        lines = [
            *self._lines[: self._at(START)],
            f"find . -path ./.git -prune -o {_LISTED} -print > {tools}/listed",
            f"tar -cf {tools}/prepared.tar --ignore-failed-read -C {tools} listed "
            f'-C "$PWD" -- {" ".join(map(quote, wanted))}',
        ]
        script, first = self.site.lay("prepare.sh", "\n".join([*lines, ""]).encode())
        command = (
            f"{first}/bin/bash {script} > {tools}/said 2>&1; tail -c 1000 {tools}/said; rm {tools}/said; "
            f"printf '\\n{PREPARED}'; base64 -w0 {tools}/prepared.tar"
        )
        ran = self.site.run(command, timeout=timeout, head=0, tail=2 * LOG)
        said, marked, data = ran.output.rpartition(f"\n{PREPARED}")
        if ran.code != 0 or not marked:
            raise unwell(f"the tests of {self.task.id} could not be laid out: {(said or data)[-500:]}")
        try:
            found = _unpacked(base64.b64decode(data, validate=True))
        except ValueError as error:
            raise unwell(f"the tests of {self.task.id} did not come out whole: {data[-300:]!r}") from error
        self._before = frozenset(found.pop("listed", b"").decode("utf-8", "replace").split("\n"))
        return found

    def watched(self, planting: Planting, timeout: float) -> ScriptRun:
        """Run the script with canaries in its files and our plugin in its pytest."""
        token, tools = secrets.token_hex(8), self.site.tools
        mark = f"[{token}]"
        plugin = files(__package__).joinpath("watch.py").read_bytes()
        patience = max(LEAST_PATIENCE, PATIENCE * timeout)
        begin, end = self._at(START), self._at(END)
        lines = [
            "set -a",
            f". {tools}/laying.sh",  # which has the tests as they are without canaries
            "{ set +x; } 2> /dev/null",
            f"tar -xf {tools}/planted.tar",
            f"rm -f {tools}/planted.tar {tools}/prepared.tar {tools}/*.sh",
            "export SHELLOPTS",
            f"exec /bin/bash {tools}/tests",  # nothing of the above is left in the memory of a process
        ]
        tests = [
            "{",  # read whole before any of it runs
            "{ set +ax; export -n SHELLOPTS; } 2> /dev/null",
            f"rm -f {tools}/tests; forge_begun=$(date +@%s.%N); sleep 0.01",
            "set -x",
            *self._lines[begin : end + 1],
            *_look(tools, mark),
            *self._lines[end + 1 :],
            "}",
        ]
        bundle = {
            f"plugin/forge_{token}.py": plugin,
            "planted.tar": _packed(planting.files),
            "laying.sh": "\n".join(self._lines[:begin]).encode() + b"\n",
            "run.sh": "\n".join(lines).encode(),
            "tests": "\n".join([*tests, ""]).encode(),
        }
        place = self.site.put("bundle.tar", _packed(bundle))
        words = (
            f"PYTHONPATH={tools}/plugin${{PYTHONPATH:+:$PYTHONPATH}} PYTHONDONTWRITEBYTECODE=1 "
            f'PYTEST_ADDOPTS="-p forge_{token} ${{PYTEST_ADDOPTS-}}" '
            f"FORGE_WATCH_MARK={mark} FORGE_WATCH_PATIENCE={patience:g}"
        )
        command = f"tar -xf {place} -C {tools} && rm {place} && {words} /bin/bash {tools}/run.sh"
        return self._read(self._wait(command, timeout), mark)

    def _wait(self, command: str, timeout: float) -> Result:
        with waiting(f"the tests of {self.task.id}, which may take {timeout:g} s"):
            return self.site.run(command, timeout=timeout, head=LOG, tail=LOG)

    def _at(self, marker: str) -> int:
        return next(i for i, line in enumerate(self._lines) if marker in line)

    def _read(self, ran: Result, mark: str) -> ScriptRun:
        told: dict[str, str] = {}
        running, ended, looked = "", False, False
        touched: list[str] = []
        for words in _lines_of(ran.output, mark):
            kind, *rest = words
            if kind == "begin" and rest:
                running = rest[0]
            elif kind in _WORSE and rest:
                name = rest[0]
                told[name] = max(told.get(name, kind), kind, key=_WORSE.index)
                running = ""
            elif kind == "end":
                ended = True
            elif kind == "changed" and rest:
                looked = looked or rest[0].endswith(_LOOKED)
                touched.append(rest[0])
        log = re.sub(rf"\n{re.escape(mark)}[^\n]*\n", "", ran.output)
        old = frozenset(path for path in touched if path in self._before)
        new = frozenset(
            str(PurePosixPath(path).parent)
            for path in touched
            if path not in old and path.endswith(IMPORTED) and not path.endswith(_LOOKED)
        )
        return ScriptRun(log, ran.timed_out, told, "" if ended else running, ended, old, new, looked)


def _look(tools: str, mark: str) -> list[str]:
    """Lines that tell what was written since the tests began, and that they could tell."""
    return [
        "{ set +x; } 2> /dev/null",
        f"touch {tools}/{_LOOKED}",
        f'find . {tools} -path ./.git -prune -o {_LISTED} -newerct "$forge_begun" '
        rf"-printf '\n{mark}changed %p\n' 2> /dev/null",
        "set -x",
    ]


def _lines_of(output: str, mark: str) -> list[list[str]]:
    """What our plugin and our own look told, in order."""
    found: list[list[str]] = []
    for line in output.split("\n"):
        if not line.startswith(mark):
            continue
        text = line[len(mark) :]
        if text.startswith("changed "):
            found.append(["changed", text[len("changed ") :]])
            continue
        try:
            words: Any = json.loads(text)
        except ValueError:
            continue
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            found.append(words)
    return found


def _test_files(task: SweTask) -> set[str]:
    """The files of the tests that decide, as pytest's names begin."""
    names = (test.partition("::") for test in (*task.fail_to_pass, *task.pass_to_pass))
    return {
        path
        for path, colons, _ in names
        if colons and path.endswith(".py") and not path.startswith(("/", "-")) and ".." not in path.split("/")
    }


def _packed(found: Mapping[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, text in found.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text))
    return data.getvalue()


def _unpacked(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isfile() else None
                if file is not None:
                    found[entry.name] = file.read()
    except tarfile.TarError as error:
        raise unwell(f"the tests' files could not be read: {error}") from error
    return found


def _with_assets(script: str, assets: Mapping[str, bytes] | None, site: Site) -> str:
    """The script with lines that put binary files in place just before the tests, as the harness does."""
    lines = script.split("\n")
    at = next(i for i, line in enumerate(lines) if START in line)
    for number, (path, data) in enumerate((assets or {}).items()):
        source = site.put(f"assets/{number}", data)
        lines.insert(at, f'mkdir -p "$(dirname "{path}")" && cp "{source}" "{path}"')
    return "\n".join(lines)
