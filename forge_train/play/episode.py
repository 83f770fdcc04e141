"""Play: a policy and a world take turns until the episode ends in exactly one named way.

`play` is the whole story. A `World` lends an environment, a `Player` answers what it says, and what
remains is a `Trajectory`: the tokens, who wrote them, and what they earned.

Of what `step` returns in `info`, these keys are read, all of them optional: "turn_reward" (float),
"parts" (reward parts by name, summed over the episode), "outcome" (float, at the end), and "error"
(kind, stage, retryable) when a machine failed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol, Self, TypeVar

from forge_train.clock import Clock
from forge_train.config import ContextConfig
from forge_train.engine import Completion, Engine, EngineFailed, Sampling
from forge_train.play.context import FULL, begin
from forge_train.play.episode_record import EpisodeRecord
from forge_train.play.past import Limits
from forge_train.play.renderer import Message, Renderer
from forge_train.play.stretches import Stretches
from forge_train.play.world_pool import Seat, World, WorldFailed
from forge_train.seeds import derive_seed
from forge_train.trajectory import Ending, Segment, Trajectory

T = TypeVar("T")


async def play(
    world: World,
    player: Player,
    task: str,
    *,
    seed: int,
    group: str,
    deadline: float,
    seat: Seat | None = None,
    turns: int = 0,
) -> Trajectory:
    """Play `task` once, for at most `deadline` seconds, not counting those in which it waits in line.

    `seat` is a place in the world that its caller chose, for example one in the middle of an episode. After
    `turns` turns (0: no such limit) the player leaves, and the world grades what stands.

    Whatever happens inside the world becomes the ending of the trajectory, and so does an engine that has
    no answer. What happens outside them (a bug, a cancellation) is raised, after everything borrowed was
    given back.
    """
    began = time.perf_counter()
    record = EpisodeRecord(world, task, seed, group)
    seat = seat or Seat(world, task, seed)
    conversation: Conversation | None = None
    ending: Ending = "cancelled"
    try:
        async with Clock(deadline) as clock:
            messages = await seat.reset()
            record.opened(messages)
            conversation = player.open(messages, task=task, name=f"{group}#{seed}", seed=seed)
            while True:
                with record.clock("generate_seconds"):
                    action = None if record.turns >= turns > 0 else await conversation.act()
                record.said(action)
                with record.clock("world_seconds"):
                    answer = seat.cut() if action is None else seat.step(action)
                    messages, reward, terminated, truncated, info = await answer
                record.answered(messages, reward, info, turn=len(conversation.versions) - 1)
                if terminated or truncated:
                    ending = "terminated" if terminated else "max_turns"
                    record.outcome(info)
                    break
                conversation.hear(messages)
    except OutOfRoom as out:
        ending = out.ending
        record.cut(out.said)
    except WorldFailed as failure:
        ending = "failed"
        record.failed(failure.error)
    except EngineFailed as failure:
        ending = "failed"
        record.failed_to_act("engine", failure, retryable=failure.retryable)
    except AgentFailed as failure:
        ending = "failed"
        record.failed_to_act(failure.kind, failure, retryable=False)
    except TimeoutError:
        if not clock.expired():  # somebody else's timeout, for example the engine's connection
            raise
        ending = "deadline"
    finally:
        seat.leave(broken=record.broken)
        if conversation is not None:
            conversation.close()
    return record.trajectory(conversation, ending, time.perf_counter() - began)


async def play_group(
    world: World,
    player: Player,
    task: str,
    *,
    group: str,
    size: int,
    seed: int,
    deadline: float,
    turns: int = 0,
    limit: AbstractAsyncContextManager[Any] | None = None,
    ended: Callable[[], None] | None = None,
) -> list[Trajectory]:
    """Play `task` `size` times from the same opening, each member with a seed of its own.

    All members come back, the failed ones too. `turns` as in `play`; `limit` bounds how many plays are in
    flight; `ended` is called when one is over.
    """

    async def member(i: int) -> Trajectory:
        async with limit or nullcontext():
            number = derive_seed(seed, i)
            one = await play(world, player, task, seed=number, group=group, deadline=deadline, turns=turns)
        if ended is not None:
            ended()
        return one

    members = await gather(member(i) for i in range(size))
    same_opening(world, task, members)
    return members


def same_opening(world: World, task: str, members: Sequence[Trajectory]) -> None:
    """Raise ValueError where members of a group were not shown the same, so that they answer other tasks."""
    openings = [t.info["messages"][: t.info["opening"]] for t in members if t.info["opening"]]
    if any(opening != openings[0] for opening in openings):
        raise ValueError(
            f"world {world.name}, task {task!r}: members of a group were shown different openings. The "
            "opening may depend on the task only; let the seed decide what happens later"
        )


async def gather(plays: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; when one raises, or the caller is cancelled, the others are cancelled and awaited first."""
    tasks = [asyncio.ensure_future(play) for play in plays]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --------------------------------------------------------------------------------------------- players


class OutOfRoom(Exception):
    """The policy cannot finish an action: no context or no tokens are left for it."""

    def __init__(self, ending: Ending, said: str = "") -> None:
        super().__init__(ending)
        self.ending: Ending = ending
        self.said = said
        """What of the action had been said by then, where it is not kept as tokens."""


class AgentFailed(Exception):
    """A player that is a program failed as a program: that is no verdict on what its policy said.

    `kind` is "bug" for one that never got so far as to ask its policy, else "agent".
    """

    def __init__(self, message: str, *, kind: Literal["agent", "bug"]) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[partial[AgentFailed], tuple[()]]:
        return partial(AgentFailed, str(self), kind=self.kind), ()  # it crosses from a worker process


class Conversation(Protocol):
    """One player's side of one episode."""

    @property
    def segments(self) -> list[Segment]:
        """What was heard and said so far."""
        ...

    @property
    def versions(self) -> list[int]:
        """Weights version that began each action so far, an unfinished one included."""
        ...

    @property
    def spans(self) -> dict[int, list[tuple[int, int]]]:
        """(version, tokens) of the actions under way while the weights changed."""
        ...

    async def act(self) -> str | None:
        """Say the next action; None to stop, so that the world grades what stands.

        Raises OutOfRoom and AgentFailed. What the world answers is credited to the last action in `versions`,
        of which there may be several since the world was last asked, or none.
        """
        ...

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in what the world answered."""
        ...

    def close(self) -> None:
        """The episode is over."""
        ...


class Player(Protocol):
    """Anything that can answer a world: a policy behind an engine, a gold script, a chat endpoint."""

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> Conversation:
        """Begin an episode with the world's opening messages; `name` is unique among those in flight."""
        ...


class TokenPlayer:
    """A policy: a renderer turns messages into tokens, an engine continues them."""

    def __init__(
        self, engine: Engine, renderer: Renderer, sampling: Sampling, context: ContextConfig = FULL
    ) -> None:
        if sampling.stop not in ((), renderer.stop):
            raise ValueError(
                f"sampling.stop={sampling.stop}: leave it empty, the renderer's is {renderer.stop}"
            )
        self.engine = engine
        self.renderer = renderer
        self.sampling = replace(sampling, stop=renderer.stop)
        self.context = context

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> TokenConversation:
        """Begin an episode."""
        return TokenConversation(self, messages, name, seed)


class TokenConversation:
    """Tokens that only grow: heard, sampled, heard, sampled; rewritten as `play.context` says."""

    def __init__(self, player: TokenPlayer, messages: Sequence[Message], name: str, seed: int) -> None:
        self._player = player
        self._name = name
        self._seed = seed
        self.versions: list[int] = []
        self.spans: dict[int, list[tuple[int, int]]] = {}
        limits = Limits(player.engine.max_context, player.sampling.max_tokens)
        self._past = begin(player.context, player.renderer, messages, limits)

    @property
    def segments(self) -> list[Segment]:
        """What was heard and said so far."""
        return self._past.segments

    def fork(self, name: str, seed: int) -> Self:
        """The conversation as it is now, to go on under another name and seed; its actions count from 0."""
        assert isinstance(self._past, Stretches), "a past that is rewritten is refused with branches"
        other = copy(self)
        other._name, other._seed, other._past = name, seed, self._past.fork()
        other.versions, other.spans = [], {}
        return other

    @property
    def notes(self) -> dict[str, Any]:
        """What became of its past, where that was rewritten."""
        return self._past.notes

    async def act(self) -> str | None:
        """Sample the next action with a seed of (episode, turn): the draw knows nothing of its neighbours.

        Before it a summary, where one was asked for. None when it was told to come to an end, and did not.
        """
        if self._past.over:
            return None
        if self._past.asks:
            context, own = self._player.context, self._player.context.train_summaries
            start = len(self.segments[-1].tokens)
            most = context.summary_tokens or self._player.sampling.max_tokens
            await self._say(replace(self._player.sampling, max_tokens=most), own=own)
            self._past.summarised(start, own=own)
        start = len(self.segments[-1].tokens)
        said = await self._say(self._player.sampling)
        if said.finish == "length":
            raise self._out_of_room()
        assert said.tokens[-1] in self._player.sampling.stop
        return self._past.said(start)

    async def _say(self, sampling: Sampling, *, own: bool = True) -> Completion:
        """Sample an action, whose thought ends where its budget does; one that is not the policy's `own` is
        heard."""
        segment, budget = self.segments[-1], self._player.renderer.thoughts.budget
        turn, start = len(self.versions) if own else None, len(segment.tokens)
        said = await self._sample(segment, sampling, budget, turn)
        if said.finish == "length" and 0 < budget == len(said.tokens) < sampling.max_tokens:
            self._interrupt(segment, start)
            rest = replace(sampling, max_tokens=sampling.max_tokens - budget)
            said = await self._sample(segment, rest, 0, turn, after=said)
        return said

    def _out_of_room(self) -> OutOfRoom:
        """Why the next token cannot be said."""
        full = len(self.segments[-1].tokens) >= self._player.engine.max_context
        return OutOfRoom("context" if full else "tokens")

    def _interrupt(self, segment: Segment, start: int) -> None:
        """End a thought whose budget is spent; nobody sampled these tokens, so nobody is trained on them."""
        ending = self._player.renderer.interrupt(segment.tokens[start:])
        if len(segment.tokens) + len(ending) >= self._player.engine.max_context:
            raise OutOfRoom("context")
        segment.hear(ending)

    async def _sample(
        self,
        segment: Segment,
        sampling: Sampling,
        most: int,
        turn: int | None,
        after: Completion | None = None,
    ) -> Completion:
        """Sample at most `most` tokens (0: no such bound) of an action, which began with `after`.

        Without a `turn` it is no action: nobody is trained on it.
        """
        engine = self._player.engine
        left = self._past.left - (len(after.tokens) if after else 0)
        room = min(engine.max_context - len(segment.tokens), left)
        if room < 1:
            raise self._out_of_room()
        limit = min(room, sampling.max_tokens, most or room)
        said = await engine.complete(
            segment.tokens,
            replace(sampling, max_tokens=limit),
            conversation=self._name,
            seed=derive_seed(self._seed, *(("summary", len(self.segments)) if turn is None else (turn,))),
        )
        if turn is None:
            segment.hear(said.tokens)
            return said
        segment.act(said.tokens, said.logprobs, turn, said.confidence)
        spans = [*(after.runs if after else ()), *said.runs]
        if after is None:
            self.versions.append(said.version)
        if len({version for version, _ in spans}) > 1:
            self.spans[turn] = spans
        return said

    def hear(self, messages: Sequence[Message]) -> None:
        """Append the world's answer and the header of the next action."""
        self._past.hear(messages)

    def close(self) -> None:
        """Let the engine drop what it kept for this conversation."""
        self._player.engine.forget(self._name)
