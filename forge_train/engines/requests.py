"""What the in-process engine is asked, and what it counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from forge_train.clock import Clock
from forge_train.engine import Completion, Sampling
from forge_train.engines.pages import Chain


@dataclass(slots=True)
class Counters:
    """What the engine has done so far, in tokens (and conversations).

    `prefilled` + `decoded` tokens went through the model.
    """

    prefilled: int = 0
    decoded: int = 0
    """Sampled tokens that were fed back; an action's last one is prefilled with the next turn."""
    sampled: int = 0
    copied: int = 0
    """Prompt tokens taken over from another conversation, or from one that is over."""
    evictions: int = 0
    """Idle conversations dropped to make room."""
    steps: int = 0


@dataclass(slots=True, eq=False)
class Request:
    """One action that is asked for, from the moment it waits for a seat."""

    conversation: str
    chain: Chain
    tokens: list[int]
    """Prompt and what has been sampled so far."""
    prompt: int
    limit: int
    """Length of `tokens` at which the action is cut."""
    sampling: Sampling
    seed: int
    future: asyncio.Future[Completion]
    versions: list[int] = field(default_factory=list)
    """Weights version of each token sampled so far."""
    logprobs: list[float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    """Of each token sampled so far, where it is asked for."""
    seat: int = -1
    clock: Clock | None = None
    """That of whoever waits for a seat, so long as it stands."""

    @property
    def missing(self) -> int:
        """Tokens whose keys and values are still to be computed."""
        return len(self.tokens) - self.chain.computed

    def seated(self) -> None:
        """It waits no more."""
        if self.clock is not None:
            self.clock.go()
            self.clock = None
