"""For whom an agent may act at a desk, and when: rules of every desk's policy that no tool enforces.

Who breaks one is told nothing and loses turn reward, never outcome. The tools do not refuse, because those of
τ-bench do not: an agent that is stopped by its tools learns to try, not to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from forge_envs.messages import Message, ToolCall
from forge_envs.worlds.desk.goals import DeskTask
from forge_envs.worlds.desk.hearing import agrees


class Served(Protocol):
    """What is known of an episode at a desk (`DeskEpisode`)."""

    identified: bool

    @property
    def task(self) -> DeskTask:
        """Whose goals are played."""

    @property
    def transcript(self) -> Sequence[Message]:
        """All that was said before this turn."""

    @property
    def finders(self) -> frozenset[str]:
        """Tools that look people up."""

    def owner(self, arguments: Mapping[str, Any]) -> str | None:
        """The user id that a call is about."""

    def found(self, result: str) -> str:
        """The user id that a tool which looks people up found."""


def breach(episode: Served, call: ToolCall, result: str, *, writes: bool) -> str | None:
    """The rule that a call broke which went through, by its name in `PENALTIES`; None if it broke none.

    "unauthorised": it reads or changes what belongs to somebody else, or does so before the agent found out
    who the customer is. That is found out by a tool that looks people up (`ServiceDesk.finders`), given what
    the customer said; where a desk has no such tool, by the customer's saying their user id.
    "unconfirmed": it changes something, and the last thing the customer said was no yes.
    """
    customer_id = episode.task.customer_id
    if call.name in episode.finders:
        if episode.found(result) == customer_id and not episode.identified:
            episode.identified = _said(episode.transcript, call.arguments.values())
        return None
    owner = episode.owner(call.arguments)
    if owner is not None:
        if not episode.identified and not episode.finders:
            episode.identified = _said(episode.transcript, [customer_id])
        if owner != customer_id or not episode.identified:
            return "unauthorised"
    if writes and not agrees(_last_said(episode.transcript)):
        return "unconfirmed"
    return None


def _said(transcript: Sequence[Message], words: Iterable[str]) -> bool:
    """Whether the customer said each of these, in whatever case."""
    heard = "\n".join([message["content"] for message in transcript if message["role"] == "user"]).lower()
    return all([word.lower() in heard for word in words])


def _last_said(transcript: Sequence[Message]) -> str:
    """The customer's last line."""
    for message in reversed(transcript):
        if message["role"] == "user":
            said: str = message["content"]
            return said
    return ""
