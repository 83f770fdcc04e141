"""Which processes live in a container, asked of somebody whom nothing inside can deceive."""

from __future__ import annotations

import time
from pathlib import Path

from forge_envs.sandbox.engine import Engine

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")


def census_file(pid: int, box: str) -> Path | None:
    """The kernel's list of a container's processes, `pid` its first; None unless it is on this host.

    Reading it takes microseconds, asking the daemon some 20 ms.
    """
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, names, path = line.split(":", 2)
        if box in path and names in ("", "pids"):
            file = CGROUPS / names / path.lstrip("/") / "cgroup.procs"
            try:
                if str(pid) in file.read_text().split():
                    return file
            except OSError:
                continue
    return None


def count(engine: Engine, box: str, file: Path | None) -> int:
    """How many processes live in the container; the dead who wait for burial do not count."""
    if file is not None:
        try:
            return len(file.read_text().split())
        except OSError:
            pass  # the container was restarted or is gone: the daemon knows
    with engine.asking(f"box {box[:12]}"):
        found = engine.api.top(box, "-eo stat,pid")
    return sum(not row[0].startswith("Z") for row in found["Processes"] or ())


def alone(engine: Engine, box: str, file: Path | None, patience: float) -> bool:
    """Whether the first process is, within `patience` seconds, the only one: the killed need time to go."""
    until, pause = time.monotonic() + patience, 0.001
    while (now := count(engine, box, file)) > 1:
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(0.05, 2 * pause)
    return now == 1
