"""What the policy sees of its past: all of it, a summary of its own, a report, or all but old results.

Tokens go in and come out, so engines and templates know nothing of it. A conversation keeps a `Past`: the
segments so far, of which the last is what the policy sees now. Where history is rewritten a new segment
begins, in which everything stands as heard: each action is trained once, in the segment where it was sampled.
What is rewritten, and when, the kinds say in `forge_train.play.past`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from forge_train.config import ContextConfig
from forge_train.play.encoding import Message
from forge_train.play.format import format_of
from forge_train.play.past import Limits, RecentPast, Summaries, WholePast, Workspace
from forge_train.play.renderer import Renderer
from forge_train.play.stretches import Stretches
from forge_train.trajectory import Segment

FULL = ContextConfig()
KINDS: dict[str, type[WholePast]] = {
    "full": WholePast,
    "resum": Summaries,
    "iterresearch": Workspace,
    "recent": RecentPast,
}
"""By `context.kind`, where a conversation does more than grow."""


class Past(Protocol):
    """What was heard and said in one episode, and what the policy sees of it."""

    segments: list[Segment]
    """The last one is what it sees now."""
    asks: bool
    """Whether what it says next is a summary, to be handed to `summarised`."""
    over: bool
    """Whether the last action has been taken and the world went on: let it grade what stands."""

    @property
    def left(self) -> int:
        """Tokens of the episode's budget that are left."""
        ...

    @property
    def notes(self) -> dict[str, Any]:
        """What a trajectory's info keeps of it; nothing of a conversation that only grew."""
        ...

    def said(self, start: int) -> str:
        """An action is whole, which begins at `start` of the last segment; returns what the world hears."""
        ...

    def summarised(self, start: int, *, own: bool) -> None:
        """A summary is whole, or was cut at its limit; `own`: it is trained. Begins a new segment."""
        ...

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in the world's answer."""
        ...


def begin(settings: ContextConfig, renderer: Renderer, messages: Sequence[Message], limits: Limits) -> Past:
    """The past of an episode that opens with `messages`."""
    if settings.plain:
        return Stretches(renderer, messages)
    return KINDS[settings.kind](settings, renderer, messages, limits)


def kept_context(tokenizer: Any) -> ContextConfig:
    """What a model sees of its past by its tokenizer, if a run trained it; else all of it."""
    return ContextConfig(**format_of(tokenizer).context)


def beside(settings: ContextConfig, renderer: Renderer, action: int) -> int:
    """Tokens that notes and requests need at least, beside an opening and an action of `action` tokens."""

    def length(words: str) -> int:
        return len(renderer.extend([{"role": "user", "content": words}])) if words else 0

    closing = length(settings.last_call) + action if settings.answers else 0
    if settings.kind == "resum":
        asked = length(settings.ask) + (settings.summary_tokens or action)
        return length(settings.note) + max(asked, closing)
    if settings.kind == "iterresearch":  # the report and the last action were one action
        return length(settings.rules) + length(settings.note) + action + closing
    return closing


def teach(past: Past, messages: Sequence[Message], *, summary: bool) -> None:
    """Take in the answer of an episode to be imitated, in which a summary follows, or none.

    Raises ValueError where the policy would be asked for a summary and there is none to imitate, or the other
    way round, and where the episode does not fit.
    """
    if isinstance(past, Summaries):
        past.due = summary
    elif summary:
        raise ValueError('an episode with summaries: they are imitated with context.kind = "resum" alone')
    past.hear(messages)
    if past.over:
        raise ValueError(
            "an episode goes on after the last action that there is room for; raise rollout.max_context or "
            "context.max_tokens, or leave it out"
        )


def words_of(settings: ContextConfig) -> Iterable[str]:
    """All that may be said to the policy on account of its context, for a tokenizer that should know it."""
    if settings.kind == "resum":
        yield from (settings.ask, settings.ask_again, settings.note)
    if settings.kind == "iterresearch":
        yield from (settings.rules, settings.note, "<report>", "</report>")
    if settings.kind == "recent" or settings.answers:
        yield settings.stub
    if settings.answers:
        yield settings.last_call
    if settings.warn_at:
        yield settings.warning
