"""The verdict on a test file that an agent wrote: it must fail on the code as it was and pass with gold.

Kimi-Dev (arXiv 2509.23045): TestWriter earns 1 iff its test fails without and passes with the true fix. Here:

    as it was  -->  some test FAILED when it was called       else nothing is shown
    with gold  -->  every test passed                         else the test asks for something else
    both again, the mended files rewritten to do the same  -->  as before, test by test

and every box runs the file twice, to the same end.

A test that cannot be imported or whose fixture fails has asked nothing of the code: any missing name would
do, and with it the agent would be paid for guessing what gold calls things. So it is no failing test; any
exception while a test is called is one. The second pair finds tests that look at the text, the bytecode or
the git status of the code instead of at what it does, and all runs together those that pass by chance: a coin
is right in all eight once in 256 times. The paper runs a file once each way and tells that weak tests were
paid; that is `guard=False`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from shlex import quote

from forge_envs.sandbox import SandboxError
from forge_envs.syntax import parse
from forge_envs.worlds.agentless.edits import UnusableAnswer
from forge_envs.worlds.agentless.script import with_tests
from forge_envs.worlds.swe.canaries import NO_CANARIES
from forge_envs.worlds.swe.effects import APPLYING, apply
from forge_envs.worlds.swe.guard import NAMES
from forge_envs.worlds.swe.logs import as_file
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.script_run import GOOD, ScriptRun, Stage
from forge_envs.worlds.swe.site import Ground, Site, broke, open_site, unwell
from forge_envs.worlds.swe.task import SweTask

TIMES = 2
"""Runs in a box, one after the other: what comes out by chance has to come out so every time."""
NOT_CALLED = ("SKIPPED", "XFAIL")
"""Statuses of tests that may be so before and after."""
_NAMED = re.compile(r"test_\w+\.py|\w+_test\.py", re.ASCII)
_FORBIDDEN = re.compile(
    r"\b_exit\b|\bpytest\s*\.\s*exit\b|\bgetsource\w*|\blinecache\b|\b__code__\b|\bco_code\b|\bget_code\b"
    r"|\.git\b|\bsys\s*\.\s*modules\b"
)
"""What a test of behaviour has no use for: ending the process, and looking at code instead of running it."""
TESTED = frozenset({"test", "tests", "testing"})
"""Names of folders of tests."""


@dataclass(frozen=True)
class WrittenVerdict:
    """How a written test file did."""

    reason: str = ""
    """Why it earns nothing, for people; empty where it earns 1."""
    fails_before: float = 0.0
    """1.0 if a test failed when it was called, on the code as it was."""
    passes_after: float = 0.0
    """1.0 if with gold every test passed."""
    steady: float = 0.0
    """1.0 if both came out the same once more, the code rewritten to do the same."""

    @property
    def good(self) -> bool:
        """Whether the file earns 1."""
        return not self.reason

    @property
    def parts(self) -> dict[str, float]:
        """What a score tells beside the verdict."""
        return {
            "fails_before": self.fails_before,
            "passes_after": self.passes_after,
            "steady": self.steady,
        }


def refuse_file(changed: Mapping[str, str], tree: Collection[str], task: SweTask) -> str:
    """The path of the one test file that an answer may change. Raises UnusableAnswer."""
    if len(changed) != 1:
        raise UnusableAnswer(
            f"write one test file and nothing else, not {len(changed)}: {', '.join(sorted(changed)[:5])}"
        )
    ((path, text),) = changed.items()
    pure = PurePosixPath(path)
    old_test = path in tree and pure.suffix == ".py" and bool(TESTED & set(pure.parts[:-1]))
    named = _NAMED.fullmatch(pure.name) is not None or (old_test and pure.name != "__init__.py")
    if not named or pure.name in NAMES or path in paths_of(task.patch):
        raise UnusableAnswer(
            f"{path} is no test file: its name must be like test_x.py, and the code stays as it is"
        )
    try:
        parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnusableAnswer(f"{path} is no Python: {error}") from error
    if found := _FORBIDDEN.search(text):
        raise UnusableAnswer(
            f"{path} says {found[0]!r}: a test asks what the code does; it neither ends the process nor "
            "looks at how the code is written"
        )
    return path


def judge_written(
    task: SweTask, path: str, patch: bytes, ground: Ground, *, guard: bool = True, timeout: float = 1_800.0
) -> WrittenVerdict:
    """Whether a test file, which `patch` writes at `path`, shows the bug of a task. Raises MachineError."""
    trial = with_tests(task, path, patch.decode())
    times = TIMES if guard else 1
    before = _run(trial, ground, timeout, times, fixed=False)
    if isinstance(before, str):
        return WrittenVerdict(f"on the code as it was: {before}")
    if "FAILED" not in before.values():
        return WrittenVerdict("no test fails on the code as it was when it is called")
    after = _run(trial, ground, timeout, times, fixed=True)
    if isinstance(after, str):
        return WrittenVerdict(f"with gold: {after}", 1.0)
    odd = [name for name in sorted({*before, *after}) if not _is_right(before.get(name), after.get(name))]
    if odd:
        return WrittenVerdict(f"with gold {odd[0]} is {after.get(odd[0], 'not there')}", 1.0)
    if guard:
        for fixed, first in ((False, before), (True, after)):
            again = _run(trial, ground, timeout, times, fixed=fixed, disguised=True)
            if again != first:
                where = "with gold" if fixed else "as it was"
                told = again if isinstance(again, str) else "tests come out otherwise"
                return WrittenVerdict(f"the code {where}, rewritten to do the same: {told}", 1.0, 1.0)
    return WrittenVerdict("", 1.0, 1.0, 1.0)


def _is_right(before: str | None, after: str | None) -> bool:
    return after == GOOD or (after is not None and after == before and after in NOT_CALLED)


def _run(
    trial: SweTask, ground: Ground, timeout: float, times: int, *, fixed: bool, disguised: bool = False
) -> dict[str, str] | str:
    """Status of every test in a fresh box, the same in all of `times` runs; or why the runs do not count.

    Raises MachineError.
    """
    site = open_site(trial, ground, judged=True)
    try:
        if fixed:
            apply_in(site, trial, trial.patch.encode())
        if disguised:
            disguise(site, trial)
        try:
            found = [run_tests(site, trial, timeout) for _ in range(times)]
        except SandboxError as error:
            if not broke(site.box, error, trial, ground):
                raise
            return f"the tests broke their box: {error}"
    finally:
        site.close()
    wrong = next((one for one in found if isinstance(one, str)), "")
    return wrong or (found[0] if all(one == found[0] for one in found) else "tests came out otherwise")


def apply_in(site: Site, task: SweTask, patch: bytes) -> None:
    """Apply a patch that is known to apply, and leave no trace of it beside the code. Raises MachineError."""
    ran = apply(site, patch).ran
    if ran.code != 0 or ran.timed_out:
        raise unwell(f"a patch of {task.id} does not apply: {ran.output[-300:]}")
    site.run('rm -f -- "$PATCH"', timeout=APPLYING, env={"PATCH": f"{site.tools}/patch.diff"})


def disguise(site: Site, task: SweTask) -> None:
    """Rewrite the Python files that gold changes so that they do the same. Raises MachineError."""
    paths = sorted(path for path in paths_of(task.patch) if path.endswith(".py"))
    program = site.put("disguise.py", files(__package__).joinpath("disguise.py").read_bytes())
    there = " ".join(quote(path) for path in paths)
    command = (
        f"for file in {there}; do if [ -f $file ]; then python3 {program} $file || exit 1; fi; done; "
        f"rm -f {program}"
    )
    ran = site.run(command, timeout=APPLYING)
    if ran.code != 0:
        raise unwell(f"{task.id} was not rewritten: {ran.output[-300:]}")


def run_tests(site: Site, trial: SweTask, timeout: float) -> dict[str, str] | str:
    """Status of every test of a written file; or why the run does not count. Raises SandboxError."""
    stage = Stage(trial, site)
    stage.prepare(timeout)
    ran = stage.watched(NO_CANARIES, timeout)
    if ran.timed_out:
        return f"the tests needed more than {timeout:g} s"
    told = dict(ran.told)
    if not ran.ended and not told and not ran.running and not trial.watched:
        told = _logged(stage, ran)  # a script that keeps our plugin from pytest is known by its log alone
    elif not ran.ended:
        return "the tests did not end by themselves"
    if ran.changed:
        return f"{min(ran.changed)} was written to while the tests ran"
    if not told:
        return "no test was run: the file cannot be imported, or holds none"
    return told


def _logged(stage: Stage, ran: ScriptRun) -> dict[str, str]:
    """What swebench's own parser reads in the log."""
    from swebench.harness.grading import get_logs_eval

    with as_file(ran.log) as path:
        found, valid = get_logs_eval(stage.spec, path)
    return {str(name): str(status) for name, status in found.items()} if valid else {}
