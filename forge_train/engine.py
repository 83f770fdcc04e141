"""Tokens in, tokens out: what the trainer asks of anything that samples.

An engine knows no messages, no templates and no tasks. It continues a token sequence and says, for
every token it sampled, the logprob under the distribution it really sampled from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Literal, Protocol, runtime_checkable

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one action.

    >>> Sampling(temperature=0.7, max_tokens=64).greedy
    False
    """

    temperature: float = 1.0
    """0 means greedy: the logprob reported is then that of temperature 1."""
    top_p: float = 1.0
    top_k: int = 0
    """0 means no limit."""
    max_tokens: int = 512
    """Tokens of one action, the stop token included."""
    stop: tuple[int, ...] = ()
    """Token ids that end an action. The one that was sampled stays in the completion."""
    top_logprobs: int = 0
    """Tell each token's confidence over so many of the likeliest tokens, see `Completion`; 0: do not."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature={self.temperature}: it must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: it must lie in (0, 1]")
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k}: it must be 0 (no limit) or more")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: an action needs at least one token")
        if self.top_logprobs < 0:
            raise ValueError(f"top_logprobs={self.top_logprobs}: it must be 0 (none) or more")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled action.

    >>> Completion(tokens=[7, 2], logprobs=[-0.1, -0.3], finish="stop", version=4).finish
    'stop'
    """

    tokens: list[int]
    logprobs: list[float]
    """Behaviour logprobs: after temperature, top-p and top-k; as long as `tokens`."""
    finish: Finish
    version: int
    """Number of optimizer steps behind the weights that sampled its first token."""
    spans: tuple[tuple[int, int], ...] = ()
    """(version, tokens) in order, when the weights changed under way; empty when they did not."""
    confidence: tuple[float, ...] = ()
    """Of each token, where `top_logprobs` = k asks for it: -1/k sum of the logprobs of the k likeliest tokens
    there (DeepConf, arXiv 2508.15260, Eq. 2), in nats, after temperature and before top-p and top-k. The
    surer the policy is of one token, the unlikelier are the others, and the larger is this."""

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """`spans`, also where there is one alone."""
        return self.spans or ((self.version, len(self.tokens)),)


class EngineFailed(Exception):
    """An engine could not answer within its budget of time and attempts.

    `retryable` says whether the same request may succeed later. The episode ends as failed: a machine's
    failure is never a reward of 0.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable

    def __reduce__(self) -> tuple[Any, ...]:
        """It travels between processes, which an argument by name does not do by itself."""
        return partial(type(self), retryable=self.retryable), self.args


def completion(
    tokens: list[int],
    logprobs: list[float],
    finish: Finish,
    versions: Sequence[int],
    confidence: Sequence[float] = (),
) -> Completion:
    """A completion from the version of each of its tokens.

    >>> completion([7, 8, 2], [-0.1, -0.2, -0.3], "stop", [4, 4, 5]).spans
    ((4, 2), (5, 1))
    """
    spans = tuple((version, sum(1 for _ in run)) for version, run in groupby(versions))
    spans = spans if len(spans) > 1 else ()
    return Completion(tokens, logprobs, finish, versions[0], spans, tuple(confidence))


@runtime_checkable
class Engine(Protocol):
    """Continues token sequences; many requests at once, each an awaited call."""

    version: int
    """Number of optimizer steps behind the weights in use."""
    max_context: int
    """Longest sequence, prompt and completion together, in tokens."""
    reproducible: bool
    """True when the same requests in the same order give the same bits."""
    shares_weights: bool
    """True when it reads the learner's own weights, so that an update must not run beside it."""

    async def start(self) -> None:
        """Get ready to answer; raises EngineFailed or ValueError when that cannot be."""
        ...

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`.

        `conversation` names the sequence across turns: what an engine has computed for a prefix of
        it may be kept. `seed` makes the draw independent of what else is in flight.
        Raises ValueError when `tokens` leaves no room below `max_context`, EngineFailed when no answer
        can be had.
        """
        ...

    def forget(self, conversation: str) -> None:
        """The conversation is over; unknown names are ignored."""
        ...

    async def prove(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> Mapping[str, Sequence[Completion]]:
        """What each copy of the weights says after each of `prompts`, by the copy's name.

        Asked are those that were not since their last load, or else those of `again`. One that cannot answer
        takes no requests from now on, and is left out.
        """
        ...

    async def weights_changed(self, version: int) -> None:
        """The weights are now those of `version`; everything computed with older ones is invalid.

        An engine with weights of its own fetches the new ones here. Requests in flight go on under them.
        """
        ...

    async def close(self) -> None:
        """Release what the engine holds. Calling it twice is fine."""
        ...
