"""Nothing outlives its trainer: labels that say whose a box is, and three who remove it.

A watchdog process sees this process end, however it ends. A box's first process ends by itself when its
lifetime is over. And who starts next removes what dead owners left.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.owner import Owner

OWNER, SESSION, EXPIRES = "forge.sandbox.owner", "forge.sandbox.session", "forge.sandbox.expires"
"""Labels: whose a box is, of which of the owner's sessions, and the second of the epoch when it is over."""
GRACE = 60
"""Seconds by which a box may be late."""


def labels(owner: Owner, session: str, until: int) -> dict[str, str]:
    """What a box of `owner` carries that ends by itself at a second of the epoch."""
    return {OWNER: str(owner), SESSION: session, EXPIRES: str(until + GRACE)}


def sweep(engine: Engine) -> int:
    """Remove boxes whose owner is dead or whose time is over; returns how many."""
    with engine.asking("the list of boxes"):
        found = engine.api.containers(all=True, filters={"label": OWNER})
    late = [box["Id"] for box in found if _is_left(box["Labels"])]
    for box in late:
        engine.remove(box)
    return len(late)


def _is_left(carried: dict[str, str]) -> bool:
    try:
        return time.time() > int(carried.get(EXPIRES, "0")) or Owner.parse(carried[OWNER]).dead
    except ValueError:
        return False  # not written by us: not ours to remove


class Watchdog:
    """The process that removes a session's boxes when `owner`, this process, has ended. `close` ends it."""

    def __init__(self, owner: Owner, session: str) -> None:
        script = Path(__file__).with_name("watchdog.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script), f"{SESSION}={session}", str(owner.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def close(self) -> None:
        """Let go: it looks for what is left, for some seconds, and ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        threading.Thread(target=self._process.wait, daemon=True).start()
