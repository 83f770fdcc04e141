"""Limits that count for all processes of a box together: a control group, where we may make one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forge_envs.sandbox.base import Limits

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000
"""Microseconds over which processor time is shared out, the kernel's own default."""
SWAP = ("memory.memsw.limit_in_bytes", "memory.swap.max")
JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'
"""Joins groups, given as the files to write to before a "--", and becomes the words behind it."""


@dataclass(frozen=True)
class Group:
    """A control group; in version 1 of the kernel's interface one folder for each resource."""

    folders: tuple[Path, ...]

    def words(self) -> list[str]:
        """What to put before a command so that it, and all that it starts, is in the group."""
        files = [str(folder / "cgroup.procs") for folder in self.folders]
        return ["bash", "-c", JOIN, "bash", *files, "--"]

    def end_all(self, patience: float = 2.0) -> None:
        """Kill what is in it, as often as it takes: who is being killed may still make others."""
        until = time.monotonic() + patience
        while (members := self._members()) and time.monotonic() < until:
            for pid in members:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def _members(self) -> list[int]:
        """Its processes; 0 is one that we cannot see from here, which is not ours to kill."""
        try:
            found = (self.folders[0] / "cgroup.procs").read_text().split()
        except (OSError, IndexError):
            return []
        return [int(pid) for pid in found if pid != "0"]

    def close(self, patience: float = 2.0) -> None:
        """Remove it; the kernel lets go of it a moment after its last process."""
        until = time.monotonic() + patience
        left = list(self.folders)
        while left and time.monotonic() < until:
            left = [folder for folder in left if not _removed(folder)]
            if left:
                time.sleep(0.01)


def make(name: str, limits: Limits) -> Group | None:
    """A group with these limits; None where the kernel or our rights do not allow one."""
    plan = _plan(name, limits)
    made = []
    try:
        for folder, settings in plan.items():
            folder.mkdir()
            made.append(folder)
            for file, value in settings.items():
                if file in SWAP and not (folder / file).exists():
                    continue  # a kernel that does not count swap
                (folder / file).write_text(value)
    except OSError:
        Group(tuple(made)).close()
        return None
    return Group(tuple(made)) if made else None


def sweep(prefix: str, dead: Iterable[str]) -> None:
    """Remove groups that dead owners left: their names begin with `prefix` and one of `dead`."""
    for start in dead:
        for pattern in (f"{prefix}{start}*", f"*/{prefix}{start}*"):
            for folder in ROOT.glob(pattern):
                _removed(folder)


def _plan(name: str, limits: Limits) -> dict[Path, dict[str, str]]:
    """The folders to make and what to write into their files."""
    memory, pids, quota = str(limits.memory_mb << 20), str(limits.pids), str(int(limits.cpus * PERIOD))
    if (ROOT / "cgroup.controllers").exists():
        try:
            given = (ROOT / "cgroup.subtree_control").read_text().split()
        except OSError:
            return {}
        settings = {
            "memory": {"memory.max": memory, "memory.swap.max": "0"},
            "pids": {"pids.max": pids},
            "cpu": {"cpu.max": f"{quota} {PERIOD}"},
        }
        files = {file: value for key in settings if key in given for file, value in settings[key].items()}
        return {ROOT / name: files} if {"memory", "pids"} <= set(given) else {}
    plan = {
        ROOT / "pids" / name: {"pids.max": pids},
        ROOT / "memory" / name: {
            "memory.limit_in_bytes": memory,
            "memory.memsw.limit_in_bytes": memory,
        },
        ROOT / "cpu" / name: {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": quota},
    }
    return plan if all(os.access(folder.parent, os.W_OK) for folder in plan) else {}


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
