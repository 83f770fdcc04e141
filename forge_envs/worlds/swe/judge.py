"""The verdict on a patch: a fresh box, the official evaluation script, swebench's parser and grader.

What the guard cannot prove: a solution runs in the process of the tests that judge it. Code written against
`watch` itself can find the report's name in memory, write what it likes, let the canary fail and leave. For
published rows, where nothing of ours runs beside the tests, it is enough to print a whole session and to
leave with status 0. Only tests in another process than the solution could tell, and published ones are not.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from forge_envs.sandbox import SandboxError
from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.guard import Guard, decides
from forge_envs.worlds.swe.logs import as_file, contradiction
from forge_envs.worlds.swe.patch import Part, PatchError, join, parts
from forge_envs.worlds.swe.site import Ground, Site, broke, open_site, require_box, unwell
from forge_envs.worlds.swe.task import START, SweTask

APPLYING = 300.0
_NO_SPACE = re.compile(r"No space left|Errno 28\b|disk is full")
BROKEN = "["
"""Stands for settings that cannot be read."""
LOG = 16_000_000
"""Characters that are kept of a log at each end."""


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
    our box writes, parts that touch what runs the tests are left out, and the log must agree with itself and,
    for a task that is watched, with what pytest reported beside it. Raises MachineError.
    """
    if not patch.strip():
        return PatchVerdict(False, "the patch is empty")
    kept: list[Part] = []
    dropped: list[str] = []
    rule = Guard(task)
    if guard:
        try:
            kept, dropped = rule.split(parts(patch))
        except PatchError as error:
            return PatchVerdict(False, str(error))
        patch = join(kept)
        if not patch:
            return PatchVerdict(False, "nothing is left of the patch", dropped=tuple(dropped))
    site = open_site(task, ground, judged=True)
    try:
        settings = {path: _text(site, path) for path in rule.settings(kept)}
        applied = _apply(site, patch)
        if not applied:
            if applied is None and not _gold_applies(task, ground):
                raise unwell(f"no patch can be applied in a fresh box of {task.image!r}")
            return PatchVerdict(False, "the patch does not apply", dropped=tuple(dropped))
        dropped += _restore(site, settings)
        try:
            found = _evaluate(task, site, guard=guard, timeout=timeout, dropped=tuple(dropped))
        except SandboxError as error:
            if not broke(site.box, error, task, ground):
                raise
            return PatchVerdict(False, f"the tests broke their box: {error}", True, dropped=tuple(dropped))
    finally:
        site.close()
    if not found.resolved and _NO_SPACE.search(found.log):
        require_box(task, ground)
    return found


def _apply(site: Site, patch: bytes) -> bool | None:
    """Whether it applies; None where git was stopped, or the disk was full, before it could say."""
    path = site.put("patch.diff", patch)
    done = site.run(git.APPLY, timeout=APPLYING, env={"PATCH": path})
    if done.timed_out or done.code > 128 or _NO_SPACE.search(done.output):
        return None
    return done.code == 0


def _gold_applies(task: SweTask, ground: Ground) -> bool:
    """The same with gold, which tells a patch that is too much for its box from a machine that fails."""
    site = open_site(task, ground, judged=True)
    try:
        return _apply(site, task.patch.encode()) is True
    finally:
        site.close()


def _restore(site: Site, settings: Mapping[str, str]) -> list[str]:
    """Put back settings files whose sections about tests the patch changed; these are returned."""
    restored = []
    for path, before in settings.items():
        now = decides(path, _text(site, path))
        if now is None or now != decides(path, before):
            site.put_back(path, before)
            restored.append(path)
    return restored


def _text(site: Site, path: str) -> str:
    try:
        return site.box.read(path).decode("utf-8", "replace")
    except OSError:
        return ""
    except ValueError:  # longer than any settings are
        return BROKEN


def _evaluate(
    task: SweTask, site: Site, *, guard: bool, timeout: float, dropped: tuple[str, ...]
) -> PatchVerdict:
    from swebench.harness.utils import make_test_spec

    spec = make_test_spec(task.row)
    script = site.put("eval.sh", _with_assets(spec.eval_script, task.assets, site).encode())
    watch = Witness(site) if guard and task.watched else None
    command = f"{watch.words if watch else ''}/bin/bash {script}"
    result = site.run(command, timeout=timeout, head=LOG, tail=LOG)
    if result.timed_out:
        reason = f"the tests needed more than {timeout:g} s"
        return PatchVerdict(False, reason, applied=True, dropped=dropped, log=result.output)
    report = _official(task, spec, result.output)
    status = report.get("tests_status", {})
    beside = watch.report(task) if watch else None
    if not report["patch_successfully_applied"]:
        reason = "the log has no results that count"
    elif not report["resolved"]:
        reason = "tests fail"
    elif beside is not None:
        reason = beside.reason
    else:
        reason = (contradiction(result.output) if guard else None) or ""
    shares = [_share(status.get(key)) for key in ("FAIL_TO_PASS", "PASS_TO_PASS")]
    if beside is not None:
        shares = [min(pair) for pair in zip(shares, beside.shares, strict=True)]
    return PatchVerdict(not reason, reason, True, shares[0], shares[1], dropped, result.output)


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


def _with_assets(script: str, assets: Mapping[str, bytes] | None, site: Site) -> str:
    """The script with lines that put binary files in place just before the tests, as the harness does."""
    lines = script.split("\n")
    at = next(i for i, line in enumerate(lines) if START in line)
    for number, (path, data) in enumerate((assets or {}).items()):
        source = site.put(f"assets/{number}", data)
        lines.insert(at, f'mkdir -p "$(dirname "{path}")" && cp "{source}" "{path}"')
    return "\n".join(lines)


class Witness:
    """Our pytest plugin in a box, and what it reported."""

    def __init__(self, site: Site) -> None:
        self._site = site
        token = secrets.token_hex(8)
        self._report = f"{site.tools}/{token}.json"
        plugin = files(__package__).joinpath("watch.py").read_bytes()
        site.put(f"plugin/forge_{token}.py", plugin)
        self.words = (
            f"PYTHONPATH={site.tools}/plugin${{PYTHONPATH:+:$PYTHONPATH}} "
            f'PYTEST_ADDOPTS="-p forge_{token} ${{PYTEST_ADDOPTS-}}" '
            f"FORGE_WATCH_REPORT={self._report} FORGE_WATCH_CANARY={secrets.token_hex(8)} "
        )
        """What goes before the command that runs the tests."""

    def report(self, task: SweTask) -> Beside:
        """What it says about the tests that decide."""
        from swebench.harness.constants import EvalType
        from swebench.harness.grading import get_eval_tests_report

        try:
            found = json.loads(self._site.box.read(self._report))
            tests = {name.split()[0]: str(status) for name, status in found["tests"].items() if name.split()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Beside("the tests did not end by themselves: pytest left no report", (0.0, 0.0))
        if found.get("canary") != "failed":
            return Beside("a test that must fail did not", (0.0, 0.0))
        gold = {"FAIL_TO_PASS": list(task.fail_to_pass), "PASS_TO_PASS": list(task.pass_to_pass)}
        status = get_eval_tests_report(tests, gold, eval_type=EvalType(task.eval_type))
        shares = _share(status["FAIL_TO_PASS"]), _share(status["PASS_TO_PASS"])
        return Beside("" if shares == (1.0, 1.0) else "the log and pytest's own report differ", shares)


@dataclass(frozen=True)
class Beside:
    """What was reported beside the log."""

    reason: str
    """Why the log is not believed; empty if it is."""
    shares: tuple[float, float]
    """Of FAIL_TO_PASS and PASS_TO_PASS."""
