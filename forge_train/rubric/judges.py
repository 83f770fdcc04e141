"""Who judges: the policy itself, whose judgements can be trained, or a model behind an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from forge_train.config.rubric import RubricConfig
from forge_train.engine import EngineFailed, Sampling
from forge_train.play.chat_player import ChatEndpoint, ChatPlayer
from forge_train.play.episode import OutOfRoom, Player
from forge_train.rubric.book import JudgementBook, key_of
from forge_train.trajectory import Ending, Segment

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a judge said to one question."""

    text: str
    """Its reply; "" where it did not end."""
    ending: Ending = "terminated"
    """tokens or context, where it ran out of them."""
    segments: list[Segment] = field(default_factory=list)
    """Its tokens, of a judge that is trained."""
    versions: list[int] = field(default_factory=list)
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens that were sampled for it."""
        return sum(action >= 0 for segment in self.segments for action in segment.action)


class RubricJudge(Protocol):
    """Answers questions. Raises EngineFailed when it cannot be had."""

    async def ask(self, messages: Messages, *, name: str, seed: int, attempt: int) -> Answer:
        """The answer to one question; `name` is unique among those in flight, `seed` is of this attempt."""
        ...

    async def close(self) -> None:
        """Give back what is held."""
        ...


class PolicyJudge:
    """The policy, with the weights it plays with."""

    def __init__(self, player: Player) -> None:
        self._player = player

    async def ask(self, messages: Messages, *, name: str, seed: int, attempt: int) -> Answer:
        """See `RubricJudge`."""
        conversation = self._player.open(messages, task=name, name=name, seed=seed)
        ending: Ending = "terminated"
        text: str | None = None
        try:
            text = await conversation.act()
        except OutOfRoom as out:
            ending = out.ending
        finally:
            conversation.close()
        return Answer(text or "", ending, conversation.segments, conversation.versions, conversation.spans)

    async def close(self) -> None:
        """Nothing is held: the engine is the run's."""


class EndpointJudge:
    """A model behind an OpenAI-compatible endpoint, greedy; its replies may be recorded, or replayed."""

    def __init__(self, config: RubricConfig) -> None:
        self._endpoint = ChatEndpoint.parse(config.judge)
        self._sampling = Sampling(temperature=0.0, max_tokens=config.max_action)
        self._replays = config.replay
        path = config.record or config.replay
        self._book = JudgementBook(Path(path), must_exist=bool(config.replay)) if path else None
        self._chat = None if config.replay else ChatPlayer(self._endpoint, self._sampling)

    async def ask(self, messages: Messages, *, name: str, seed: int, attempt: int) -> Answer:
        """See `RubricJudge`. The same question gets the same answer, in whatever episode it occurs."""
        request = {"model": self._endpoint.model, "messages": list(messages), "attempt": attempt}
        key = key_of(request | {"max_tokens": self._sampling.max_tokens})
        known = self._book.find(key) if self._book is not None else None
        if known is not None:
            return Answer(known)
        if self._chat is None:
            heard = messages[-1]["content"][-80:]
            raise EngineFailed(f"{self._replays} holds no reply to {heard!r}", retryable=False)
        try:
            reply = await self._chat.ask(messages, (), attempt, 0)
        except OutOfRoom as out:
            return Answer("", out.ending)
        if reply.cut:
            return Answer("", "tokens")
        if self._book is None:
            return Answer(reply.action)
        try:
            return Answer(self._book.add(key, str(messages[-1]["content"]), reply.action))
        except OSError as error:
            raise EngineFailed(f"{self._book.path} cannot be written ({error})", retryable=False) from None

    async def close(self) -> None:
        """Close the connections."""
        if self._chat is not None:
            await self._chat.close()


class ScriptedJudge:
    """Says what `say` makes of a question and its attempt: for tests and demonstrations.

    >>> import asyncio
    >>> judge = ScriptedJudge(lambda messages, attempt: '{"reason": "r", "met": [true]}')
    >>> asyncio.run(judge.ask([], name="q", seed=0, attempt=0)).ending
    'terminated'
    """

    def __init__(self, say: Callable[[Messages, int], str], *, latency: float = 0.0) -> None:
        self._say = say
        self._latency = latency
        self.asked: list[Messages] = []
        """Every question, in the order in which they came."""

    async def ask(self, messages: Messages, *, name: str, seed: int, attempt: int) -> Answer:
        """See `RubricJudge`; what `say` raises is raised."""
        self.asked.append(messages)
        await asyncio.sleep(self._latency)
        return Answer(self._say(messages, attempt))

    async def close(self) -> None:
        """Nothing is held."""
