"""What boxes write, watched: few daemons can limit it.

The kernel keeps any one file below the limit (RLIMIT_FSIZE), and `forge_envs.sandbox.daemon` has the daemon
limit the sum where it can. Elsewhere this watch must do: it looks fifty times a second at the free space of
the daemon's disk, which costs nothing, and asks for the boxes' sizes when it shrinks, or every few seconds. A
box exceeds its limit by what it writes until we see it. Holes in files count as files.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from forge_envs.sandbox.base import SandboxError
from forge_envs.sandbox.engine import Engine

PAUSE, SELDOM = 0.02, 5.0
"""Seconds between two looks at the free space, and between two at the sizes when it does not shrink."""
NOTICED = 64 << 20
"""Bytes by which the free space must have shrunk to ask for sizes at once."""
RESERVE = 1 << 30
"""Free bytes below which a box over its limit is removed at once, whatever it does, and no box is opened."""


@dataclass(eq=False)
class Watched:
    """A box whose size is looked at."""

    box: str
    limit: int
    """Bytes."""
    size: int | None = 0
    """Bytes when last looked at; None if something wrote since whose end nobody saw."""
    turn: int = 0
    """How many verbs began."""
    running: bool = False
    ran: bool = False
    """Whether anything ran since the last look."""
    full: threading.Event = field(default_factory=threading.Event)
    """Set when the verb that runs made the box larger than its limit: end it."""
    removed: bool = False
    """Whether the box was removed because the disk was nearly full."""


class DiskWatch:
    """One thread that watches all boxes of a provider while any of them is open."""

    def __init__(self, engine: Engine, root: str | None) -> None:
        """`root` is the daemon's folder, None where it is not on this host."""
        self._engine, self._root = engine, root
        self._boxes: set[Watched] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

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
        """While a verb works in the box."""
        with self._changed:
            watched.full.clear()
            if watched.ran:
                watched.size = None  # what an earlier verb wrote is not this one's doing
            watched.turn += 1
            watched.running = watched.ran = True
        try:
            yield
        finally:
            with self._changed:
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

    def require_room(self) -> None:
        """Raises SandboxError when the daemon's disk is nearly full: one more box would harm the others."""
        free = self.free()
        if free is not None and free < RESERVE:
            text = f"the Docker daemon's disk has {free >> 20} MB left. `docker system prune` frees space"
            raise SandboxError(text, kind="disk_full", retryable=True)

    def _watch(self) -> None:
        asked, took, before = 0.0, 0.0, self.free()
        while True:
            with self._changed:
                while not self._boxes:
                    self._changed.wait()
            time.sleep(max(PAUSE, took))  # at most half of the time is spent on sizes
            now, began = self.free(), time.monotonic()
            shrunk = now is not None and before is not None and before - now > NOTICED
            if not shrunk and began - asked < SELDOM:
                took = 0.0
                continue
            with self._changed:
                boxes = [watched for watched in self._boxes if watched.ran]
            for watched in sorted(boxes, key=lambda watched: not watched.running):
                with suppress(SandboxError):  # it is closing; a daemon that fails is told by the verbs
                    self.look(watched, now)
            asked, before = time.monotonic(), now
            took = min(asked - began, 1.0)

    def look(self, watched: Watched, free: int | None) -> None:
        """Ask for a box's size. End the verb that runs there if it, and no earlier one, made it too large.

        Raises SandboxError.
        """
        while True:
            with self._changed:
                turn, before = watched.turn, watched.size
                watched.ran = watched.running
            with self._engine.asking(f"box {watched.box[:12]}"):
                size = int(self._engine.size(watched.box))
            with self._changed:
                same = watched.turn == turn
                watched.size = size if same else None
                if size <= watched.limit:
                    return
                if same and watched.running and before is not None and size > before:
                    watched.full.set()
            if free is not None and free < RESERVE:
                watched.removed = True
                self._engine.remove(watched.box)
                return
            if before is not None or not same:
                return
