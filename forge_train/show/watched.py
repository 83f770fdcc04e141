"""A step under way, as somebody who waits for it sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from forge_train.show.live import Live

LOOK = 0.5
"""Seconds between looks."""


class Steps(Protocol):
    """Whoever takes steps: see `Trainer`."""

    learning: bool

    @property
    def ready(self) -> int:
        """Episodes of groups that are whole and wait."""
        ...


class Counts(Protocol):
    """Whoever counts what is played: see `Tally`."""

    episodes: int
    tokens: int


@asynccontextmanager
async def watched(live: Live, trainer: Steps, played: Counts, total: int) -> AsyncIterator[None]:
    """Tell `live` how far a step of `total` episodes is, until it is done."""
    before, tokens = played.episodes - trainer.ready, played.tokens

    async def look() -> None:
        while True:
            # Episodes that others play, on other machines, are seen only when their group is whole.
            episodes = max(played.episodes - before, trainer.ready)
            live.under_way(episodes, total, played.tokens - tokens, learning=trainer.learning)
            await asyncio.sleep(LOOK)

    task = asyncio.create_task(look(), name="watch the step")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
