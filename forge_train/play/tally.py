"""How far playing is, counted as it happens: for a person who waits for the first step of a large run."""

from __future__ import annotations

from collections.abc import Sequence

from forge_train.engine import Completion, Engine, Sampling
from forge_train.engines.wrapped import WrappedEngine


class Tally(WrappedEngine):
    """An engine that counts what it samples, and the episodes that its user says have ended."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.tokens = 0
        self.episodes = 0

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`; see `Engine`."""
        said = await self.inner.complete(tokens, sampling, conversation=conversation, seed=seed)
        self.tokens += len(said.tokens)
        return said

    def ended(self) -> None:
        """One more episode has ended."""
        self.episodes += 1
