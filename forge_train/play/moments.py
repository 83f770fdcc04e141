"""Moments of an episode to which another one can come back: a world and a conversation before one turn.

A seat and a player that look on while an episode is played, and keep what is needed to sit down again. The
world is kept as its `snapshot()`; or nothing of it is kept, and its actions are played again with the same
seed (`replay`), which is exact where the world is a function of seed and actions. What the policy had heard
and said is kept as tokens: nothing is tokenised again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from forge_train.play.episode import Conversation, Player
from forge_train.play.renderer import Message
from forge_train.play.world_pool import Seat, Step, World, WorldFailed
from forge_train.trajectory import Segment


class NotExact(ValueError):
    """A world that was played again said something else: it cannot be taken back by its actions."""


@runtime_checkable
class Forkable(Conversation, Protocol):
    """A conversation that can go on twice from where it is."""

    def fork(self, name: str, seed: int) -> Self:
        """Another that heard all of it and has said nothing yet."""
        ...


@dataclass(frozen=True, slots=True)
class Scene:
    """A world before one turn."""

    snapshot: bytes | None
    """None where it is played again."""
    messages: tuple[dict[str, Any], ...]
    """All that was said by then, the opening first."""
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """An episode before one turn: go on from here."""

    scene: Scene
    conversation: Forkable


class WatchedSeat(Seat):
    """A seat that keeps a scene of every turn, and may begin in one of another episode.

    `seed` is that of the episode's world: that of its origin, whoever goes on.
    """

    def __init__(
        self, world: World, task: str, seed: int, *, after: Scene | None = None, replay: bool = False
    ) -> None:
        super().__init__(world, task, seed)
        self.scenes: list[Scene] = []
        """Before each turn of this episode, in order."""
        self._after = after
        self._replay = replay
        self._messages: list[dict[str, Any]] = list(after.messages) if after else []
        self._actions: list[str] = list(after.actions) if after else []

    async def reset(self) -> list[dict[str, Any]]:
        """What has been said by the turn it begins with, an episode's opening at least."""
        opening = await super().reset()
        after = self._after
        if after is not None:
            heard = await self._run("restore", lambda: self._restore(after, opening))
            if heard is not None and heard != list(after.messages):
                raise NotExact(
                    f"world {self._world.name}: played again with the same seed and actions it said "
                    f"{_first_difference(heard, after.messages)}; set branching.replay = false, or leave the "
                    "world out"
                )
            opening = list(after.messages)
        else:
            self._messages += opening
        await self._keep()
        return opening

    async def step(self, action: str) -> Step:
        """The world's answer, and a scene of what comes after it."""
        answer = await super().step(action)
        self._actions.append(action)
        self._messages += [{"role": "assistant", "content": action}, *answer[0]]
        if not (answer[2] or answer[3]):
            await self._keep()
        return answer

    async def _keep(self) -> None:
        snapshot = None if self._replay else await self._run("snapshot", self._snapshot)
        self.scenes.append(Scene(snapshot, tuple(self._messages), tuple(self._actions)))

    def _snapshot(self) -> bytes:
        assert self._env is not None
        return bytes(self._env.unwrapped.snapshot())  # type: ignore[attr-defined]

    def _restore(self, after: Scene, opening: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """Go back; what the world said on the way, where it was played again."""
        assert self._env is not None
        if after.snapshot is not None:
            self._env.unwrapped.restore(after.snapshot)  # type: ignore[attr-defined]
            return None
        heard = list(opening)
        for action in after.actions:
            messages, _, terminated, truncated, info = self._env.step(action)
            if "error" in info:
                raise WorldFailed({"stage": "step", **info["error"]})
            heard += [{"role": "assistant", "content": action}, *map(dict, messages)]
            if terminated or truncated:
                break
        return heard


class WatchedPlayer:
    """A player whose conversation is kept before each of its actions; it may go on from an earlier one."""

    def __init__(self, player: Player, after: Forkable | None = None) -> None:
        self._player = player
        self._after = after
        self.kept: list[Forkable] = []
        """The conversation before each action of this episode, in order; of none, a turn that never began."""

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> WatchedConversation:
        """Begin an episode, or go on with one. Raises ValueError for a player that cannot go back."""
        if self._after is not None:
            return WatchedConversation(self._after.fork(name, seed), self.kept)
        conversation = self._player.open(messages, task=task, name=name, seed=seed)
        if not isinstance(conversation, Forkable):
            raise ValueError(
                f"{type(self._player).__name__} cannot be taken back to an earlier turn: use an advantage "
                'without branches, e.g. "turn_rloo"'
            )
        return WatchedConversation(conversation, self.kept)


class WatchedConversation:
    """A conversation that is copied before each action."""

    def __init__(self, conversation: Forkable, kept: list[Forkable]) -> None:
        self._conversation = conversation
        self._kept = kept

    @property
    def segments(self) -> list[Segment]:
        """What was heard and said so far."""
        return self._conversation.segments

    @property
    def versions(self) -> list[int]:
        """Weights version that began each action so far."""
        return self._conversation.versions

    @property
    def spans(self) -> dict[int, list[tuple[int, int]]]:
        """(version, tokens) of the actions under way while the weights changed."""
        return self._conversation.spans

    async def act(self) -> str | None:
        """Say the next action."""
        self._kept.append(self._conversation.fork("", 0))
        return await self._conversation.act()

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in what the world answered."""
        self._conversation.hear(messages)

    def close(self) -> None:
        """The episode is over."""
        self._conversation.close()


def _first_difference(one: Sequence[Any], other: Sequence[Any]) -> str:
    """What was said this time and before, at the first place where they differ."""
    for now, before in zip(one, other, strict=False):
        if now != before:
            return f"{now!r:.160} where it had said {before!r:.160}"
    return f"{len(one)} messages where there had been {len(other)}"
