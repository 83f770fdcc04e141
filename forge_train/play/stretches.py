"""The segments of one conversation: it grows, and begins anew where thoughts are dropped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from copy import copy
from typing import Any, Self

from forge_train.play.encoding import Message
from forge_train.play.renderer import Renderer
from forge_train.trajectory import Segment


class Stretches:
    """What was heard and said; an action stands as the policy's in the segment alone where it was sampled.

    The `Past` of a conversation that ends where no action fits; see `forge_train.play.context`.
    """

    asks = over = False
    left = sys.maxsize

    def __init__(self, renderer: Renderer, messages: Sequence[Message]) -> None:
        self._renderer = renderer
        self.segments = [Segment()]
        self.segments[-1].hear(renderer.open(messages))
        self._settled = 0
        """Tokens of the last segment that stand as they will be remembered."""
        self._turns: list[tuple[int, int, int]] = []
        """Since then: where each prompt begins, where its action begins, and where that ends."""

    def fork(self) -> Self:
        """The conversation as it is now, to go on apart; what was said until here is heard there."""
        other = copy(self)
        other.segments = [Segment()]
        other.segments[-1].hear(list(self.segments[-1].tokens))
        other._turns = list(self._turns)
        return other

    @property
    def notes(self) -> dict[str, Any]:
        """Nothing is to be told of it."""
        return {}

    def said(self, start: int) -> str:
        """An action is whole, which begins at `start` of the last segment; returns its text."""
        begin = self._turns[-1][2] if self._turns else self._settled
        tokens = self.segments[-1].tokens
        self._turns.append((begin, start, len(tokens)))
        return self._renderer.text(tokens[start:])

    def summarised(self, start: int, *, own: bool) -> None:
        """Nobody asked for one."""
        raise AssertionError("no summary was asked for")

    def hear(self, messages: Sequence[Message]) -> None:
        """Append the world's answer; first leave out the thoughts that are not remembered beyond it.

        What is remembered is heard in the new segment: the policy spoke it, but not there.
        """
        if self._turns and self._renderer.thoughts.forgets(messages):
            tokens = self.segments[-1].tokens
            kept = tokens[: self._settled]
            for begin, start, end in self._turns:
                kept += self._renderer.remembered(tokens[begin:start], tokens[start:end])
            if kept != tokens:
                self.segments.append(Segment())
                self.segments[-1].hear(kept)
            self._settled, self._turns = len(kept), []
        self.segments[-1].hear(self._renderer.extend(messages))
