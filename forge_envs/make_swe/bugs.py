"""Tasks from planted bugs: try, weigh, write, prove; each step is kept, so a run can be taken up again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.make_swe.choose import Chooser, Trial, weigh
from forge_envs.make_swe.edits import Source
from forge_envs.make_swe.errors import NoBugs
from forge_envs.make_swe.hide import MOST, CannotHide, hide
from forge_envs.make_swe.kinds import Bug, plant
from forge_envs.make_swe.lab import Baseline, Lab, token
from forge_envs.make_swe.leaks import leaks
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.prove import prove
from forge_envs.make_swe.store import Unproved, write_task
from forge_envs.make_swe.tell import tell
from forge_envs.make_swe.unfit import built
from forge_envs.sandbox.progress import Progress

BATCH = 8
"""Bugs that are tried in one go."""
DRY = 64
"""Bugs in a row that give no task, after which a package has given what it has."""


class Record:
    """Answers by key, one JSON line each, kept on disk as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:  # the line that was being written when the run was killed
                    continue
                self._known[entry["key"]] = entry["value"]
            path.write_text(
                "".join(json.dumps({"key": k, "value": v}) + "\n" for k, v in self._known.items()),
                encoding="utf-8",
            )

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._known[key] = value
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "value": value}) + "\n")


@dataclass
class BugMaker:
    """All that is needed to make tasks from bugs of one package."""

    package: Package
    lab: Lab
    base: Baseline
    state: Path
    out: Path
    seed: int
    kinds: Sequence[str]
    split: str
    severity: tuple[float, float]
    show: Progress
    counts: Counter[str] = field(default_factory=Counter)
    """What became of the bugs that were tried."""

    def __post_init__(self) -> None:
        self._trials = Record(self.state / f"trials-{self.severity[0]:g}-{self.severity[1]:g}.jsonl")
        self._proofs = Record(self.state / "proofs.jsonl")
        self._seen: set[tuple[str, str, tuple[str, ...]]] = set()

    def make(self, wanted: int) -> list[str]:
        """The ids of up to `wanted` tasks, each written and proved. Raises NoBugs, SandboxError."""
        if not self.package.sources:
            raise NoBugs(
                f"{self.package.label}: it has no Python source of its own: generated files and what is "
                f"compiled ({', '.join(built(self.package.files)[:3]) or 'none'}) are left out"
            )
        bugs = list(self._all())
        chooser, made, dry = Chooser(bugs, self.seed), list[str](), 0
        while len(made) < wanted and (batch := [bug for _ in range(BATCH) if (bug := chooser.next())]):
            if dry >= DRY:
                self.show.step(f"{self.package.label}: given up, {dry} bugs in a row gave no task")
                break
            for bug, trial in self._try(batch):
                if len(made) == wanted:
                    break
                task_id = f"forge__{self.package.label}-{bug.key[:8]}"
                reason = trial.reason or self._again(bug, trial) or self._finish(bug, trial, task_id)
                dry = dry + 1 if reason else 0
                if not reason:
                    made.append(task_id)
                    chooser.keep(bug)
                self.counts[reason.partition(":")[0] or "kept"] += 1
                self.show.detail(
                    f"{self.package.label}: {len(made)} of {wanted} tasks, {self.counts.total()} tried"
                )
        if not made:
            raise NoBugs(
                f"{self.package.label}: no bug was found among {len(bugs)} that its tests notice in a good "
                f"way ({_told(self.counts)}). Allow more kinds (--kinds), or give a package with more tests"
            )
        self.show.step(
            f"{self.package.label}: {len(made)} tasks of {len(bugs)} possible bugs; {_told(self.counts)}"
        )
        return made

    def _all(self) -> Iterator[Bug]:
        """Every bug in functions that tests reach."""
        for path in self.package.sources:
            try:
                source = Source(path, self.package.files[path])
            except (SyntaxError, ValueError):
                continue  # written for another Python
            for function in source.functions():
                if self.base.select(path, function.line):
                    yield from plant(source, function, self.kinds)

    def _try(self, batch: Sequence[Bug]) -> Iterator[tuple[Bug, Trial]]:
        """What the tests say of each bug; what was tried before is not tried again."""
        changes = []
        for bug in batch:
            if bug.key not in self._trials:
                planted = bug.planted(self.package.files[bug.path])
                if planted is None:
                    self._trials[bug.key] = {"reason": "no change"}
                else:
                    changes.append((bug.key, {bug.path: planted}, self.base.select(bug.path, bug.line)))
        if changes:
            for result in self.lab.trials(changes, self.base):
                bug = next(bug for bug in batch if bug.key == result["key"])
                reaching = self.base.select(bug.path, bug.line)
                trial = weigh(result, self.base, severity=self.severity, reaching=reaching)
                self._trials[result["key"]] = {
                    "reason": trial.reason,
                    "failed": trial.failed,
                    "passed": trial.passed,
                    "failures": dict(trial.failures),
                }
        for bug in batch:
            value = self._trials[bug.key]
            failed, passed = (tuple(value.get(name, ())) for name in ("failed", "passed"))
            yield bug, Trial(value["reason"], failed, passed, value.get("failures", {}))

    def _again(self, bug: Bug, trial: Trial) -> str:
        signature = (bug.path, bug.function, trial.failed)
        if signature in self._seen:
            return "like another"
        self._seen.add(signature)
        return ""

    # -- from a bug to a task ------------------------------------------------------------------------------

    def _finish(self, bug: Bug, trial: Trial, task_id: str) -> str:
        """Write and prove a task; returns why it is none, empty if it is."""
        if (self.out / "tasks" / task_id / "task.yaml").exists():
            return ""
        if task_id in self._proofs:
            return str(self._proofs[task_id])
        folder = self.state / "building" / task_id
        reason = self._write(bug, trial, task_id, folder) or prove(folder)
        self._proofs[task_id] = reason
        if not reason:
            (self.out / "tasks").mkdir(exist_ok=True)
            folder.rename(self.out / "tasks" / task_id)
        return reason

    def _write(self, bug: Bug, trial: Trial, task_id: str, folder: Path) -> str:
        files, places = self.package.files, self.base.places
        before, after = files[bug.path], bug.planted(files[bug.path])
        assert after is not None
        hidden = {places[nodeid] for nodeid in trial.failed}
        if len(hidden) > MOST * len({places[nodeid] for nodeid in self.base.good}):
            return "too many tests to hide"
        states = {"bug": {bug.path: after}, "gold": {bug.path: before}}
        told = tell(
            self.package, trial.failures, places, files, self.lab, states, seed=f"{self.seed}/{task_id}"
        )
        if isinstance(told, str):
            return told
        if leaked := leaks(told.text, bug.path, bug.function, before, after):
            return f"the statement leaks: {leaked[:3]}"
        try:
            tests = hide(files, hidden)
            draft = Unproved(
                task_id,
                self.package,
                {bug.path: after},
                {bug.path: before},
                tests,
                {path: files[path] for path in tests},
                told.text,
                tuple(token(nodeid) for nodeid in trial.failed),
                tuple(token(nodeid) for nodeid in trial.passed),
                {"made_by": bug.kind, "made_in": f"{bug.path}:{bug.function}"},
            )
            write_task(draft, folder, self.base, self.state / "image", self.split)
        except CannotHide as error:
            return f"hiding: {error}"
        return ""


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
