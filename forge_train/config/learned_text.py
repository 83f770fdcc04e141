"""What supervised training learns of an episode beside what its agent said."""

from __future__ import annotations

from typing import Protocol

from forge_train.config.context import ContextConfig
from forge_train.config.hyperparameters import SFTConfig
from forge_train.config.thinking import ThinkingConfig


class Learned(Protocol):
    """What is read here of a `Config`, which knows this module."""

    sft: SFTConfig
    context: ContextConfig
    thinking: ThinkingConfig


def refuse_learned_text(config: Learned) -> None:
    """Raise ValueError where all text is to be learned and cannot be."""
    learn = config.sft.learn
    if learn == "actions":
        return
    if not config.sft.episodes:
        raise ValueError(f'sft.learn = "{learn}": there are no episodes to learn from; set sft.episodes')
    for key, value, plain in (
        ("context.kind", config.context.kind, "full"),
        ("thinking.past", config.thinking.past, "keep"),
    ):
        if value != plain:
            raise ValueError(
                f'sft.learn = "{learn}" with {key} = "{value}": what stands in several segments would be '
                f'learned several times; use {key} = "{plain}", or sft.learn = "actions"'
            )
