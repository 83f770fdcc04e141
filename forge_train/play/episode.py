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
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from forge_train.clock import Clock
from forge_train.engine import Completion, Engine, EngineFailed, Sampling
from forge_train.play.renderer import Message, Renderer
from forge_train.play.stretches import Stretches
from forge_train.play.world_pool import Seat, World, WorldFailed
from forge_train.seeds import derive_seed
from forge_train.trajectory import Ending, Segment, Trajectory

T = TypeVar("T")


async def play(
    world: World, player: Player, task: str, *, seed: int, group: str, deadline: float
) -> Trajectory:
    """Play `task` once, for at most `deadline` seconds, not counting those in which it waits in line.

    Whatever happens inside the world becomes the ending of the trajectory, and so does an engine that has
    no answer. What happens outside them (a bug, a cancellation) is raised, after everything borrowed was
    given back.
    """
    began = time.perf_counter()
    record = _Record(world, task, seed, group)
    seat = Seat(world, task, seed)
    conversation: Conversation | None = None
    ending: Ending = "cancelled"
    try:
        async with Clock(deadline) as clock:
            messages = await seat.reset()
            record.opened(messages)
            conversation = player.open(messages, task=task, name=f"{group}#{seed}", seed=seed)
            while True:
                with record.clock("generate_seconds"):
                    action = await conversation.act()
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
        record.failed(
            {"kind": "engine", "stage": "act", "retryable": failure.retryable, "message": str(failure)}
        )
    except AgentFailed as failure:
        ending = "failed"
        record.failed({"kind": failure.kind, "stage": "act", "retryable": False, "message": str(failure)})
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
    limit: AbstractAsyncContextManager[Any] | None = None,
    ended: Callable[[], None] | None = None,
) -> list[Trajectory]:
    """Play `task` `size` times from the same opening, each member with a seed of its own.

    All members come back, the failed ones too. `limit` bounds how many plays are in flight; `ended` is called
    when one is over.
    """

    async def member(i: int) -> Trajectory:
        async with limit or nullcontext():
            one = await play(world, player, task, seed=derive_seed(seed, i), group=group, deadline=deadline)
        if ended is not None:
            ended()
        return one

    members = await gather(member(i) for i in range(size))
    openings = [t.info["messages"][: t.info["opening"]] for t in members if t.info["opening"]]
    if any(opening != openings[0] for opening in openings):
        raise ValueError(
            f"world {world.name}, task {task!r}: members of a group were shown different openings. The "
            "opening may depend on the task only; let the seed decide what happens later"
        )
    return members


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


@runtime_checkable
class Metered(Protocol):
    """A conversation that somebody else counts the tokens of."""

    usage: dict[str, int]


@runtime_checkable
class Noted(Protocol):
    """A conversation that leaves notes of its own in the trajectory's info: JSON, by key."""

    @property
    def notes(self) -> dict[str, Any]:
        """They are read when the conversation is closed."""
        ...


class Player(Protocol):
    """Anything that can answer a world: a policy behind an engine, a gold script, a chat endpoint."""

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> Conversation:
        """Begin an episode with the world's opening messages; `name` is unique among those in flight."""
        ...


class TokenPlayer:
    """A policy: a renderer turns messages into tokens, an engine continues them."""

    def __init__(self, engine: Engine, renderer: Renderer, sampling: Sampling) -> None:
        if sampling.stop not in ((), renderer.stop):
            raise ValueError(
                f"sampling.stop={sampling.stop}: leave it empty, the renderer's is {renderer.stop}"
            )
        self.engine = engine
        self.renderer = renderer
        self.sampling = replace(sampling, stop=renderer.stop)

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> TokenConversation:
        """Begin an episode."""
        return TokenConversation(self, messages, name, seed)


class TokenConversation:
    """Tokens that only grow: heard, sampled, heard, sampled; rewritten where thoughts are dropped."""

    def __init__(self, player: TokenPlayer, messages: Sequence[Message], name: str, seed: int) -> None:
        self._player = player
        self._name = name
        self._seed = seed
        self.versions: list[int] = []
        self.spans: dict[int, list[tuple[int, int]]] = {}
        self._stretches = Stretches(player.renderer, messages)

    @property
    def segments(self) -> list[Segment]:
        """What was heard and said so far."""
        return self._stretches.segments

    async def act(self) -> str:
        """Sample the next action with a seed of (episode, turn): the draw knows nothing of its neighbours."""
        renderer, sampling, segment = self._player.renderer, self._player.sampling, self.segments[-1]
        turn, start = len(self.versions), len(segment.tokens)
        budget = renderer.thoughts.budget
        said = await self._sample(segment, sampling, budget, turn)
        if said.finish == "length" and 0 < budget == len(said.tokens) < sampling.max_tokens:
            self._interrupt(segment, start)
            rest = replace(sampling, max_tokens=sampling.max_tokens - budget)
            said = await self._sample(segment, rest, 0, turn, after=said)
        if said.finish == "length":
            raise OutOfRoom("context" if len(segment.tokens) >= self._player.engine.max_context else "tokens")
        assert said.tokens[-1] in sampling.stop
        self._stretches.said(start)
        return renderer.text(segment.tokens[start:])

    def _interrupt(self, segment: Segment, start: int) -> None:
        """End a thought whose budget is spent; nobody sampled these tokens, so nobody is trained on them."""
        ending = self._player.renderer.interrupt(segment.tokens[start:])
        if len(segment.tokens) + len(ending) >= self._player.engine.max_context:
            raise OutOfRoom("context")
        segment.hear(ending)

    async def _sample(
        self, segment: Segment, sampling: Sampling, most: int, turn: int, after: Completion | None = None
    ) -> Completion:
        """Sample at most `most` tokens (0: no such bound) of an action, which began with `after`."""
        engine = self._player.engine
        room = engine.max_context - len(segment.tokens)
        if room < 1:
            raise OutOfRoom("context")
        limit = min(room, sampling.max_tokens, most or room)
        said = await engine.complete(
            segment.tokens,
            replace(sampling, max_tokens=limit),
            conversation=self._name,
            seed=derive_seed(self._seed, turn),
        )
        segment.act(said.tokens, said.logprobs, turn)
        spans = [*(after.runs if after else ()), *said.runs]
        if after is None:
            self.versions.append(said.version)
        if len({version for version, _ in spans}) > 1:
            self.spans[turn] = spans
        return said

    def hear(self, messages: Sequence[Message]) -> None:
        """Append the world's answer and the header of the next action."""
        self._stretches.hear(messages)

    def close(self) -> None:
        """Let the engine drop what it kept for this conversation."""
        self._player.engine.forget(self._name)


# ---------------------------------------------------------------------------------------------- record

MISTAKEN = ("malformed", "refused")
"""Reward parts of a turn that went wrong: nobody could read it, or the world said no."""


class _Record:
    """What `play` writes down as it goes."""

    def __init__(self, world: World, task: str, seed: int, group: str) -> None:
        self.broken = False
        """Whether the world failed: its environment is not to be used again."""
        self._seconds = {"generate_seconds": 0.0, "world_seconds": 0.0}
        self._messages: list[dict[str, Any]] = []
        self._parts: dict[str, float] = {}
        self._earned: list[tuple[int, float, float]] = []
        """Turn, reward and turn reward of each of the world's answers."""
        info = {"world": world.name, "task": task, "seed": seed, "opening": 0}
        info |= {"messages": self._messages, "parts": self._parts}
        self._trajectory = Trajectory(group=group, info=info)

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Count the seconds of waiting for engine or world, also when nothing comes of it."""
        asked = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[what] += time.perf_counter() - asked

    def opened(self, messages: list[dict[str, Any]]) -> None:
        self._trajectory.info["opening"] = len(messages)
        self._messages += messages

    def said(self, action: str | None) -> None:
        if action is not None:
            self._messages.append({"role": "assistant", "content": action})

    def cut(self, action: str) -> None:
        """An action that did not end: the world never heard it, and people should see it."""
        if action:
            self._messages.append({"role": "assistant", "content": action, "cut": True})

    def answered(
        self, messages: list[dict[str, Any]], reward: float, info: Mapping[str, Any], *, turn: int
    ) -> None:
        """`turn` is the last action's; a player that moves before it asks its policy has none yet."""
        self._messages += messages
        self._earned.append((max(turn, 0), reward, float(info.get("turn_reward", 0.0))))
        parts = info.get("parts", {})
        for name, value in parts.items():
            self._parts[name] = self._parts.get(name, 0.0) + float(value)
        if any(parts.get(name) for name in MISTAKEN):
            self._trajectory.info.setdefault("mistakes", []).append(max(turn, 0))

    def outcome(self, info: Mapping[str, Any]) -> None:
        outcome = info.get("outcome")
        self._trajectory.outcome = None if outcome is None else float(outcome)

    def failed(self, error: dict[str, Any]) -> None:
        self.broken = error["stage"] != "act"
        self._trajectory.info["error"] = error

    def trajectory(self, conversation: Conversation | None, ending: Ending, seconds: float) -> Trajectory:
        """The finished trajectory; an action the world never answered earned nothing."""
        trajectory = self._trajectory
        if conversation is not None:
            trajectory.segments = conversation.segments
            trajectory.versions = conversation.versions
            trajectory.spans = conversation.spans
            if isinstance(conversation, Metered):
                trajectory.info["usage"] = dict(conversation.usage)
            if isinstance(conversation, Noted):
                trajectory.info |= conversation.notes
        turns = len(trajectory.versions)
        trajectory.rewards, trajectory.turn_rewards = [0.0] * turns, [0.0] * turns
        for turn, reward, turn_reward in self._earned if turns else ():
            trajectory.rewards[turn] += reward
            trajectory.turn_rewards[turn] += turn_reward
        trajectory.put_in_order()
        trajectory.ending = ending
        trajectory.info |= {"seconds": seconds, **self._seconds}
        return trajectory
