"""What a policy sees of its past."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Protocol, Self

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from forge_train.config.agent_program import AgentConfig
from forge_train.config.explain import show
from forge_train.config.hyperparameters import SFTConfig
from forge_train.config.section import Section
from forge_train.config.sections import RolloutConfig


def _place(name: str) -> AfterValidator:
    """A text that has a place for `name`."""

    def check(text: str) -> str:
        if f"{{{name}}}" not in text:
            raise ValueError(f"it has no {{{name}}}; put that where it is to stand")
        return text

    return AfterValidator(check)


class ContextConfig(Section):
    """What the policy sees of its past; see docs/algorithms/context.md."""

    kind: Literal["full", "resum", "iterresearch", "recent"] = "full"
    """full: all of it. resum: the policy writes a summary when the room gets scarce, and goes on from that.
    iterresearch: its own report and the last exchange, always. recent: all but old results of tools."""
    trigger: float = Field(default=0.9, gt=0.0, le=1.0)
    """resum and recent: share of the room for the past (rollout.max_context without what must still be said)
    from which on it is rewritten."""
    keep: NonNegativeInt = 3
    """recent: results of tools that stay when it is rewritten, the newest ones."""
    stub: str = Field(default="(left out)", min_length=1)
    """What stands in the place of a result that is left out, or that is too long to be shown at the end."""
    summary_tokens: NonNegativeInt = 0
    """resum: longest summary in tokens; a longer one is cut. 0 is rollout.max_action."""
    train_summaries: bool = True
    """resum: a summary is an action of the policy, whose credit is what follows. false: it only has to live
    with them."""
    keep_last: bool = False
    """resum: the last action and the world's answer stay before the policy beside the summary, if there is
    room. Not in the paper; for worlds in which people talk, and a question would be lost."""
    max_tokens: NonNegativeInt = 0
    """Tokens of an episode, said and heard, each counted once however often it is shown; 0 is no bound."""
    warn_at: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of max_tokens at which the policy is told, once; 0 never."""
    overflow: Literal["auto", "answer", "end"] = "auto"
    """When there is no room, or no budget, for an action and its answer. answer: the policy is told that its
    next action is the last, and the world grades what stands then. end: it plays on, and an action that does
    not fit ends the episode as "context" or "tokens". auto: answer with resum and iterresearch."""
    ask: str = Field(
        default="The room for this conversation is nearly used up. Write down now, in plain text and without "
        "calling a tool, all that you need to go on: what was found out and where, what was done, what is "
        "still open. Only what you write stays before you, beside the task.",
        min_length=1,
    )
    """resum: how the first summary is asked for."""
    ask_again: str = Field(
        default="The room for this conversation is nearly used up again. Write your notes anew, in plain "
        "text and without calling a tool: what the ones at the top say and is still needed, and what was "
        "found out and done since. Only what you write stays before you, beside the task.",
        min_length=1,
    )
    """resum: how a later one is, which replaces the one before."""
    note: Annotated[str, _place("text")] = "Your notes of the work so far:\n{text}"
    """resum and iterresearch: how the summary or report, {text}, is shown after the task."""
    rules: str = (
        "You do not keep this conversation: of each turn you will see your report, your last action and its "
        "result. So in each turn write first, between <report> and </report>, all that is known and done so "
        "far, which replaces your report before; then act."
    )
    """iterresearch: what the policy is told about reports, after the task; empty for one that knows."""
    last_call: str = Field(
        default="There is no room for more. This is your last action: give your answer with what you know.",
        min_length=1,
    )
    """How the last action is asked for, with overflow."""
    warning: str = Field(default="{left} of {budget} tokens are left for this task.", min_length=1)
    """What the policy is told at warn_at; {left} and {budget} are filled in."""

    @property
    def answers(self) -> bool:
        """Whether a last action is asked for when there is no room for more."""
        return self.overflow == "answer" or (
            self.overflow == "auto" and self.kind in ("resum", "iterresearch")
        )

    @property
    def plain(self) -> bool:
        """Whether a conversation only grows, until it ends or no action fits."""
        return self.kind == "full" and not self.max_tokens and not self.answers

    @model_validator(mode="after")
    def _read(self) -> Self:
        for keys, why in _unused(self):
            fields = type(self).model_fields
            for key in keys:
                if (value := getattr(self, key)) != fields[key].default:
                    raise ValueError(f"{key} = {show(value)}: {why}, or leave it out")
        return self


def _unused(context: ContextConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys that nothing reads here, and why."""
    kind = f'kind = "{context.kind}"'
    if context.kind not in ("resum", "recent"):
        yield ("trigger",), f'{kind} rewrites nothing by size; use "resum" or "recent"'
    if context.kind != "recent":
        yield ("keep",), f'{kind} keeps all results of tools or none; use "recent"'
        if not context.answers:
            yield ("stub",), f'{kind} leaves nothing out; use "recent"'
    if context.kind != "resum":
        yield (
            ("summary_tokens", "train_summaries", "keep_last", "ask", "ask_again"),
            f'{kind} has no summaries; use "resum"',
        )
    if context.kind not in ("resum", "iterresearch"):
        yield ("note",), f'{kind} has no notes; use "resum" or "iterresearch"'
    if context.kind != "iterresearch":
        yield ("rules",), f'{kind} has no reports; use "iterresearch"'
    if not context.max_tokens:
        yield ("warn_at",), "there is no budget to come near to; set max_tokens"
    if not context.warn_at:
        yield ("warning",), "nobody is warned; set warn_at"
    if not context.answers:
        yield ("last_call",), 'no last action is asked for; set overflow = "answer"'


class ContextReaders(Protocol):
    """What is read here of a `Config`, which knows this module."""

    agent: AgentConfig
    context: ContextConfig
    rollout: RolloutConfig
    sft: SFTConfig


def refuse_context(config: ContextReaders) -> None:
    """Raise ValueError for a context that leaves no room, that nobody reads, or that gold cannot teach."""
    context, rollout = config.context, config.rollout
    if config.agent.used and context != ContextConfig():
        key = next(
            k for k in type(context).model_fields if getattr(context, k) != getattr(ContextConfig(), k)
        )
        raise ValueError(
            f"context.{key} with [agent]: an agent program plays and decides what the policy is shown; leave "
            "[context] out"
        )
    if context.max_tokens and context.max_tokens <= rollout.max_action:
        raise ValueError(
            f"context.max_tokens = {context.max_tokens}: no opening and action of up to rollout.max_action = "
            f"{rollout.max_action} tokens fit; raise it"
        )
    summary = context.summary_tokens
    if rollout.max_context and summary + rollout.max_action >= rollout.max_context:
        raise ValueError(
            f"context.summary_tokens = {summary}: with an action of {rollout.max_action} tokens it is all of "
            f"rollout.max_context = {rollout.max_context}; lower it"
        )
    if context.kind == "iterresearch" and config.sft.episodes and not config.sft.path:
        raise ValueError(
            'context.kind = "iterresearch" with sft.episodes: gold of worlds writes no reports, and would '
            "teach to write none; set sft.path to episodes that have them, or sft.episodes = 0"
        )
