"""Keys of a config that were set and that nothing would read: better refused than believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from forge_train.config.agent_program import AgentConfig
from forge_train.config.branching import BRANCHED, BranchingConfig, unread_keys
from forge_train.config.distill import DistillConfig
from forge_train.config.explain import show
from forge_train.config.hyperparameters import (
    CRITIC_ESTIMATORS,
    AlgorithmConfig,
    CriticConfig,
    OptimConfig,
)
from forge_train.config.objectives import OPMD, SAMPLER, unread
from forge_train.config.regularisers import PTXConfig, ReferenceConfig, asks_reference
from forge_train.config.section import Section
from forge_train.config.sections import RolloutConfig, VLLMConfig

STARTED = ("count", "python", "host", "port", "flags", "gpus", "env", "restarts")
"""Keys of [vllm] about servers that we start."""
TOKEN_CREDIT = ("gamma", "gae_lambda")
TURN_CREDIT = ("turn_gamma", "turn_lambda")
"""Keys of [algorithm] by which a critic's estimator carries credit, from token to token or turn to turn."""
DISCOUNTING = ("turn_rloo", "gigpo", "branch")
"""Estimators without a critic that discount what a later turn earned."""
OWN = {
    "gigpo": ("divide", "turn_share", "anchor", "anchor_similarity"),
    "mt_grpo": ("outcome_weight",),
    "max_k": ("best_of",),
    "gdpo": ("parts",),
    "branch": ("branch_form", "branch_train"),
    "kept": ("keep", "flawless"),
}
"""Keys of [algorithm] that one estimator reads."""


class Sections(Protocol):
    """What is read here of a `Config`, which knows this module."""

    agent: AgentConfig
    algorithm: AlgorithmConfig
    branching: BranchingConfig
    critic: CriticConfig
    distill: DistillConfig
    optim: OptimConfig
    ptx: PTXConfig
    reference: ReferenceConfig
    rollout: RolloutConfig
    vllm: VLLMConfig


def refuse_unused(config: Sections) -> None:
    """Raise ValueError when keys differ from their defaults and do nothing: which, why, and the way out.

    A default that was written out is fine, so that a resolved config (`config.dump`) loads.
    """
    refuse_set(config, _rules(config))


def refuse_set(config: object, rules: Iterable[tuple[str, tuple[str, ...], str]]) -> None:
    """Raise ValueError when keys that `rules` name (section, keys, why nothing reads them) were set."""
    for name, keys, why in rules:
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
    if config.optim.kind != "muon":
        yield "optim", ("momentum", "nesterov"), 'these are of optim.kind = "muon"; set that'
    if config.vllm.urls:
        yield "vllm", STARTED, "vllm.urls names servers that run, and none is started; drop vllm.urls"
    yield from _of_the_loss(config)
    if algorithm.objective == "ppo":
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
    if algorithm.advantage not in BRANCHED - {"branch"}:
        yield "algorithm", ("shared_prefix",), f'{asked} does not read it; use "arpo" or "tree_grpo"'
    branching = config.branching
    why = f"{asked} does not read it; use one of {', '.join(sorted(BRANCHED))}"
    if algorithm.advantage in BRANCHED:
        why = f'{asked} with branching.at = "{branching.at}" does not read it (docs/algorithms/branching.md)'
    yield "branching", unread_keys(algorithm.advantage, branching), why
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


def _of_the_loss(config: Sections) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """The same for keys of other objectives, and of regularisers that are off."""
    algorithm = config.algorithm
    named = f'algorithm.objective = "{algorithm.objective}"'
    if algorithm.objective == "nll":
        weighs = () if algorithm.importance_level == "sequence" else ("importance_cap", "importance_range")
        why = f'{named} has no ratio of probabilities; use "clipped"'
        yield "algorithm", ("clip_low", "clip_high", "dual_clip", *weighs), why
    yield (
        "algorithm",
        unread(algorithm.objective),
        f"{named} does not read it (docs/algorithms/objectives.md)",
    )
    if algorithm.objective in OPMD:
        yield "algorithm", ("importance_cap",), f"{named} puts no weight on who sampled"
    elif algorithm.old_policy == "behaviour" and algorithm.objective not in SAMPLER:
        why = 'algorithm.old_policy = "behaviour" is the ratio to who sampled already; use "proximal"'
        yield "algorithm", ("importance_cap",), why
    if not algorithm.kl_weight:
        why = "algorithm.kl_weight = 0 asks no reference; set kl_weight"
        yield "algorithm", ("kl", "kl_in"), why
    if not asks_reference(algorithm):
        yield "reference", tuple(type(config.reference).model_fields), why
    elif not config.reference.refresh:
        yield (
            "reference",
            ("reset_optimizer",),
            "reference.refresh = 0 never makes a new reference; set refresh",
        )
    if not algorithm.ptx_weight:
        yield "ptx", tuple(type(config.ptx).model_fields), "algorithm.ptx_weight = 0; set ptx_weight"
