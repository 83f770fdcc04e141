"""Boxes that run before anybody asks for them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from forge_envs.sandbox.base import Limits, SandboxError
from forge_envs.sandbox.container import Started

IDLE = 120.0
"""Seconds after which a box that nobody took is removed."""
LAST = 30.0
"""Seconds that the last box may take to be made and removed."""
REMEMBERED = 16
"""Openings that are looked back upon: what was opened twice among them is made ahead."""


@dataclass(frozen=True)
class Recipe:
    """All that one fresh box has in common with another."""

    image: str
    """Its id, so that a rebuilt image gets new boxes."""
    name: str
    """As a person calls it."""
    user: str
    workdir: str
    limits: Limits


class Pool:
    """At most `size` boxes ready, made by one thread while nobody else is making any."""

    def __init__(
        self, start: Callable[[Recipe], Started], remove: Callable[[Started], None], size: int
    ) -> None:
        self._start, self._remove, self._size = start, remove, size
        self._ready: dict[Recipe, list[tuple[float, Started]]] = {}
        self._recent: deque[Recipe] = deque(maxlen=REMEMBERED)
        self._changed = threading.Condition()
        self._closed = False
        self._busy = 0
        self._thread: threading.Thread | None = None

    def take(self, recipe: Recipe) -> Started | None:
        """A box that is ready, the youngest one. Whether taken or not, more like it may follow."""
        with self._changed:
            self._recent.append(recipe)
            found = self._ready.get(recipe)
            started = found.pop()[1] if found else None
            if self._size and self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._fill, name="forge-pool", daemon=True)
                self._thread.start()
            self._changed.notify()
            return started

    def busy(self, change: int) -> None:
        """Somebody begins (+1) or ends (-1) making a box and is waited for; the pool stands back."""
        with self._changed:
            self._busy += change
            self._changed.notify()

    def close(self) -> None:
        """Remove what is ready; nothing more is made."""
        with self._changed:
            self._closed = True
            left = [started for ready in self._ready.values() for _, started in ready]
            self._ready.clear()
            self._changed.notify()
        for started in left:
            self._remove(started)
        if self._thread is not None:
            self._thread.join(LAST)  # it may be making one, and removes it

    @property
    def ready(self) -> int:
        """How many boxes are ready."""
        with self._changed:
            return sum(map(len, self._ready.values()))

    def _fill(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (self._busy or not (self._wanted() or self._late())):
                    self._changed.wait(IDLE / 4)
                if self._closed:
                    return
                late, recipe = self._late(), self._wanted()
                for kept in self._ready.values():
                    kept[:] = [item for item in kept if item not in late]
            for _, started in late:
                self._remove(started)
            if recipe is not None:
                self._make(recipe)

    def _make(self, recipe: Recipe) -> None:
        try:
            started = self._start(recipe)
        except SandboxError:
            with self._changed:  # whoever opens one hears the reason; we do not insist
                self._recent = deque((r for r in self._recent if r != recipe), maxlen=REMEMBERED)
            return
        with self._changed:
            if not self._closed:
                self._ready.setdefault(recipe, []).append((time.monotonic(), started))
                return
        self._remove(started)

    def _wanted(self) -> Recipe | None:
        """Of what there should be one more: those opened often share the room."""
        often = [recipe for recipe, count in Counter(self._recent).most_common() if count > 1]
        room = self._size - sum(map(len, self._ready.values()))
        for recipe in often[: self._size] if room > 0 else ():
            if len(self._ready.get(recipe, ())) < max(1, self._size // len(often)):
                return recipe
        return None

    def _late(self) -> list[tuple[float, Started]]:
        now = time.monotonic()
        return [item for kept in self._ready.values() for item in kept if now - item[0] > IDLE]
