"""An engine around another one, for what is added to any engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge_train.engine import Completion, Engine, Sampling


class WrappedEngine:
    """Passes everything on; a subclass changes what it is about."""

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self.max_context = engine.max_context
        self.reproducible = engine.reproducible
        self.shares_weights = engine.shares_weights

    @property
    def version(self) -> int:
        """Number of optimizer steps behind the weights in use."""
        return self.inner.version

    @version.setter
    def version(self, version: int) -> None:
        self.inner.version = version

    async def start(self) -> None:
        """Get ready to answer."""
        await self.inner.start()

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`; see `Engine`."""
        return await self.inner.complete(tokens, sampling, conversation=conversation, seed=seed)

    def forget(self, conversation: str) -> None:
        """The conversation is over."""
        self.inner.forget(conversation)

    async def prove(
        self, tokens: Sequence[int], sampling: Sampling, *, seed: int
    ) -> Mapping[str, Completion]:
        """One action from each copy of the weights that has proved nothing yet."""
        return await self.inner.prove(tokens, sampling, seed=seed)

    async def weights_changed(self, version: int) -> None:
        """The weights are now those of `version`."""
        await self.inner.weights_changed(version)

    async def close(self) -> None:
        """Release what the engine holds."""
        await self.inner.close()
