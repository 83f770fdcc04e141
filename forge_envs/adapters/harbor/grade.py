"""Runs in an exported folder's verifier: what the agent left, the world's own judge, the reward files.

    python tests/judge /tests

Both reward files are written at the very end, or neither: a machine that fails is no reward of 0. It needs
nothing but Python's own library, and a container that holds the task's image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from forge_envs.errors import MachineError
from forge_envs.sandbox import lend
from forge_envs.sandbox.inside import Inside

LOGS = Path("/logs")
REWARDS = ("reward.json", "reward.txt")
REFUSED = "refused.txt"
"""Says why nothing of the agent's could be taken, when the agent is to blame."""
SEPARATE = "FORGE_SEPARATE_VERIFIER"
"""Is set where this container was never the agent's."""
SAVED = Path("/opt/forge/testbed.tar.gz")
"""The work folder as it was before the agent."""


@dataclass(frozen=True)
class Grade:
    """A verdict as Harbor takes it."""

    reward: float
    parts: Mapping[str, float]
    reason: str = ""
    """For people who read the verifier's log."""


Grader = Callable[[Mapping[str, Any], "Path | None", str], Grade]
"""Takes the folder's task.json, what the agent left or None, and the name of the provider of boxes."""


def main(argv: list[str] | None = None) -> int:
    """Judge. Returns 0 if there is a reward, 1 if a machine failed."""
    tests = Path((sys.argv[1:] if argv is None else argv)[0])
    try:
        rewards = _locked(tests)
        stored = json.loads((tests / "task.json").read_text(encoding="utf-8"))
        separate = os.environ.get(SEPARATE) == "1"
        if not separate:
            _take(tests / "take.sh")
        left = _left(stored["leaves"])
        grader: Grader = import_module(f"forge_envs.adapters.harbor.grade_{stored['judge']}").grade
        sandbox = lend(Inside(stored["user"], SAVED, fresh=separate))
        found = grader(stored, left, sandbox)
    except Exception:  # the machine's failure or our own bug: in either case the agent has no reward
        traceback.print_exc()
        print("forge: no reward, because the judge failed and not the agent", file=sys.stderr)
        return 1
    print(f"forge: reward {found.reward:g} {dict(found.parts)} {found.reason}".rstrip())
    _write(rewards, found)
    return 0


def _locked(tests: Path) -> Path:
    """The folder of rewards, without stale ones. If we are root only we write to it, and read tests."""
    rewards = LOGS / "verifier"
    rewards.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        for folder, mode in ((rewards, 0o755), (tests, 0o700)):
            os.chown(folder, 0, 0)
            folder.chmod(mode)
    for name in REWARDS:
        (rewards / name).unlink(missing_ok=True)
    return rewards


def _take(script: Path) -> None:
    """Do what the collect hook does, for consumers that judge where the agent worked."""
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        raise MachineError(f"{script}: {done.stderr[-500:]}", kind="take", stage="verifier", retryable=True)


def _left(name: str) -> Path | None:
    """What the hook took, None if the agent made that impossible. MachineError if no hook ran."""
    folder = LOGS / "artifacts"
    if (folder / REFUSED).is_file():
        print(f"forge: nothing was taken: {(folder / REFUSED).read_text(errors='replace').strip()}")
        return None
    if not (folder / name).is_file():
        text = f"there is neither {folder / name} nor {REFUSED}: the collect hook of task.toml did not run"
        raise MachineError(text, kind="take", stage="verifier", retryable=True)
    return folder / name


def _write(rewards: Path, found: Grade) -> None:
    """Both files, each whole or not at all."""
    texts = (json.dumps({"reward": found.reward, **found.parts}), f"{found.reward:g}")
    try:
        for name, text in zip(REWARDS, texts, strict=True):
            part = rewards / f".{name}"
            part.write_text(f"{text}\n", encoding="utf-8")
            part.replace(rewards / name)
    except OSError:
        for name in REWARDS:
            with suppress(OSError):
                (rewards / name).unlink()
        raise
