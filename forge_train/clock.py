"""The time of an episode, or of a request: it stands still while its owner waits in line.

How long a thread, a seat or room on a server is waited for says how busy a machine is, nothing about the
episode. So a deadline counts what the episode does, and queueing is outside of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from types import TracebackType

_CURRENT: ContextVar[Clock | None] = ContextVar("clock", default=None)


class Clock:
    """`asyncio.timeout(seconds)` that can be stopped; with None it only measures how long it stood.

    Entered inside another one it stops that one too, so that a request in line stops its episode.

    >>> async def late() -> bool:
    ...     async with Clock(0.01) as clock:
    ...         with in_line():
    ...             await asyncio.sleep(0.03)
    ...     return clock.expired()
    >>> asyncio.run(late())
    False
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self.around: Clock | None = None
        """The clock that this one was entered in."""
        self._depth = 0
        self._left = 0.0
        self._stopped_at = 0.0
        self._stood = 0.0
        self._over = False

    async def __aenter__(self) -> Clock:
        self.around = _CURRENT.get()
        self._token: Token[Clock | None] = _CURRENT.set(self)
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        _CURRENT.reset(self._token)
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def stood(self) -> float:
        """Seconds it stood still so far."""
        return self._stood + (time.monotonic() - self._stopped_at if self._depth else 0.0)

    def expired(self) -> bool:
        """Whether it ran out, and not somebody else's."""
        return self._timeout.expired()

    def stop(self) -> None:
        """Stand still until `go` was called as often, and with it the clocks around it."""
        if self.around is not None:
            self.around.stop()
        self._depth += 1
        if self._depth == 1:
            self._stopped_at = time.monotonic()
            until = self._timeout.when()
            if until is not None and self._runs():
                self._left = until - asyncio.get_running_loop().time()
                self._timeout.reschedule(None)

    def go(self) -> None:
        """Go on; with as much time left as there was."""
        if self.around is not None:
            self.around.go()
        self._depth -= 1
        if self._depth == 0:
            self._stood += time.monotonic() - self._stopped_at
            if self._seconds is not None and self._runs():
                self._timeout.reschedule(asyncio.get_running_loop().time() + self._left)

    def _runs(self) -> bool:
        return not (self._over or self._timeout.expired())


def current() -> Clock | None:
    """The innermost clock that runs here."""
    return _CURRENT.get()


@contextmanager
def running(clock: Clock | None) -> Iterator[None]:
    """What is done inside, in whatever task, is done on the time of `clock`."""
    token = _CURRENT.set(clock)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextmanager
def in_line(*, bounded: bool = False) -> Iterator[None]:
    """Somebody waits for their turn: the clock that runs here stands, if there is one.

    `bounded`: it goes on, so that the wait has an end, and those around it stand.
    """
    clock = current()
    if clock is not None and bounded:
        clock = clock.around
    if clock is None:
        yield
        return
    clock.stop()
    try:
        yield
    finally:
        clock.go()


def queue_up() -> Callable[[], None]:
    """As `in_line`, until what is returned is called, once, from any thread."""
    clock = current()
    if clock is None:
        return lambda: None
    clock.stop()
    loop, go = asyncio.get_running_loop(), clock.go

    def over() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            loop.call_soon_threadsafe(go)

    return over
