"""Whether a run that looks resolved is believed: canaries, doors beside passing, and files that were written.

Nothing is held against a patch that gold does as well. Gold is asked only where a run shows something that
is not plain, in a fresh box: once a task in a process, and for canaries with the very ones of that run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forge_envs.worlds.swe.canaries import Canary, Planting
from forge_envs.worlds.swe.script_run import GOOD, ScriptRun
from forge_envs.worlds.swe.task import SweTask

BAD = ("FAILED", "ERROR")
NOT_ENDED = "the tests did not end by themselves: pytest did not say so"
NO_FAILURE = "a test that must fail did not"
NO_SUCCESS = "a test that must pass did not"
AGAIN = "in the second run, with other expected values, "
"""What reasons of the second run begin with."""


@dataclass(frozen=True)
class GoldRuns:
    """What gold says about a run: `same` with the run's own canaries, `once` with any, remembered."""

    same: Callable[[], ScriptRun]
    once: Callable[[], ScriptRun]


def doubt(task: SweTask, planting: Planting, trial: ScriptRun, control: GoldRuns) -> str:
    """Why a run in which every test passed is not believed; empty if it is. Raises MachineError."""
    if not trial.ended:
        return NOT_ENDED
    if not trial.looked:
        return "files could not be looked at after the tests"
    odd = [canary for canary in planting.canaries if not _is_as_it_must(canary, trial)]
    if odd:
        gold = control.same()
        for canary in odd:
            if statuses(canary, trial.told) != statuses(canary, gold.told):
                return NO_FAILURE if canary.fails else NO_SUCCESS
    decisive = {test.split()[0] for test in (*task.fail_to_pass, *task.pass_to_pass) if test.split()}
    doors = {
        name: status
        for name, status in trial.told.items()
        if status != GOOD and name.split() and name.split()[0] in decisive
    }
    if doors:
        gold = control.once()
        for name, status in doors.items():
            if gold.told.get(name) != status:
                return f"{name} was reported {status}, which it is not with gold"
    if trial.changed or trial.new:
        gold = control.once()
        if written := sorted(trial.changed - gold.changed) or sorted(trial.new - gold.new):
            return f"{written[0]} was written to while the tests ran"
    return ""


def doubt_again(task: SweTask, planting: Planting, trial: ScriptRun, gold: Callable[[], ScriptRun]) -> str:
    """Why a second run, in which some of the tests that decide were changed, is not believed; empty if it is.

    What was changed must fail, and nothing else. Raises MachineError.
    """
    if not trial.ended:
        return AGAIN + NOT_ENDED
    odd = [canary for canary in planting.canaries if not _is_as_it_must(canary, trial)]
    changed = {name for canary in planting.canaries for name in statuses(canary, trial.told)}
    told = {name.split()[0]: status for name, status in trial.told.items() if name.split()}
    others = {
        test: told.get(test, "")
        for test in (name.split()[0] for name in (*task.fail_to_pass, *task.pass_to_pass) if name.split())
        if test not in changed and told.get(test) != GOOD
    }
    if not odd and not others:
        return ""
    right = gold()
    for canary in odd:
        if statuses(canary, trial.told) != statuses(canary, right.told):
            return AGAIN + (NO_FAILURE if canary.fails else NO_SUCCESS)
    known = {name.split()[0]: status for name, status in right.told.items() if name.split()}
    for test, status in others.items():
        if known.get(test, "") != status:
            return f"{AGAIN}{test} was reported {status or 'by nobody'}"
    return ""


def spoiled(trial: ScriptRun, shares: tuple[float, float]) -> bool:
    """Whether canaries, and not the patch, may be why tests fail: some pass, and not only those of old."""
    mended, kept = shares
    return trial.ended and (kept < 1.0 or 0.0 < mended < 1.0)


def statuses(canary: Canary, told: Mapping[str, str]) -> dict[str, str]:
    """What was told of a canary, by the names under which it ran."""
    found = {}
    for name, status in told.items():
        path, _, inside = name.partition("::")
        if path == canary.path and inside.partition("[")[0].rpartition("::")[2] == canary.name:
            found[name] = status
    return found


def _is_as_it_must(canary: Canary, trial: ScriptRun) -> bool:
    found = set(statuses(canary, trial.told).values())
    return bool(found) and found <= set(BAD if canary.fails else (GOOD,))
