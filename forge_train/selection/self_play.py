"""Self-play between two roles of a world: patches of one are tried with the tests that the other wrote.

    plays of a fixer --> patches --+
                                   +--> boxes of the world --> S of every patch (`patch_tests`)
    plays of a tester -> tests ----+

A world takes part if it has two methods, found by shape: `patch_said(task, lines)`, the patch that an agent's
lines make, and `outcomes(task, patch, tests)`, whether each test of each written file passes on the code as
it was (None) or with a patch. Nothing of a play's verdict is read. What was run is kept in `tested.jsonl`, so
that the same command goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Protocol, cast

from forge_train.play.world_pool import World
from forge_train.record.run_folder import append, read_lines, repair
from forge_train.selection.candidates import Candidate, played_world, plays_file
from forge_train.selection.patch_tests import Executed, Outcome, execute

KEPT = "tested.jsonl"


class TriesPatches(Protocol):
    """What is asked of a world here (`Forge/Agentless-v0` has it)."""

    def patch_said(self, task_id: str, said: Sequence[str]) -> bytes | None:
        """The patch that an agent's lines make; None where they make none."""
        ...

    def outcomes(
        self, task_id: str, patch: bytes | None, tests: Sequence[bytes]
    ) -> Sequence[Mapping[str, bool]]:
        """Whether each test of each file passes; {} for a file that cannot be run."""
        ...


def lines_of(candidate: Candidate) -> list[str]:
    """What the player said."""
    spoken = candidate.messages[candidate.opening :]
    return [str(m["content"] or "") for m in spoken if m["role"] == "assistant"]


def score_patches(
    fixes: Sequence[Candidate],
    tests: Sequence[Candidate],
    fixer: TriesPatches,
    tester: TriesPatches,
    remembered: Memory | None = None,
) -> tuple[list[float], Executed]:
    """S of each play's patch by the files that the other plays wrote, and what was run. All of one task.

    A play that made no patch has S = -1, below all that did. Equal patches and equal files are run once, and
    a file counts as often as it was written.
    """
    task = fixes[0].task
    patches = [fixer.patch_said(task, lines_of(play)) for play in fixes]
    files = [file for play in tests if (file := tester.patch_said(task, lines_of(play))) is not None]
    different = list(dict.fromkeys(files))
    usable = list(dict.fromkeys(patch for patch in patches if patch is not None))

    def run(patch: bytes | None, wanted: Sequence[bytes]) -> Sequence[Outcome]:
        known = None if remembered is None else remembered.get(task, patch, wanted)
        if known is None:
            known = list(fixer.outcomes(task, patch, wanted))
            if remembered is not None:
                remembered.keep(task, patch, wanted, known)
        return known

    found = execute(usable, different, run)
    whole = found.repeated([files.count(file) for file in different])
    scores = dict(zip(usable, whole.scores(), strict=True))
    return [-1.0 if patch is None else scores[patch] for patch in patches], whole


class Memory:
    """What was run before, in a file: one line for each patch and the files that were tried with it."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        repair(path)
        self._known = {line["key"]: line["outcomes"] for line in read_lines(path)}

    def get(self, task: str, patch: bytes | None, files: Sequence[bytes]) -> list[Outcome] | None:
        """The outcomes of this very run, if it is known."""
        return self._known.get(_key(task, patch, files))

    def keep(
        self, task: str, patch: bytes | None, files: Sequence[bytes], outcomes: Sequence[Outcome]
    ) -> None:
        """Write them down."""
        key, told = _key(task, patch, files), [dict(outcome) for outcome in outcomes]
        with self._lock, open(self.path, "ab", buffering=0) as file:
            self._known[key] = told
            append(file, {"key": key, "task": task, "outcomes": told})


def _key(task: str, patch: bytes | None, files: Sequence[bytes]) -> str:
    digest = hashlib.sha256(task.encode())
    for part in (b"as it was" if patch is None else patch, *files):
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


def scored(
    groups: Sequence[Sequence[Candidate]],
    written: Sequence[Sequence[Candidate]],
    fixer: TriesPatches,
    tester: TriesPatches,
    path: Path,
    *,
    at_once: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[list[Candidate]], dict[str, str]]:
    """The groups with `Candidate.tested` filled in, and by task why others are missing.

    Missing is a task for which nobody wrote tests, and one whose boxes failed: the same call tries it again.
    Raises ValueError where none is left.
    """
    files = {group[0].task: group for group in written}
    memory, lost = Memory(path), dict[str, str]()

    def one(group: Sequence[Candidate]) -> list[Candidate] | None:
        task = group[0].task
        try:
            if task not in files:
                lost[task] = "nobody wrote tests for it"
                return None
            scores, _ = score_patches(group, files[task], fixer, tester, memory)
            return [replace(play, tested=(s,)) for play, s in zip(group, scores, strict=True)]
        except Exception as error:  # a machine's failure is told by its shape; anything else is a bug
            if not hasattr(error, "retryable"):
                raise
            lost[task] = f"a box failed: {error}"
            return None
        finally:
            progress()

    with ThreadPoolExecutor(at_once) as pool:
        found = [group for group in pool.map(one, groups) if group is not None]
    if not found:
        first = next(iter(lost.items()), ("", "there is none"))
        raise ValueError(f"no task is left whose patches could be tried: {first[0]} {first[1]}")
    return found, lost


def world_of(plays: Path) -> tuple[World, TriesPatches]:
    """The world in which plays were collected; close it. Raises ValueError for one that tries no patches."""
    world = played_world(plays)
    env = world.acquire().unwrapped
    if not all(callable(getattr(env, method, None)) for method in ("patch_said", "outcomes")):
        world.close()
        raise ValueError(
            f"{plays_file(plays)}: {world.name} does not try patches with tests (patch_said, outcomes); "
            "forge_envs:Forge/Agentless-v0 does"
        )
    return world, cast(TriesPatches, env)
