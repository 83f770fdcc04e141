"""What becomes of a policy's thoughts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from forge_train.config.agent_program import AgentConfig
from forge_train.config.section import Section
from forge_train.config.sections import RolloutConfig

EARLY_STOP = (
    "Considering the limited time by the user, I have to give the solution based on the thinking "
    "directly now."
)
"""How Qwen3 was taught to stop thinking (arXiv 2505.09388, section 4.3)."""


class ThinkingConfig(Section):
    """Models that think before they speak, as Qwen3 does between <think> tags."""

    budget: NonNegativeInt = 0
    """Tokens an action may think; then `early_stop` and the closing tag are put there, which are never
    trained, and it goes on. Below rollout.max_action, which counts thoughts too; 0 sets no budget."""
    early_stop: str = Field(default=EARLY_STOP, min_length=1)
    """What is said for the policy when the budget is spent; the template's closing tag follows."""
    past: Literal["keep", "drop"] = "keep"
    """Thoughts of earlier turns. keep: they stay, and a conversation only grows. drop: they are left out as
    the model's template leaves them out, and the rewritten conversation is a new segment."""


def refuse_thinking(thinking: ThinkingConfig, rollout: RolloutConfig, agent: AgentConfig) -> None:
    """Raise ValueError for a budget that leaves nothing to say, and for settings nothing would read."""
    if thinking.budget >= rollout.max_action:
        raise ValueError(
            f"thinking.budget = {thinking.budget}: it must be below rollout.max_action "
            f"({rollout.max_action}), which has to hold the thought and what is said after it"
        )
    if thinking.early_stop != EARLY_STOP and not thinking.budget:
        raise ValueError("thinking.early_stop: no budget is set that could be spent; set thinking.budget")
    if agent.used and (thinking.budget or thinking.past == "drop"):
        key = "budget" if thinking.budget else "past"
        raise ValueError(
            f"thinking.{key}: an agent program plays and decides what the policy is shown; leave it out"
        )
