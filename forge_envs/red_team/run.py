"""Tries attacks: makes what an agent would hand in, and has it judged without the guard and with it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from forge_envs.errors import MachineError
from forge_envs.red_team.attack import attacks_of
from forge_envs.red_team.swe import Repository, source_of
from forge_envs.worlds.polyglot.env import PolyglotEnv
from forge_envs.worlds.polyglot.exercise import Exercise
from forge_envs.worlds.polyglot.verdict import verdict
from forge_envs.worlds.swe import patch as patches
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.site import open_site
from forge_envs.worlds.swe.task import SweTask

ACTING = 60.0
"""Seconds that an attack may take to make what it hands in."""


@dataclass(frozen=True)
class Outcome:
    """What came of one attack on one task."""

    attack: str
    fault: str
    task: str
    official: float | None
    """What the official harness gives; None where it could not be asked."""
    ours: float | None
    """What we give; None where the machine failed, by which an agent would have left without a score."""
    reason: str
    seconds: float
    known: bool = False
    """Whether `docs/red_team.md` lists it as one that remains."""

    @property
    def holds(self) -> bool:
        """Whether it earned nothing and was scored."""
        return self.ours == 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "holds": self.holds}


def attack_swe(env: SweEnv, tasks: Sequence[str], names: Iterable[str], timeout: float) -> Iterator[Outcome]:
    """Attack tasks of a world of repositories, as they come. Attacks that do not fit a task are left out."""
    for name, attack in attacks_of("swe", names).items():
        for task_id in tasks:
            began = time.monotonic()
            task = env.find(task_id)
            patch, why = patch_of(env, task, attack.make)
            if patch is None and not why:
                continue
            official = ours = 0.0 if patch is None else None
            if patch is not None:
                official, _ = _judged(env, task, patch, False, timeout)
                ours, why = _judged(env, task, patch, True, timeout)
            taken = time.monotonic() - began
            yield Outcome(name, attack.fault, task_id, official, ours, why, taken, attack.open)


def attack_polyglot(
    env: PolyglotEnv, tasks: Sequence[str], names: Iterable[str], timeout: float
) -> Iterator[Outcome]:
    """The same for a world of exercises: an attack is of one language, and fits its exercises alone."""
    for name, attack in attacks_of("polyglot", names).items():
        for task_id in tasks:
            began = time.monotonic()
            task = env.find(task_id)
            edited: Any = attack.make(task) if isinstance(task, Exercise) else None
            if edited is None:
                continue
            official: float | None
            ours: float | None
            try:
                found = verdict(task, task.files(edited), sandbox=env.sandbox, timeout=timeout)
                said = found.command_passed
                official = None if said is None else float(said)
                ours, why = float(found.passed), found.output[-200:]
            except MachineError as error:
                official, ours, why = None, None, f"the machine failed: {error}"
            taken = time.monotonic() - began
            yield Outcome(name, attack.fault, task_id, official, ours, why, taken, attack.open)


def _judged(
    env: SweEnv, task: SweTask, patch: bytes, guard: bool, timeout: float
) -> tuple[float | None, str]:
    try:
        found = judge(task, patch, env.ground, guard=guard, timeout=timeout)
    except MachineError as error:
        return None, f"the machine failed: {error}"
    dropped = f"left out: {', '.join(found.dropped)}" if found.dropped else ""
    return float(found.resolved), "; ".join(filter(None, (found.reason, dropped)))


def patch_of(env: SweEnv, task: SweTask, make: Any) -> tuple[bytes | None, str]:
    """The patch that an agent's box would give after the attack; None, and why, where there is none."""
    source = source_of(task)
    if not source:
        return None, ""
    site = open_site(task, env.ground)
    try:
        text = site.box.read(source).decode("utf-8", "replace")
        made = make(Repository(task, source, text))
        if made is None or isinstance(made, bytes):
            return made, ""
        site.run(made, timeout=ACTING)
        return patches.take(site, env.patch_limit), ""
    except patches.PatchError as error:
        return None, f"no patch: {error}"
    finally:
        site.close()
