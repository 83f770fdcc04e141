"""An audit from start to end: every check on one target, each with its own excuse or finding."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from forge_envs.audit.bench import Budget, Rig
from forge_envs.audit.checks import CHECKS, asks
from forge_envs.audit.checks.machine import startup_fault
from forge_envs.audit.child import Died, Full, Hung, NotStarted, Raised
from forge_envs.audit.finding import Checked, Defect, Skipped
from forge_envs.audit.folder import Folder
from forge_envs.audit.harbor import HARBOR
from forge_envs.audit.target import Target


@dataclass(frozen=True)
class Audit:
    """What became of one target."""

    target: str
    results: tuple[Checked, ...]

    @property
    def findings(self) -> list[Checked]:
        """The checks that found something."""
        return [result for result in self.results if result.finding is not None]


def audit(target: Target, budget: Budget | None = None, checks: Collection[str] = ()) -> Audit:
    """Make every check, or those named. Raises NotStarted, and ValueError for a check nobody knows."""
    return Audit(str(target), tuple(results(target, budget or Budget(), checks)))


def results(target: Target, budget: Budget, checks: Collection[str] = ()) -> Iterator[Checked]:
    """One result after the other, as they come."""
    known = HARBOR if target.kind == "harbor" else CHECKS
    wanted = _wanted(checks, known)
    if target.kind == "harbor":
        with Folder(target.name, target.args, budget) as folder:
            for name in wanted:
                yield _made(name, asks(HARBOR[name]), lambda name=name: HARBOR[name](folder))  # type: ignore[misc]
        return
    bench = Rig(target, budget)
    try:
        fault = startup_fault(bench)
        if fault is not None:
            raise NotStarted(f"{fault}\n{bench.errors()}".strip())
        for name in wanted:
            yield _made(name, asks(CHECKS[name]), lambda name=name: CHECKS[name](bench))  # type: ignore[misc]
    finally:
        bench.close()


def _wanted(checks: Collection[str], known: Collection[str]) -> list[str]:
    wanted = []
    for name in checks:
        fitting = [one for one in known if name in (one, one.partition(".")[2], one.partition(".")[0])]
        if not fitting and not any(name in (one, one.partition(".")[2]) for one in CHECKS):
            raise ValueError(f"check {name!r} is unknown; known are {', '.join(known)}")
        wanted += fitting
    return list(dict.fromkeys(wanted)) if checks else list(known)


def _made(name: str, question: str, check: Callable[[], Defect | Skipped | None]) -> Checked:
    began = time.monotonic()
    try:
        got = check()
    except Full as error:
        got = Skipped(f"the target has room for fewer sessions than it takes: {error}")
    except (Raised, Hung, Died, NotStarted) as error:
        got = Skipped(f"the target failed on the way: {error}")
    finding = got if isinstance(got, Defect) else None
    skipped = got.reason if isinstance(got, Skipped) else None
    return Checked(name, question, finding, skipped, round(time.monotonic() - began, 3))
