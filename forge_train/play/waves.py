"""Playing in waves: what is trained does not depend on how long anything took, to the bit.

Otherwise two things do. Which requests share a forward pass decides how sums are rounded, and with a lag the
moment of an update decides which tokens the new weights sample. In waves neither is left to a clock:

    all episodes wait for the engine --> it answers them together, in the order of their names --> each goes
    to its world, and comes back or ends --> the trainer looks at the groups that ended, in order, and may
    take a batch and learn --> only when it waits for groups again, and all wait for the engine, the next wave

So a wave takes as long as its slowest world, and nothing is sampled while the learner works. What comes from
outside (a deadline, a machine that fails) is beyond this: such an episode ends when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType

from forge_train.clock import in_line

_PLAYING: ContextVar[bool] = ContextVar("playing in waves", default=False)
"""Whether it is an episode of a group that asks, and not one of an evaluation, or a proof."""


class Waves:
    """The books of who is where: `size` episodes of each group, at the engine, in a world, or over.

    The trainer calls `begin` for a group, `ended` when it has been played, and `go` whenever it waits. The
    runner plays the members of each inside a `seat`, and the engine answers inside `turn`.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._out = 0
        """Episodes neither at the engine nor over; the last of a group is over when `ended` is called."""
        self._waits = False
        self._asking: list[tuple[str, asyncio.Future[_Wave]]] = []
        self._ended: list[tuple[int, asyncio.Future[None]]] = []

    def begin(self) -> None:
        """A group starts: its members are on their way."""
        self._out += self._size

    def seat(self) -> _Seat:
        """What each member of one group is inside of, for its whole episode."""
        return _Seat(self, self._size)

    def go(self) -> None:
        """The trainer has nothing to do until groups have been played."""
        self._waits = True
        self._look_soon()

    async def ended(self, index: int) -> None:
        """Group `index` has been played: return when it is its turn to be looked at."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended.append((index, turn))
        self._out -= 1
        self._look_soon()
        await turn
        self._waits = False  # it may have said so since, before it could see this group

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Inside, the engine answers `name`, together with all others of the wave.

        Whoever plays in no group is let through at once.
        """
        if not _PLAYING.get():
            yield
            return
        asked: asyncio.Future[_Wave] = asyncio.get_running_loop().create_future()
        self._asking.append((name, asked))
        self._out -= 1
        with in_line():
            self._look_soon()
            try:
                wave = await asked
            except asyncio.CancelledError:
                if (name, asked) in self._asking:
                    self._asking.remove((name, asked))
                    self._out += 1
                raise
        try:
            yield
        finally:
            wave.left -= 1
            if not wave.left:
                wave.over.set()
            with in_line():
                await wave.over.wait()

    def joined(self, count: int) -> None:
        """A group has so many episodes more, which are on their way."""
        self._out += count

    def over(self) -> None:
        """An episode has ended."""
        self._out -= 1
        self._look_soon()

    def _look_soon(self) -> None:
        """When whoever calls is waiting too: who is answered at once would not go on in its place."""
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Whoever is next goes on, when nobody is under way."""
        if self._out:
            return
        if self._ended:
            self._waits = False
            ended, self._ended = sorted(self._ended, key=lambda one: one[0]), []
            for _, turn in ended:
                if not turn.done():
                    turn.set_result(None)
        elif self._waits and self._asking:
            asking, self._asking = sorted(self._asking, key=lambda one: one[0]), []
            self._out = len(asking)
            wave = _Wave(len(asking))
            for _, asked in asking:
                asked.set_result(wave)


class _Wave:
    """Requests that are answered together; none hears its answer before all are there."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.over = asyncio.Event()


class _Seat:
    """Entered by each member of a group for its whole episode, where a semaphore would be otherwise."""

    def __init__(self, waves: Waves, left: int) -> None:
        self._waves = waves
        self._left = left

    def more(self, count: int) -> None:
        """So many members come yet; said by one that is not over."""
        self._left += count
        self._waves.joined(count)

    async def __aenter__(self) -> None:
        _PLAYING.set(True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _PLAYING.set(False)
        self._left -= 1
        if self._left:
            self._waves.over()
