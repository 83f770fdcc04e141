"""Tasks from two releases of a package: the old one's source, judged by the new one's tests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forge_envs.make_swe.choose import Trial, weigh
from forge_envs.make_swe.errors import MakeError, NoBugs
from forge_envs.make_swe.hide import CannotHide
from forge_envs.make_swe.lab import Baseline, Lab, token
from forge_envs.make_swe.leaks import leaks
from forge_envs.make_swe.package import Package, fetch, is_test
from forge_envs.make_swe.prove import prove
from forge_envs.make_swe.settings import Settings, open_lab
from forge_envs.make_swe.statement import Issue
from forge_envs.make_swe.store import Unproved, write_task
from forge_envs.make_swe.tell import tell
from forge_envs.sandbox.progress import Progress

PAIR = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+):([A-Za-z0-9.!+_-]+)")
Files = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Pair:
    """Two releases, and the files that differ: those of the old one, and those of the new one."""

    old: Package
    new: Package
    sources: tuple[dict[str, bytes], dict[str, bytes]]
    tests: tuple[dict[str, bytes], dict[str, bytes]]

    @property
    def id(self) -> str:
        """The id of its task."""
        return f"forge__{self.old.label}-to-{self.new.version.lower()}"

    def without(self, paths: Collection[str]) -> Pair:
        """The same releases, these sources taken as equal."""
        before, after = ({p: d for p, d in side.items() if p not in paths} for side in self.sources)
        return replace(self, sources=(before, after))


def fetch_pair(pair: str, folder: Path) -> Pair:
    """The releases that NAME==OLD:NEW means. Raises ValueError, MakeError."""
    match = PAIR.fullmatch(pair)
    if match is None or match[2] == match[3]:
        raise ValueError(
            f"--release-pair {pair!r}: write two releases as NAME==OLD:NEW, tabulate==0.9.0:0.10.0"
        )
    old, new = (fetch(f"{match[1]}=={version}", folder) for version in (match[2], match[3]))
    _ = new.tests
    tests = _differ(old, new, is_test)
    sources = _differ(old, new, lambda path: path in {*old.sources, *new.sources})
    if not sources[1] or not tests[1]:
        raise NoBugs(f"{pair}: the releases do not differ in both source and tests; choose others")
    return Pair(old, new, sources, tests)


def _differ(old: Package, new: Package, wanted: Any) -> tuple[dict[str, bytes], dict[str, bytes]]:
    paths = {*old.files, *new.files}
    changed = {path for path in paths if wanted(path) and old.files.get(path) != new.files.get(path)}
    before, after = ({p: release.files[p] for p in changed if p in release.files} for release in (old, new))
    return before, after


def make_release(pair: str, settings: Settings, show: Progress) -> list[str]:
    """The one task of a pair, in a list. Raises ValueError, MakeError, SandboxError."""
    show.step(f"{pair}: fetching")
    releases = fetch_pair(pair, settings.out / ".make" / "sdists")
    if (settings.out / "tasks" / releases.id / "task.yaml").exists():
        show.step(f"{pair}: made before")
        return [releases.id]
    with open_lab(releases.old, settings, show) as (lab, old, state):
        releases = releases.without(lab.rewritten({*releases.sources[0], *releases.sources[1]}))
        base, trial, places = _try(releases, lab, settings.repeats, old.options)
        if trial.reason:
            raise NoBugs(
                f"{pair}: {trial.reason}. A task needs new tests that fail with the old source, "
                "others that pass with both, and no more than half that fail; choose closer releases"
            )
        folder = state / "building" / releases.id
        states = {"bug": _change(releases.tests), "gold": _change(releases.sources, releases.tests)}
        issue = tell(releases.old, trial.failures, places, releases.new.files, lab, states,
                     seed=f"{settings.seed}/{releases.id}")  # fmt: skip
        if isinstance(issue, str):
            raise NoBugs(f"{pair}: {issue}; choose other releases")
        _write(releases, trial, base, issue, folder, state / "image", settings)
        if reason := prove(folder):
            raise NoBugs(f"{pair}: {reason}; choose other releases")
        (settings.out / "tasks").mkdir(exist_ok=True)
        folder.rename(settings.out / "tasks" / releases.id)
    show.step(
        f"{pair}: {len(trial.failed)} tests fail with the old source, {len(trial.passed)} pass with both"
    )
    return [releases.id]


def _change(*sides: tuple[dict[str, bytes], dict[str, bytes]]) -> dict[str, bytes | None]:
    """The files that bring the old release's image to the new one's sources or tests."""
    paths = {path for before, after in sides for path in {*before, *after}}
    new = {path: data for _, after in sides for path, data in after.items()}
    return {path: new.get(path) for path in sorted(paths)}


def _latin(files: Mapping[str, bytes | None]) -> dict[str, str | None]:
    """Files as the driver's job holds them."""
    return {path: None if data is None else data.decode("latin-1") for path, data in files.items()}


def _try(
    pair: Pair, lab: Lab, repeats: int, options: list[str]
) -> tuple[Baseline, Trial, dict[str, tuple[str, int]]]:
    """The new tests with the old source, and with the new."""

    gold = {"key": "gold", "files": _latin(_change(pair.sources, pair.tests)), "trace": True}
    targets = pair.new.targets
    runs = lab.play([gold] * repeats, targets, options) + lab.play([gold], targets, options, user="root")
    for run in runs:
        if run["end"] != "done" or run["broken"] or not run["tests"]:
            why = run["broken"][:1] or run.get("log") or run["end"]
            raise MakeError(f"{pair.id}: the new release's tests do not run in the old one's image: {why}")
    passed = set.intersection(*({n for n, s in run["tests"].items() if s == "passed"} for run in runs))
    names = Counter(map(token, runs[0]["tests"]))
    places = {nodeid: (str(path), int(line)) for nodeid, (path, line) in runs[0]["places"].items() if path}
    good = sorted(nodeid for nodeid in passed if names[token(nodeid)] == 1 and nodeid in places)
    base = Baseline(targets, options, good, len(runs[0]["tests"]) - len(good), runs[0]["seconds"], places, {})
    old = lab.play([{"key": "old", "files": _latin(_change(pair.tests))}], targets, options)[0]
    return base, weigh(old, base), places


def _write(
    pair: Pair,
    trial: Trial,
    base: Baseline,
    issue: Issue,
    folder: Path,
    shared: Path,
    settings: Settings,
) -> None:
    before, after = pair.sources
    for path in sorted({*before, *after}):
        if told := leaks(issue.text, path, "", before.get(path, b""), after.get(path, b"")):
            raise NoBugs(f"{pair.id}: the statement leaks {told[:3]} of {path}; choose other releases")
    draft = Unproved(
        pair.id,
        pair.old,
        *pair.sources,
        *pair.tests,
        issue.text,
        tuple(map(token, trial.failed)),
        tuple(map(token, trial.passed)),
        {"made_by": "release", "made_in": f"{pair.old.version}:{pair.new.version}"},
    )
    try:
        write_task(draft, folder, base, shared, settings.split)
    except CannotHide as error:
        raise MakeError(str(error)) from error
