"""What boxes write, watched: most daemons cannot limit it.

The kernel keeps any one file below the limit (RLIMIT_FSIZE). Docker limits the sum only where its folder lies
on xfs with project quotas, so we do not rely on it: this watch looks ten times a second at the free space of
the daemon's disk, which costs nothing, and asks for the boxes' sizes when it shrinks, or every few seconds. A
box may exceed its limit for a moment, by what it writes until we see it. Holes in files count as files.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from forge_envs.sandbox.base import SandboxError
from forge_envs.sandbox.engine import Engine

PAUSE, SELDOM = 0.1, 5.0
"""Seconds between two looks at the free space, and between two at the sizes when it does not shrink."""
NOTICED = 64 << 20
"""Bytes by which the free space must have shrunk to ask for sizes at once."""
RESERVE = 1 << 30
"""Free bytes below which a box over its limit is removed at once, whatever it does."""


@dataclass(eq=False)
class Watched:
    """A box whose size is looked at."""

    box: str
    limit: int
    """Bytes."""
    size: int = 0
    """Bytes when last looked at."""
    running: bool = False
    ran: bool = False
    """Whether anything ran since then."""
    full: threading.Event = field(default_factory=threading.Event)
    """Set when a command made the box larger than its limit: end the command."""
    removed: bool = False
    """Whether the box was removed because the disk was nearly full."""


class DiskWatch:
    """One thread that watches all boxes of a provider while any of them is open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._boxes: set[Watched] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._root = _root(engine)

    def add(self, box: str, limit: int) -> Watched:
        """Watch a box until `drop`."""
        watched = Watched(box, limit)
        with self._changed:
            self._boxes.add(watched)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="forge-disk", daemon=True)
                self._thread.start()
            self._changed.notify()
        return watched

    @contextmanager
    def running(self, watched: Watched) -> Iterator[None]:
        """While a command runs in the box."""
        watched.full.clear()
        watched.running = watched.ran = True
        try:
            yield
        finally:
            watched.running = False

    def drop(self, watched: Watched) -> None:
        """Watch it no longer."""
        with self._changed:
            self._boxes.discard(watched)

    def free(self) -> int | None:
        """Free bytes of the daemon's disk, None where we cannot see it."""
        if self._root is None:
            return None
        try:
            found = os.statvfs(self._root)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize

    def _watch(self) -> None:
        asked, before = 0.0, self.free()
        while True:
            with self._changed:
                while not self._boxes:
                    self._changed.wait()
            time.sleep(PAUSE)
            now = self.free()
            shrunk = now is not None and before is not None and before - now > NOTICED
            if not shrunk and time.monotonic() - asked < SELDOM:
                continue
            with self._changed:
                boxes = [watched for watched in self._boxes if watched.ran]
            for watched in boxes:
                self._look(watched, now)
            asked, before = time.monotonic(), now

    def _look(self, watched: Watched, free: int | None) -> None:
        watched.ran = watched.running
        try:
            with self._engine.asking(f"box {watched.box[:12]}"):
                size = int(self._engine.size(watched.box))
            grown, watched.size = size > watched.size, size
            if size <= watched.limit:
                return
            if free is not None and free < RESERVE:
                watched.removed = True
                self._engine.remove(watched.box)
            elif grown:
                watched.full.set()
        except SandboxError:
            pass  # it is closing; a daemon that fails is told by the verbs


def _root(engine: Engine) -> str | None:
    """The daemon's folder, if it is a folder of this host too."""
    with engine.asking("the daemon"):
        found = engine.api.info()
    root = found.get("DockerRootDir")
    try:
        boot = os.uname().nodename == found.get("Name")
        return root if boot and root and os.statvfs(root) else None
    except OSError:
        return None
