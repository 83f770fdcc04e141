"""Keys of a config that were set and that nothing would read: better refused than believed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from forge_train.config.agent_program import AgentConfig
from forge_train.config.distill import DistillConfig
from forge_train.config.explain import show
from forge_train.config.hyperparameters import (
    CRITIC_ESTIMATORS,
    AlgorithmConfig,
    CriticConfig,
    OptimConfig,
)
from forge_train.config.section import Section
from forge_train.config.sections import RolloutConfig, VLLMConfig

STARTED = ("count", "python", "host", "port", "flags", "gpus", "env", "restarts")
"""Keys of [vllm] about servers that we start."""
TOKEN_CREDIT = ("gamma", "gae_lambda")
TURN_CREDIT = ("turn_gamma", "turn_lambda")
"""Keys of [algorithm] by which a critic's estimator carries credit, from token to token or turn to turn."""
DISCOUNTING = ("turn_rloo", "gigpo")
"""Estimators without a critic that discount what a later turn earned."""
OWN = {
    "gigpo": ("divide", "turn_share", "anchor", "anchor_similarity"),
    "mt_grpo": ("outcome_weight",),
    "max_k": ("best_of",),
    "gdpo": ("parts",),
    "kept": ("keep", "flawless"),
}
"""Keys of [algorithm] that one estimator reads."""


class Sections(Protocol):
    """What is read here of a `Config`, which knows this module."""

    agent: AgentConfig
    algorithm: AlgorithmConfig
    critic: CriticConfig
    distill: DistillConfig
    optim: OptimConfig
    rollout: RolloutConfig
    vllm: VLLMConfig


def refuse_unused(config: Sections) -> None:
    """Raise ValueError when keys differ from their defaults and do nothing: which, why, and the way out.

    A default that was written out is fine, so that a resolved config (`config.dump`) loads.
    """
    for name, keys, why in _rules(config):
        section: Section = getattr(config, name)
        fields = type(section).model_fields
        found = [
            f"{name}.{key} = {show(value)}"
            for key in keys
            if (value := getattr(section, key)) != fields[key].get_default(call_default_factory=True)
        ]
        if found:
            raise ValueError(f"{', '.join(found)}: {why}, or leave {'them' if len(found) > 1 else 'it'} out")


def _rules(config: Sections) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Of this config: a section, keys of it that nothing reads, and why."""
    algorithm, lag = config.algorithm, config.rollout.latest
    if not config.agent.used:
        yield "agent", tuple(type(config.agent).model_fields), "no program plays; set agent.command"
    elif config.agent.function:
        yield "agent", ("env",), "agent.function runs in this process; use agent.command"
    if config.vllm.urls:
        yield "vllm", STARTED, "vllm.urls names servers that run, and none is started; drop vllm.urls"
    if algorithm.objective == "nll":
        weighs = () if algorithm.importance_level == "sequence" else ("importance_cap", "importance_range")
        why = 'algorithm.objective = "nll" has no ratio of probabilities; use "clipped"'
        yield "algorithm", ("clip_low", "clip_high", "dual_clip", *weighs), why
    elif algorithm.objective == "ppo":
        why = 'algorithm.objective = "ppo" is the ratio to who sampled, with no weight on it; use "clipped"'
        yield "algorithm", ("importance_cap",), why
    elif algorithm.objective == "auto" and lag and algorithm.importance_level == "token":
        key = "max_lag" if config.rollout.max_lag else "spare"
        late = (
            f"with rollout.{key} = {getattr(config.rollout, key)} "
            'algorithm.objective = "auto" is "ppo", which puts no weight on its'
        )
        yield "algorithm", ("importance_cap",), f'{late} ratio; set it to "clipped"'
    if config.distill.used:
        why = "distill.epochs has updates with a rate of their own; use distill.lr, warmup and schedule"
        yield "optim", ("lr", "warmup", "schedule", "decay_steps"), why
    elif config.optim.schedule == "constant":
        yield "optim", ("decay_steps",), 'optim.schedule = "constant" never falls; use "linear" or "cosine"'
    asked = f'algorithm.advantage = "{algorithm.advantage}"'
    for estimator, keys in OWN.items():
        if algorithm.advantage != estimator:
            yield "algorithm", keys, f'{asked} does not read it; use "{estimator}"'
    if algorithm.advantage not in CRITIC_ESTIMATORS:
        why = f"{asked} asks no critic; use one of {', '.join(sorted(CRITIC_ESTIMATORS))}"
        turns = () if algorithm.advantage in DISCOUNTING else ("turn_gamma",)
        yield "algorithm", (*TOKEN_CREDIT, "turn_lambda", *turns), why
        yield "critic", tuple(type(config.critic).model_fields), why
    else:
        yield "algorithm", ("masked_in_baseline",), f"{asked} compares nobody with a group"
    if algorithm.advantage == "gae":
        yield "algorithm", TURN_CREDIT, f'{asked} has tokens for steps; use "turn_gae" or "bilevel_gae"'
    elif algorithm.advantage == "turn_gae":
        yield "algorithm", TOKEN_CREDIT, f'{asked} has turns for steps; use "gae" or "bilevel_gae"'
