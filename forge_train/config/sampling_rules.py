"""What of [curriculum], [shaping] and [temperature] does not go with the rest of a config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from forge_train.config.agent_program import AgentConfig
from forge_train.config.branching import BRANCHED
from forge_train.config.curriculum import CurriculumConfig
from forge_train.config.hyperparameters import CRITIC_ESTIMATORS, AlgorithmConfig, CriticConfig
from forge_train.config.sections import EvalConfig, RolloutConfig, RunConfig, WorldConfig
from forge_train.config.shaping import ShapingConfig
from forge_train.config.temperature import TemperatureConfig
from forge_train.config.unused import refuse_set

WHITENED = ("reinforce++", "reinforce++_baseline", "gdpo")
"""Estimators that `algorithm.across = "auto"` scales over the whole update."""
BLIND = ("mt_grpo",)
"""Estimators that read turn rewards and outcomes, and not what an episode earned in all."""


class RunSections(Protocol):
    """What is read here of a `Config`, which knows this module."""

    run: RunConfig
    worlds: tuple[WorldConfig, ...]
    rollout: RolloutConfig
    curriculum: CurriculumConfig
    shaping: ShapingConfig
    temperature: TemperatureConfig
    algorithm: AlgorithmConfig
    critic: CriticConfig
    agent: AgentConfig
    eval: EvalConfig


def refuse_sampling(config: RunSections) -> None:
    """Raise ValueError for what contradicts itself across sections: the key, its value and the fix."""
    refuse_set(config, _idle(config))
    _refuse_cycle(config)
    _refuse_choices(config)
    _refuse_shaping(config)
    _refuse_temperature(config)


def _idle(config: RunSections) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Of this config: a section, keys of it that nothing reads, and why."""
    curriculum, shaping, temperature = config.curriculum, config.shaping, config.temperature
    by_share = curriculum.rates is not None or curriculum.order == "prioritised"
    if not by_share:
        yield (
            "curriculum",
            ("online", "window"),
            "shares of solved plays choose no task; set curriculum.rates",
        )
    if curriculum.rates is None:
        yield "curriculum", ("revisit",), "no task is left out by its share; set curriculum.rates"
    if not (by_share or curriculum.hard_from or curriculum.grow_by):
        yield "curriculum", ("passes",), "nothing chooses by it; set curriculum.rates, hard_from or grow_by"
    if curriculum.hard_from is None:
        yield "curriculum", ("hard",), "no stage plays hard tasks; set curriculum.hard_from"
    if not curriculum.grow_by:
        yield "curriculum", ("grow_every", "grow_from"), "no set grows; set curriculum.grow_by"
    if not curriculum.recall:
        yield "curriculum", ("recall_from", "recall_steps"), "nothing is recalled; set curriculum.recall"
    if shaping.overlong_limit is None:
        yield "shaping", ("overlong_weight",), "nothing is too long; set shaping.overlong_limit"
    if not shaping.length_weight:
        yield "shaping", ("length_from", "length_warmup"), "length earns nothing; set shaping.length_weight"
    if not shaping.turn_penalty:
        yield "shaping", ("turns_free", "turns_most"), "turns cost nothing; set shaping.turn_penalty"
    if not temperature.grid:
        keys = ("tolerance", "plateau", "gain", "split", "tasks", "repeats")
        yield "temperature", keys, "no temperature is tried; set temperature.grid"


def _refuse_cycle(config: RunSections) -> None:
    cycle, labels = config.curriculum.cycle, [world.label for world in config.worlds]
    if not cycle:
        return
    unknown = [name for name in cycle if name not in labels]
    missing = [name for name in labels if name not in cycle]
    if unknown or missing:
        what = f'"{unknown[0]}" is no world of this run' if unknown else f'"{missing[0]}" is never played'
        raise ValueError(f"curriculum.cycle = {list(cycle)}: {what}; the worlds are {', '.join(labels)}")
    for i, world in enumerate(config.worlds):
        if world.weight != 1.0:
            raise ValueError(
                f"worlds.{i}.weight = {world.weight}: curriculum.cycle says whose turn it is; leave it out, "
                "and name a world more often instead"
            )


def _refuse_choices(config: RunSections) -> None:
    curriculum, algorithm, rollout = config.curriculum, config.algorithm, config.rollout
    chosen = [
        f"curriculum.{key} = {getattr(curriculum, key)}"
        for key, off in (("duplicate", False), ("top_spread", 1.0), ("recall", 0))
        if getattr(curriculum, key) != off
    ]
    if chosen and algorithm.advantage in CRITIC_ESTIMATORS:
        raise ValueError(
            f'{chosen[0]}: algorithm.advantage = "{algorithm.advantage}" compares nobody with a group, and '
            "every episode teaches; use an estimator that does, e.g. grpo, or leave it out"
        )
    across = algorithm.across
    scaled = across in ("scale", "whiten") or (across == "auto" and algorithm.advantage in WHITENED)
    if chosen and scaled:
        raise ValueError(
            f"{chosen[0]}: algorithm.across scales the advantages of all groups of an update together, and "
            'this changes which those are; set algorithm.across = "none"'
        )
    if curriculum.top_spread < 1 and int(curriculum.top_spread * rollout.groups) < 1:
        raise ValueError(
            f"curriculum.top_spread = {curriculum.top_spread}: of rollout.groups = {rollout.groups} that "
            f"leaves none; raise groups to {-int(-1 // curriculum.top_spread)} or more"
        )
    if curriculum.recall and algorithm.objective == "clipped":
        raise ValueError(
            f'curriculum.recall = {curriculum.recall}: algorithm.objective = "clipped" starts its trust '
            'region anew at every update, and these episodes are of older weights; use "auto" or "ppo"'
        )
    if config.run.steps <= curriculum.recall_from and curriculum.recall:
        raise ValueError(
            f"curriculum.recall_from = {curriculum.recall_from}: the run ends before (run.steps = "
            f"{config.run.steps}); lower it"
        )


def _refuse_shaping(config: RunSections) -> None:
    shaping, algorithm = config.shaping, config.algorithm
    budgets = [f"worlds.{i}.budget" for i, world in enumerate(config.worlds) if world.budget]
    if shaping.used and algorithm.advantage in BLIND:
        raise ValueError(
            f'[shaping] with algorithm.advantage = "{algorithm.advantage}": it reads the outcome and turn '
            'rewards alone, so that nothing would come of it; use another, e.g. "grpo" or "gdpo"'
        )
    if shaping.budget_penalty and not budgets:
        raise ValueError(
            f"shaping.budget_penalty = {shaping.budget_penalty}: no world has a budget; set worlds.0.budget"
        )
    masks = "tokens" in _masked(config)
    if shaping.budget_penalty and masks:
        raise ValueError(
            f"shaping.budget_penalty = {shaping.budget_penalty}: an episode cut off at its budget ends by "
            'tokens, and algorithm.masked leaves those out; set algorithm.masked = ["context", "deadline"]'
        )
    if budgets and config.algorithm.advantage in BRANCHED:
        raise ValueError(
            f'{budgets[0]} with algorithm.advantage = "{config.algorithm.advantage}": what an episode said '
            "before it branches would not be counted; drop one"
        )
    if budgets and config.agent.used:
        raise ValueError(f"{budgets[0]} with [agent]: a program asks as it likes; set agent.max_requests")


def _masked(config: RunSections) -> Iterable[str]:
    """Endings that give no gradient; see `learn.masks.trained_endings`."""
    if config.algorithm.masked is not None:
        return config.algorithm.masked
    goes_on = config.critic.bootstrap if config.algorithm.advantage in CRITIC_ESTIMATORS else ()
    return {"context", "tokens", "deadline"}.difference(goes_on)


def _refuse_temperature(config: RunSections) -> None:
    temperature, every = config.temperature, config.run.eval_every
    if not temperature.grid:
        return
    if not every:
        raise ValueError(
            f"temperature.grid = {list(temperature.grid)}: it is looked at every run.eval_every updates, and "
            "that is 0; set it"
        )
    taken = {config.eval.split, *(world.split for world in config.worlds)}
    if temperature.split in taken:
        raise ValueError(
            f'temperature.split = "{temperature.split}": tasks of it are trained on or judged by; a choice '
            "made on them would flatter the score; use a split of its own"
        )
