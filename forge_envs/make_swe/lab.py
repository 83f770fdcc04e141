"""Where changes are tried: a box with the package in it, and our driver that runs its tests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from forge_envs.make_swe.advice import about_tests
from forge_envs.make_swe.errors import TestsFail
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.witness import PATIENCE
from forge_envs.sandbox import Limits, Sandbox, SandboxError, provider

ARGUMENTS = ("-q", "--tb=no", "-p", "no:cacheprovider")
PLACE = "/tmp/forge-make"
END = "EOF_FORGE_5b1f0c27"
"""Ends a text within a command, and a part of what it says."""
LIMITS = Limits(cpus=1.0, memory_mb=2048, pids=256, disk_mb=2048, lifetime=7_200.0)
USAGE = 4
"""Exit status of pytest when it does not know its options: a plugin that they belong to is missing."""
PLUGINS = {
    "xdist": ("-n0",),
    "randomly": ("-p", "no:randomly"),
    "random_order": ("-p", "no:random_order"),
    "rerunfailures": ("-p", "no:rerunfailures"),
    "sugar": ("-p", "no:sugar"),
    "benchmark": ("--benchmark-disable",),
    "pytest_cov": ("--no-cov",),
}
"""Plugins by the names under which pytest finds them, and what makes tests run one by one, in order, once."""
ASKED = "import importlib.metadata as m; print(*(e.name for e in m.entry_points(group='pytest11')))"
UNSTEADY = 5
"""Runs more where tests have other names each time; some of them are there in the first runs by chance."""
FEWEST = 0.5
"""Share of tests that must pass before anything is changed."""


@dataclass(frozen=True)
class Baseline:
    """What the tests do before anything is changed."""

    targets: list[str]
    """What pytest is given."""
    options: list[str]
    """What pytest is told on top, so that it runs here at all."""
    good: list[str]
    """Tests that always pass and whose names swebench's parser reads apart."""
    left_out: int
    """Tests that fail, are skipped, change from run to run, or have names that cannot be told apart."""
    seconds: float
    places: dict[str, tuple[str, int]]
    """Where each test is written: file, and line of its function."""
    reached: dict[str, list[str]]
    """`file:line` of each function of the repository, and the tests that reach it."""

    def select(self, path: str, line: int) -> list[str]:
        """The tests that reach a function."""
        return self.reached.get(f"{path}:{line}", [])


def token(nodeid: str) -> str:
    """A test as swebench's parser of pytest's summary reads its name: up to the first blank."""
    return (nodeid.split() or [""])[0]


class Lab:
    """A package's boxes; use it in a `with` statement."""

    def __init__(self, package: Package, tags: Mapping[str, str], timeout: float = 60.0) -> None:
        self.package, self.tags, self.timeout = package, tags, timeout
        self._boxes: dict[str, Sandbox] = {}
        self._jobs = 0

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for box in self._boxes.values():
            with suppress(SandboxError):
                box.close()
        self._boxes.clear()

    def play(
        self,
        items: Sequence[Mapping[str, Any]],
        targets: Sequence[str],
        options: Sequence[str],
        user: str = "forge",
    ) -> list[dict[str, Any]]:
        """Have the driver do a list of things; returns its results. Raises SandboxError."""
        self._jobs += 1
        job = {
            "root": "/testbed",
            "out": f"{PLACE}/{self._jobs}.jsonl",
            "args": [*ARGUMENTS, *options],
            "targets": list(targets),
            "timeout": self.timeout,
            "items": list(items),
        }
        for attempt in (1, 2):
            try:
                return self._play(self._box(user), job, len(items))
            except SandboxError as error:
                if attempt == 2 or not error.retryable:
                    raise
                self._boxes.pop(user).close()
        raise AssertionError("unreachable")

    def rewritten(self, paths: Iterable[str]) -> set[str]:
        """Those of these files that installing the package wrote: versions, mostly."""
        found = set()
        for path in paths:
            try:
                data = self._box("forge").read(f"/testbed/{path}")
            except FileNotFoundError:
                data = None
            if data != self.package.files.get(path):
                found.add(path)
        return found

    def _box(self, user: str) -> Sandbox:
        if user not in self._boxes:
            box = provider("docker").open(self.tags[user], limits=LIMITS)
            self._boxes[user] = box
            for name in ("driver.py", "witness.py"):
                box.write(f"{PLACE}/{name}", files(__package__).joinpath(name).read_bytes())
        return self._boxes[user]

    def _play(self, box: Sandbox, job: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        limit = 60.0 + count * 2 * self.timeout
        said, answer = put_and_run(box, "driver.py", job, f"{PLACE}/{self._jobs}.json", limit)
        lines = answer.splitlines()
        if said and len(lines) < count:
            text = f"the driver of {self.package.label} {said}"
            raise SandboxError(text, kind="driver", retryable=not lines)
        return [json.loads(line) for line in lines]

    def witness(
        self,
        states: Mapping[str, Mapping[str, bytes | None]],
        scripts: Sequence[Mapping[str, str]],
        *,
        warm: bool = False,
    ) -> dict[str, Any]:
        """What scripts do in each state of the files, twice: see `witness`. Raises SandboxError.

        `warm` imports what they import once for all of them, which is quicker and not quite what a user does.
        """
        self._jobs += 1
        out, name = f"{PLACE}/{self._jobs}.answers", f"{PLACE}/{self._jobs}.scripts"
        job = {
            "root": "/testbed",
            "out": out,
            "scripts": list(scripts),
            "warm": warm,
            "states": {
                state: {path: None if data is None else data.decode("latin-1") for path, data in held.items()}
                for state, held in states.items()
            },
        }
        limit = 120.0 + 4 * PATIENCE * len(scripts)
        said, answer = put_and_run(self._box("forge"), "witness.py", job, name, limit)
        if said:
            text = f"the witness of {self.package.label} {said}"
            raise SandboxError(text, kind="driver", retryable=False)
        found: dict[str, Any] = json.loads(answer)
        return found

    # -- before anything is changed ------------------------------------------------------------------------

    def baseline(self, repeats: int = 3) -> Baseline:
        """Which tests can be relied on. Raises TestsFail."""
        first, targets, options = self._first()
        runs = [first]
        for _ in range(repeats - 1):  # one process each: another hash seed
            runs += self.play([{"key": "again"}], targets, options)
        runs += self.play(
            [{"key": "root"}], targets, options, user="root"
        )  # as the official harness runs them
        unsteady = len({frozenset(run["tests"]) for run in runs}) > 1  # names from a set, in its order
        if unsteady:
            for _ in range(UNSTEADY):
                runs += self.play([{"key": "again"}], targets, options)
        passed = set.intersection(*({n for n, s in run["tests"].items() if s == "passed"} for run in runs))
        known = set().union(*(run["tests"] for run in runs))
        names = Counter(token(nodeid) for nodeid in known)
        good = sorted(nodeid for nodeid in passed if names[token(nodeid)] == 1 and nodeid in first["places"])
        if len(good) < max(1, FEWEST * len(known)):
            if unsteady:
                fewest = len(set.intersection(*(set(run["tests"]) for run in runs)))
                raise TestsFail(
                    f"{self.package.label}: only {fewest} of its tests have the same names in all of "
                    f"{len(runs)} runs, others are named by what changes (a set's order, chance): choose "
                    "another package"
                )
            raise TestsFail(self._why(first, len(passed), len(known)))
        reached: dict[str, list[str]] = {}
        for nodeid in good:
            for path, line in first["reached"].get(nodeid, ()):
                reached.setdefault(f"{path}:{line}", []).append(nodeid)
        places = {nodeid: (str(path), int(line)) for nodeid, (path, line) in first["places"].items() if path}
        good = [nodeid for nodeid in good if nodeid in places]
        return Baseline(targets, options, good, len(known) - len(good), first["seconds"], places, reached)

    def _first(self) -> tuple[dict[str, Any], list[str], list[str]]:
        """The first run that finds tests: as the repository wants, then without its options, then by file."""
        targets = self.package.targets
        no_tests = ("__init__.py", "conftest.py")
        by_file = [p for p in self.package.tests if p.endswith(".py") and not p.endswith(no_tests)]
        plain = self._quiet()
        result: dict[str, Any] = {}
        for chosen in (targets, by_file):
            for options in (plain, ["-o", "addopts=", *plain]):
                result = self.play([{"key": "first", "trace": True}], chosen, options)[0]
                if result["tests"]:
                    return result, chosen, options
                if result.get("exit") != USAGE:
                    break
        raise TestsFail(self._why(result, 0, 0))

    def _quiet(self) -> list[str]:
        """Options against plugins that are installed and that spread, shuffle, repeat or measure tests."""
        asked = self._box("forge").run(f'python3 -c "{ASKED}"', timeout=60.0)
        names = set(asked.output.split()) if asked.code == 0 else set()
        return [option for name, options in PLUGINS.items() if name in names for option in options]

    def _why(self, run: Mapping[str, Any], passed: int, known: int) -> str:
        said = "\n".join([*run["broken"][:2], run.get("log", "")]).strip()
        messages = [
            f"{n}: {facts['type']}: {facts['message'][:200]}" for n, facts in run.get("failures", {}).items()
        ]
        advice = about_tests(run, said, messages, self.timeout)
        return (
            f"{self.package.label}: {passed} of {known} tests pass before anything is changed.\n"
            f"{said or chr(10).join(messages[:3])}\n{advice}"
        )

    # -- with a change -------------------------------------------------------------------------------------

    def trials(
        self, changes: Sequence[tuple[str, Mapping[str, bytes], Sequence[str]]], base: Baseline
    ) -> Iterator[Any]:
        """Run changes, each a key, files and the tests to ask first; yields the driver's results in order."""
        items = [
            {
                "key": key,
                "files": {p: d.decode("latin-1") for p, d in changed.items()},
                "select": list(select),
                "of": len(base.good),
            }
            for key, changed, select in changes
        ]
        yield from self.play(items, base.targets, base.options)


def put_and_run(
    box: Sandbox, program: str, job: Mapping[str, Any], name: str, limit: float
) -> tuple[str, str]:
    """Put a job into a box, have a program do it, and read its answer, in one command: each waits its turn.

    Returns how it failed, empty if it did not, and the answer so far. Raises SandboxError.
    """
    command = (
        f"{written(name, json.dumps(job))}"
        f"python3 {PLACE}/{program} {name} >{name}.log 2>&1; code=$?\n"
        f"cat {job['out']} 2>/dev/null; echo {END}; tail -c 1500 {name}.log; exit $code"
    )
    ended = box.run(command, timeout=limit, cwd="/testbed", head=1 << 30)
    answer, end, log = ended.output.rpartition(f"{END}\n")
    if end and ended.code == 0:
        return "", answer
    return f"ended with {ended.code}: {log[-1500:]}", answer


def written(path: str, text: str) -> str:
    """A command that writes a text file, with a line end at its end."""
    return f"cat >{path} <<'{END}'\n{text.removesuffix(chr(10))}\n{END}\n"


def save(base: Baseline, path: Path) -> None:
    """Keep a baseline for the next run."""
    path.write_text(json.dumps(asdict(base)))


def load(path: Path) -> Baseline:
    """A baseline that was kept."""
    data = json.loads(path.read_text())
    return Baseline(**{**data, "places": {n: (p, line) for n, (p, line) in data["places"].items()}})
