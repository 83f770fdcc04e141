"""Written tests run on patches, for selection by self-play: a box for each patch, all test files in it."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from forge_envs.sandbox import SandboxError
from forge_envs.worlds.agentless.script import with_tests
from forge_envs.worlds.agentless.written import run_tests
from forge_envs.worlds.swe.effects import APPLYING, apply
from forge_envs.worlds.swe.guard import Guard
from forge_envs.worlds.swe.patch import PatchError, join, parts
from forge_envs.worlds.swe.script_run import GOOD
from forge_envs.worlds.swe.site import Ground, broke, open_site, unwell
from forge_envs.worlds.swe.task import SweTask

CALLED = (GOOD, "FAILED")
"""Statuses of tests that were called and came to an end."""


def outcomes(
    task: SweTask, patch: bytes | None, tests: Sequence[bytes], ground: Ground, *, timeout: float
) -> list[dict[str, bool]]:
    """Whether each test of each written file passes on the code as it was, or with a patch.

    A file that cannot be run, exits or writes to the code tells nothing: {}. What a patch may not change is
    left out of it, as where it is judged; one that does not apply passes nothing. Raises MachineError.
    """
    kept = b""
    if patch is not None:
        try:
            kept = join(Guard(task).split(parts(patch))[0])
        except PatchError:
            return [{} for _ in tests]
    site = open_site(task, ground, judged=True)
    found: list[dict[str, bool]] = []
    try:
        if patch is not None and (not kept or apply(site, kept).ran.code != 0):
            return [{} for _ in tests]
        for number, written in enumerate(tests):
            (path,) = (part.path for part in parts(written))
            try:
                told = run_tests(site, with_tests(task, path, written.decode()), timeout)
                again = site.run(
                    f"git -c safe.directory='*' checkout -q HEAD -- {quote(path)} || rm -f -- {quote(path)}",
                    timeout=APPLYING,
                )
                if again.timed_out:
                    raise unwell(f"{path} could not be taken away")
            except SandboxError as error:
                if not broke(site.box, error, task, ground):
                    raise
                rest = outcomes(task, patch, tests[number + 1 :], ground, timeout=timeout)
                return [*found, {}, *rest]  # in a box of their own
            told = told if isinstance(told, dict) else {}
            found.append({name: status == GOOD for name, status in told.items() if status in CALLED})
    finally:
        site.close()
    return found
