"""What is written down while an episode is played: messages, rewards, seconds, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from forge_train.play.world_pool import World
from forge_train.trajectory import MISTAKES, Ending, Segment, Trajectory


class Recorded(Protocol):
    """What is recorded of any conversation; see `forge_train.play.episode.Conversation`."""

    @property
    def segments(self) -> list[Segment]:
        """What was heard and said."""
        ...

    @property
    def versions(self) -> list[int]:
        """Weights version that began each action."""
        ...

    @property
    def spans(self) -> dict[int, list[tuple[int, int]]]:
        """(version, tokens) of the actions under way while the weights changed."""
        ...


MISTAKEN = ("malformed", "refused")
"""Reward parts of a turn that went wrong: nobody could read it, or the world said no."""


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


class EpisodeRecord:
    """What `play` writes down as it goes, and the trajectory that comes of it."""

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

    @property
    def turns(self) -> int:
        """Answers of the world so far."""
        return len(self._earned)

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Count the seconds of waiting for engine or world, also when nothing comes of it."""
        asked = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[what] += time.perf_counter() - asked

    def opened(self, messages: list[dict[str, Any]]) -> None:
        """What the world said first."""
        self._trajectory.info["opening"] = len(messages)
        self._messages += messages

    def said(self, action: str | None) -> None:
        """What the world is about to hear; None for nothing."""
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
            self._trajectory.info.setdefault(MISTAKES, []).append(max(turn, 0))

    def outcome(self, info: Mapping[str, Any]) -> None:
        """The world's verdict, if it gives one."""
        outcome = info.get("outcome")
        self._trajectory.outcome = None if outcome is None else float(outcome)

    def failed(self, error: dict[str, Any]) -> None:
        """A machine failed: kind, stage, retryable."""
        self.broken = error["stage"] != "act"
        self._trajectory.info["error"] = error

    def failed_to_act(self, kind: str, failure: Exception, *, retryable: bool) -> None:
        """What was to say the next action failed."""
        self.failed({"kind": kind, "stage": "act", "retryable": retryable, "message": str(failure)})

    def trajectory(self, conversation: Recorded | None, ending: Ending, seconds: float) -> Trajectory:
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
