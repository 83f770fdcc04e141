"""What a draw asks of those who play it: another temperature, and an end to what an episode may say.

Both are asked of the engine, so that they hold for any player, however often it asks in an episode.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from forge_train.engine import Completion, Engine, Sampling
from forge_train.engines.wrapped import WrappedEngine
from forge_train.play.curriculum import Draw
from forge_train.play.episode import OutOfRoom

P = TypeVar("P")


class LimitedEngine(WrappedEngine):
    """An engine that samples as one draw says. Conversations are its episodes."""

    def __init__(self, engine: Engine, draw: Draw) -> None:
        super().__init__(engine)
        self._draw = draw
        self._said: dict[str, int] = {}

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`, no longer than the episode may still say. Raises OutOfRoom.

        An action that is cut off there ends by "length", which players make an ending of: "tokens".
        """
        temperature, most = self._draw.temperature, sampling.max_tokens
        if self._draw.tokens:
            most = min(most, self._draw.tokens - self._said.get(conversation, 0))
            if most < 1:
                raise OutOfRoom("tokens")
        asked = replace(
            sampling,
            temperature=sampling.temperature if temperature is None else temperature,
            max_tokens=most,
        )
        said = await super().complete(tokens, asked, conversation=conversation, seed=seed)
        self._said[conversation] = self._said.get(conversation, 0) + len(said.tokens)
        return said

    def forget(self, conversation: str) -> None:
        """The conversation is over."""
        self._said.pop(conversation, None)
        super().forget(conversation)


def limited(player: P, draw: Draw) -> P:
    """`player` as `draw` wants it; itself where that asks for nothing special."""
    if draw.temperature is None and not draw.tokens:
        return player
    found = copy.copy(player)
    found.engine = LimitedEngine(player.engine, draw)  # type: ignore[attr-defined]
    return found
