"""Work in boxes of its own that goes on beside other work, and is dropped when nobody wants it any more."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from forge_envs.sandbox import SandboxError, provider
from forge_envs.sandbox.aside import aside

T = TypeVar("T")

AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""How many go on beside others in a process at most. Who is dropped has used a processor for nothing: where
many things go on at once, as in training, that would cost more than waiting."""
_ROOM = threading.BoundedSemaphore(AT_ONCE)


def let_go(sandbox: str, close: Callable[[], None]) -> None:
    """Close a box that nobody needs any more, by somebody else where that takes long: a container goes as
    slowly as a small test runs."""
    if provider(sandbox).jail:
        aside(close)
    else:
        close()


class Beside(Generic[T]):
    """What `act` returns, which begins at once where there is room and its boxes are jails.

    A box that is no jail may be looked into from the one beside it: there `act` waits for `result`, and so it
    does where there is no room. `act` is given this object, and tells it with `keep` how each box that it
    opens is closed.
    """

    def __init__(self, sandbox: str, act: Callable[[Beside[T]], T]) -> None:
        self._act = act
        self._lock = threading.Lock()
        self._closing: list[Callable[[], None]] = []
        self._dropped = False
        self._done: Future[T] | None = None
        if provider(sandbox).jail and _ROOM.acquire(blocking=False):
            self._done = aside(self._work)

    def keep(self, close: Callable[[], None]) -> None:
        """Remember how a box is closed. Closes it and raises SandboxError if nobody waits any more."""
        with self._lock:
            self._closing.append(close)
            dropped = self._dropped
        if dropped:
            close()
            raise SandboxError("nobody waits for this run", kind="gone", retryable=False)

    @property
    def dropped(self) -> bool:
        """Whether nobody waits any more."""
        with self._lock:
            return self._dropped

    def result(self) -> T:
        """What came of it. Raises what `act` raises."""
        return self._act(self) if self._done is None else self._done.result()

    def drop(self) -> None:
        """Nobody wants it: its boxes are closed, by somebody else; what becomes of it is not heard."""
        with self._lock:
            self._dropped = True
            closing, self._closing = self._closing, []
        for close in closing if self._done is not None and not self._done.done() else ():
            aside(close)

    def _work(self) -> T:
        try:
            return self._act(self)
        finally:
            _ROOM.release()
