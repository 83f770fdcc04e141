"""Worlds answered in prose, without tools: an answer that cannot be used costs what a bad call does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from forge_envs.env import PENALTIES, AgentEnv, Episode, TaskT
from forge_envs.messages import Action, Message, Observation


@dataclass
class ProseEpisode(Episode[TaskT]):
    """An episode of answers. A world's `hear` counts those that it cannot use."""

    malformed: int = 0
    """Answers of the episode that could not be used as they were."""


ProseT = TypeVar("ProseT", bound=ProseEpisode)  # type: ignore[type-arg]


class ProseEnv(AgentEnv[TaskT, ProseT]):
    """A world whose `hear` reads edits, names of files and the like in what is said."""

    def _answer(self, action: Action) -> tuple[Observation | None, dict[str, float]]:
        """An answer that cannot be used costs what a malformed call does, once in an action."""
        before = self.playing.malformed
        said, penalties = super()._answer(action)
        if self.playing.malformed > before:
            penalties = {**penalties, "malformed": PENALTIES["malformed"]}
        return said, penalties


def say(text: str) -> Observation:
    """What a world says to an answer: one message of role `user`.

    >>> say("Name a file.")
    ({'role': 'user', 'content': 'Name a file.'},)
    """
    return (Message(role="user", content=text),)
