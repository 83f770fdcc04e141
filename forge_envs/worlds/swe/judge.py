"""The verdict on a patch: a fresh box, the official evaluation script, swebench's parser and grader.

What the guard cannot prove: a solution runs in the process of the tests that judge it. For published rows,
where nothing of ours runs beside the tests, it is enough to print a whole session and to leave with status
0. Only tests in another process than the solution could tell, and published ones are not.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from forge_envs.sandbox import Result, SandboxError
from forge_envs.sandbox.beside import Beside, let_go
from forge_envs.worlds.swe.canaries import Planting, change, plant
from forge_envs.worlds.swe.control import GoldRuns, doubt, doubt_again, spoiled
from forge_envs.worlds.swe.effects import APPLYING, apply, new_modules, restore, text_of
from forge_envs.worlds.swe.guard import Guard
from forge_envs.worlds.swe.logs import as_file, contradiction
from forge_envs.worlds.swe.patch import Part, PatchError, join, parts, take
from forge_envs.worlds.swe.script_run import ScriptRun, Stage
from forge_envs.worlds.swe.site import Ground, Site, broke, open_site, require_box, unwell
from forge_envs.worlds.swe.task import SweTask

__all__ = ["APPLYING", "PatchVerdict", "judge"]

_NO_SPACE = re.compile(r"No space left|Errno 28\b|disk is full")
NOTHING_LEFT = "nothing is left of the patch"
LEAST_LIMIT = 16_000_000
"""Bytes that a patch may have at least when it is written anew."""


@dataclass(frozen=True)
class PatchVerdict:
    """How a patch did. The shares are those of tests that do what they should."""

    resolved: bool
    reason: str = ""
    """Why it did not, for people; never shown to the agent."""
    applied: bool = False
    fail_to_pass: float = 0.0
    pass_to_pass: float = 0.0
    dropped: tuple[str, ...] = ()
    """Files of the patch that were not judged."""
    log: str = ""

    @property
    def parts(self) -> dict[str, float]:
        """What a score tells beside the verdict."""
        return {
            "applied": float(self.applied),
            "fail_to_pass": self.fail_to_pass,
            "pass_to_pass": self.pass_to_pass,
            "files_not_judged": float(len(self.dropped)),
        }


def judge(
    task: SweTask, patch: bytes, ground: Ground, *, guard: bool = True, timeout: float = 1_800.0
) -> PatchVerdict:
    """Whether a patch resolves a task.

    With `guard=False` the verdict is the official harness's own. With `guard=True` a patch must also be what
    our box writes, do what it says, and leave alone what runs the tests; and the log must agree with itself
    or, for a task that is watched, the run must be believed (`control`). Raises MachineError.
    """
    if not patch.strip():
        return PatchVerdict(False, "the patch is empty")
    if not guard:
        return _official_verdict(task, patch, ground, timeout)
    rule = Guard(task)
    try:
        kept, dropped = rule.split(_read(task, patch, ground))
    except PatchError as error:
        return PatchVerdict(False, str(error))
    found = _guarded(task, kept, dropped, ground, timeout, gentle=_key(task, ground) in _SENSITIVE)
    if found is None:  # canaries among its tests are too much for this task
        _SENSITIVE.add(_key(task, ground))
        found = _guarded(task, kept, dropped, ground, timeout, gentle=True)
        assert found is not None
    if not found.resolved and _NO_SPACE.search(found.log):
        require_box(task, ground)
    return found


def _read(task: SweTask, patch: bytes, ground: Ground) -> list[Part]:
    """The parts of a patch. One that git did not write, or that moves files, is what it does in a fresh box,
    as git writes that. Raises PatchError, MachineError."""
    try:
        return parts(patch)
    except PatchError:
        site = open_site(task, ground)
        try:
            if reason := _refusal(task, apply(site, patch).ran, ground):
                raise PatchError(reason) from None
            return parts(take(site, max(LEAST_LIMIT, 4 * len(patch))))
        finally:
            site.close()


def _official_verdict(task: SweTask, patch: bytes, ground: Ground, timeout: float) -> PatchVerdict:
    site = open_site(task, ground, judged=True)
    try:
        if reason := _refusal(task, apply(site, patch).ran, ground):
            return PatchVerdict(False, reason)
        try:
            stage = Stage(task, site)
            trial = stage.plain(timeout)
            found = _told_by_log(task, stage, trial, timeout, ())
        except SandboxError as error:
            found = _broken(task, site, ground, error, ())
    finally:
        site.close()
    if not found.resolved and _NO_SPACE.search(found.log):
        require_box(task, ground)
    return found


def _guarded(
    task: SweTask, kept: list[Part], dropped: list[str], ground: Ground, timeout: float, *, gentle: bool
) -> PatchVerdict | None:
    """The verdict with the guard on; None where tests fail that fail with gold too, canaries among them."""
    if not kept:
        return PatchVerdict(False, NOTHING_LEFT, dropped=tuple(dropped))
    if not task.watched or gentle:
        return _first(task, kept, dropped, ground, timeout, None, gentle=gentle)
    second = _SecondRun(task, ground, timeout)
    try:
        seen = _first(task, kept, dropped, ground, timeout, second, gentle=gentle)
        if seen is None or not seen.resolved:
            return seen
        reason = second.reason()
        return replace(seen, resolved=not reason, reason=reason)
    finally:
        second.drop()


def _first(
    task: SweTask,
    kept: list[Part],
    dropped: list[str],
    ground: Ground,
    timeout: float,
    second: _SecondRun | None,
    *,
    gentle: bool,
) -> PatchVerdict | None:
    """The verdict on the first run; `second` is given what it needs to begin."""
    rule = Guard(task)
    site = open_site(task, ground, judged=True)
    try:
        strange = new_modules(site, task, [part for part in kept if part.is_new])
        left = [part for part in kept if part.path not in strange]
        without = [*dropped, *sorted(strange)]
        if not left:
            return PatchVerdict(False, NOTHING_LEFT, dropped=tuple(without))
        settings = {path: text_of(site, path) for path in rule.settings(left)}
        if second is not None:
            second.give(join(left), settings)
        applied = apply(site, join(left))
        reason = _refusal(task, applied.ran, ground) or applied.beyond(part.path for part in left)
        if reason:
            return PatchVerdict(False, reason, dropped=tuple(without))
        told = (*without, *restore(site, settings))
        try:
            if not task.watched:
                stage = Stage(task, site)
                found = _told_by_log(task, stage, stage.plain(timeout), timeout, told)
                doubts = contradiction(found.log) if found.resolved else None
                return replace(found, resolved=False, reason=doubts) if doubts else found
            return _watched(task, site, ground, timeout, told, gentle=gentle)
        except SandboxError as error:
            return _broken(task, site, ground, error, told)
    finally:
        let_go(ground.sandbox, site.close)


class _SecondRun:
    """Of tests that passed: in a fresh box, some of their expected values are others, and they must fail.

    Its box is got ready, and its tests run, beside the first run where they can (`Beside`).
    """

    def __init__(self, task: SweTask, ground: Ground, timeout: float) -> None:
        self._task, self._ground, self._timeout = task, ground, timeout
        self._given: Future[tuple[bytes, Mapping[str, str]]] = Future()
        self._run = Beside(ground.sandbox, self._try)

    def give(self, patch: bytes, settings: Mapping[str, str]) -> None:
        """What is judged, and what settings files held before it."""
        self._given.set_result((patch, settings))

    def reason(self) -> str:
        """Why tests that passed are not believed; empty where they are, and where none can be changed."""
        found = self._run.result()
        if isinstance(found, str):
            return found
        task, ground, timeout, (planting, trial) = self._task, self._ground, self._timeout, found
        return doubt_again(task, planting, trial, lambda: _gold_trial(task, ground, planting, timeout))

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self._given.cancel()
        self._run.drop()

    def _try(self, run: Beside[tuple[Planting, ScriptRun] | str]) -> tuple[Planting, ScriptRun] | str:
        """The run, or why there is none that counts; empty where no test can be changed."""
        task = self._task
        site = open_site(task, self._ground, judged=True)
        try:
            run.keep(site.close)
            patch, settings = self._given.result()
            apply(site, patch)
            restore(site, settings)
            stage = Stage(task, site)
            files = stage.prepare(self._timeout)
            planting = change(files, task.fail_to_pass, task.pass_to_pass, _CHANCE)
            return (planting, stage.watched(planting, self._timeout)) if planting.canaries else ""
        except SandboxError as error:
            return "" if run.dropped else _broken(task, site, self._ground, error, ()).reason
        finally:
            let_go(self._ground.sandbox, site.close)


def _refusal(task: SweTask, ran: Result, ground: Ground) -> str:
    """Why a patch was not applied; empty if it was. Where git was stopped, or the disk was full, before it
    could say, gold tells a patch that is too much for its box from a machine that fails."""
    unclear = ran.timed_out or ran.code > 128 or _NO_SPACE.search(ran.output)
    if unclear and not _gold_applies(task, ground):
        raise unwell(f"no patch can be applied in a fresh box of {task.image!r}")
    return "the patch does not apply" if unclear or ran.code != 0 else ""


def _gold_applies(task: SweTask, ground: Ground) -> bool:
    site = open_site(task, ground, judged=True)
    try:
        ran = apply(site, task.patch.encode()).ran
        return ran.code == 0 and not ran.timed_out and not _NO_SPACE.search(ran.output)
    finally:
        site.close()


def _broken(
    task: SweTask, site: Site, ground: Ground, error: SandboxError, dropped: tuple[str, ...]
) -> PatchVerdict:
    """The verdict on a patch whose tests broke their box. Raises `error` where the machine failed."""
    if not broke(site.box, error, task, ground):
        raise error
    return PatchVerdict(False, f"the tests broke their box: {error}", True, dropped=dropped)


def _told_by_log(
    task: SweTask, stage: Stage, trial: ScriptRun, timeout: float, dropped: tuple[str, ...]
) -> PatchVerdict:
    """The official verdict on a run."""
    if trial.timed_out:
        reason = f"the tests needed more than {timeout:g} s"
        if trial.running:
            reason += f": {trial.running} had begun and did not end"
        return PatchVerdict(False, reason, applied=True, dropped=dropped, log=trial.log)
    report = _official(task, stage.spec, trial.log)
    status = report.get("tests_status", {})
    reason = ""
    if not report["patch_successfully_applied"]:
        reason = "the log has no results that count"
    elif not report["resolved"]:
        reason = "tests fail"
    mended, unspoiled = (_share(status.get(key)) for key in ("FAIL_TO_PASS", "PASS_TO_PASS"))
    return PatchVerdict(not reason, reason, True, mended, unspoiled, dropped, trial.log)


def _watched(
    task: SweTask, site: Site, ground: Ground, timeout: float, dropped: tuple[str, ...], *, gentle: bool
) -> PatchVerdict | None:
    """The verdict on a watched run with canaries; None where gold fails with canaries as well."""
    stage = Stage(task, site)
    decisive = (*task.fail_to_pass, *task.pass_to_pass)
    files = stage.prepare(timeout)
    planting = plant(files, decisive, _CHANCE, gentle=gentle)
    trial = stage.watched(planting, timeout)
    found = _told_by_log(task, stage, trial, timeout, dropped)
    shares = _shares_told(task, trial)
    found = replace(
        found,
        fail_to_pass=min(found.fail_to_pass, shares[0]),
        pass_to_pass=min(found.pass_to_pass, shares[1]),
    )
    control = GoldRuns(
        same=lambda: _gold_trial(task, ground, planting, timeout),
        once=lambda: _remembered(task, ground, planting, timeout),
    )
    if found.resolved:
        reason = doubt(task, planting, trial, control)
        if not reason and shares != (1.0, 1.0):
            reason = "the log and pytest's own report differ"
        return replace(found, resolved=not reason, reason=reason)
    if trial.running and not trial.ended:
        reason = f"{found.reason}; {trial.running} had begun and did not end"
        return found if trial.timed_out else replace(found, reason=reason)
    if not gentle and spoiled(trial, shares) and _shares_told(task, control.once()) != (1.0, 1.0):
        return None
    return found


_CHANCE = random.SystemRandom()
_SENSITIVE: set[tuple[str, ...]] = set()
"""Tasks whose own tests fail when canaries run among them; they get theirs at the end alone."""
_GOLD: dict[tuple[str, ...], ScriptRun] = {}
"""What gold's run of a task showed, without its log."""


def _key(task: SweTask, ground: Ground) -> tuple[str, ...]:
    return task.id, task.image, task.patch, task.eval_script, ground.sandbox


def _remembered(task: SweTask, ground: Ground, planting: Planting, timeout: float) -> ScriptRun:
    key = (*_key(task, ground), *task.fail_to_pass)
    if key not in _GOLD:
        _GOLD[key] = replace(_gold_trial(task, ground, planting, timeout), log="")
    return _GOLD[key]


def _gold_trial(task: SweTask, ground: Ground, planting: Planting, timeout: float) -> ScriptRun:
    """Gold's run in a fresh box with these canaries."""
    site = open_site(task, ground, judged=True)
    try:
        applied = apply(site, task.patch.encode()).ran
        if applied.code != 0:
            raise unwell(f"gold of {task.id} does not apply: {applied.output[-300:]}")
        stage = Stage(task, site)
        stage.prepare(timeout)
        return stage.watched(planting, timeout)
    finally:
        site.close()


def _shares_told(task: SweTask, trial: ScriptRun) -> tuple[float, float]:
    """Shares of FAIL_TO_PASS and PASS_TO_PASS that do what they should by what our plugin told."""
    from swebench.harness.constants import EvalType
    from swebench.harness.grading import get_eval_tests_report

    tests = {name.split()[0]: status for name, status in trial.told.items() if name.split()}
    gold = {"FAIL_TO_PASS": list(task.fail_to_pass), "PASS_TO_PASS": list(task.pass_to_pass)}
    status = get_eval_tests_report(tests, gold, eval_type=EvalType(task.eval_type))
    return _share(status["FAIL_TO_PASS"]), _share(status["PASS_TO_PASS"])


def _official(task: SweTask, spec: Any, log: str) -> dict[str, Any]:
    """swebench's report on a log."""
    from swebench.harness.grading import get_eval_report

    prediction = {"instance_id": task.id, "model_name_or_path": "agent", "model_patch": "patch"}
    with as_file(log) as path:
        report: dict[str, Any] = get_eval_report(spec, prediction, path, True)[task.id]
    return report


def _share(found: Mapping[str, list[str]] | None) -> float:
    if found is None:
        return 0.0
    good, bad = len(found["success"]), len(found["failure"])
    return good / (good + bad) if good + bad else 1.0
