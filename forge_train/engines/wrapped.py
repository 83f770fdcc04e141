"""An engine around another one, for what is added to any engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

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
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> Mapping[str, Sequence[Completion]]:
        """What each copy of the weights says that has proved nothing yet, or that is asked again."""
        return await self.inner.prove(prompts, sampling, seed=seed, again=again)

    async def differing(self, names: Collection[str], *, doubted: bool) -> Mapping[str, str]:
        """What is wrong with these copies' weights, where the engine can tell; see `Checksummed`."""
        ask = getattr(self.inner, "differing", None)
        return await ask(names, doubted=doubted) if ask is not None else {}

    async def weights_changed(self, version: int) -> None:
        """The weights are now those of `version`."""
        await self.inner.weights_changed(version)

    async def close(self) -> None:
        """Release what the engine holds."""
        await self.inner.close()
