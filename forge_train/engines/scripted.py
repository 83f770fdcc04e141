"""An engine that says what it is told to: for tests, demonstrations, and measuring everything around it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from forge_train.engine import Completion, Finish, Sampling

Say = Callable[[Sequence[int], str, int], Sequence[int]]
"""(tokens so far, conversation, seed) -> what to say."""


class ScriptedEngine:
    """An `Engine` without a model; it raises where `LocalEngine` would.

    `script` is a function of (tokens, conversation, seed), or a list of actions that every conversation says
    in turn, from the first. An action is cut where a real engine would end it: after a stop token, at
    `max_tokens`, at `max_context`. Every token's logprob is `logprob`; `latency` is in seconds an action.
    """

    reproducible = True
    shares_weights = False

    def __init__(
        self,
        script: Say | Iterable[Sequence[int]],
        *,
        latency: float = 0.0,
        max_context: int = 4096,
        logprob: float = 0.0,
        version: int = 0,
    ) -> None:
        self.version = version
        self.max_context = max_context
        self.latency = latency
        self.logprob = logprob
        self.turns: Counter[str] = Counter()
        """Actions said so far in each conversation that was not forgotten."""
        self._script: Say | list[list[int]] = script if callable(script) else [list(said) for said in script]
        self._closed = False

    async def start(self) -> None:
        """There is nothing to wait for."""

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Say the next scripted action; ValueError when the list has none left or `tokens` leaves no room."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        if not 0 < len(tokens) < self.max_context:
            raise ValueError(
                f"conversation {conversation!r} has {len(tokens)} tokens: at least one and fewer than "
                f"max_context={self.max_context} are needed"
            )
        said = self._next(tokens, conversation, seed)
        version = self.version
        await asyncio.sleep(self.latency)
        room = min(sampling.max_tokens, self.max_context - len(tokens))
        stops = [i + 1 for i, token in enumerate(said) if token in sampling.stop]
        end = min([room, *stops[:1]])
        said = said[:end]
        if not said or (len(said) < room and not stops):
            raise ValueError(
                f"conversation {conversation!r}: the scripted action {said} neither ends in a stop token "
                f"{sampling.stop} nor fills the {room} tokens there is room for"
            )
        finish: Finish = "stop" if said[-1] in sampling.stop else "length"
        confidence = (-self.logprob,) * len(said) if sampling.top_logprobs else ()
        return Completion(said, [self.logprob] * len(said), finish, version, confidence=confidence)

    def forget(self, conversation: str) -> None:
        """The conversation is over; a new one of that name starts from the first action."""
        self.turns.pop(conversation, None)

    async def prove(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> dict[str, list[Completion]]:
        """Nothing: there are no weights."""
        return {}

    async def weights_changed(self, version: int) -> None:
        """There are no weights; completions carry `version` from now on."""
        self.version = version

    async def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    def _next(self, tokens: Sequence[int], conversation: str, seed: int) -> list[int]:
        turn = self.turns[conversation]
        self.turns[conversation] += 1
        if callable(self._script):
            return list(self._script(tokens, conversation, seed))
        if turn >= len(self._script):
            raise ValueError(
                f"conversation {conversation!r} asks for action {turn + 1} of {len(self._script)} scripted"
            )
        return self._script[turn]
