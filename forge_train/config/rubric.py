"""What a model is asked to judge, where no rule can: the section `rubric` of a config."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from forge_train.config.branching import BRANCHED
from forge_train.config.hyperparameters import CRITIC_ESTIMATORS, AlgorithmConfig
from forge_train.config.section import Section
from forge_train.config.sections import RolloutConfig, WorldConfig

PART = "rubric"
"""The name of the reward part, and of the world that judgements belong to."""


class CriterionConfig(Section):
    """One thing that a good episode does."""

    text: str = Field(min_length=1)
    """What it is, as a judge is told it, for example "It says what it did before it asks for a yes"."""
    weight: PositiveFloat = 1.0
    """How much it counts beside the others."""


def _read_criteria(given: Any) -> Any:
    """The criteria of a TOML file with [[criteria]] tables, where a path is given."""
    if not isinstance(given, str):
        return given
    path = Path(given).expanduser()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))["criteria"]
    except OSError as error:
        raise ValueError(
            f'"{given}" cannot be read ({error.strerror}); give a TOML file of criteria'
        ) from None
    except (KeyError, ValueError):
        raise ValueError(
            f'"{given}" holds no criteria; it needs [[criteria]] tables with a text and perhaps a weight'
        ) from None
    return found


class RubricConfig(Section):
    """A reward part from a model that judges episodes by criteria; see docs/algorithms/rubric.md."""

    criteria: Annotated[tuple[CriterionConfig, ...], BeforeValidator(_read_criteria)] = Field(
        default=(), strict=False
    )
    """What is judged: [[rubric.criteria]] tables, or the path of a TOML file with [[criteria]] tables, which
    are then written into the run's config. Without any nobody judges."""
    weight: NonNegativeFloat | None = None
    """What a score of 1 adds to an episode's return, beside its outcome, which is never changed. It must be
    set; 0 only measures."""
    worlds: tuple[str, ...] = Field(default=(), strict=False)
    """Worlds, by name, whose episodes get the part; empty is all of them."""
    judge: str = Field(default="policy", pattern=r"^(policy|openai:.+)$")
    """policy: the policy itself, with the weights it plays with (Kimi K2's self-critique). Or another model,
    openai:MODEL@URL, whose replies can be recorded."""
    mode: Literal["pairwise", "pointwise"] = "pairwise"
    """pairwise: members of a group are compared, in both orders, and the score is the share of comparisons
    won. pointwise: each is judged by itself, and the score is the share of criteria met."""
    opponents: NonNegativeInt = 0
    """Members that each is compared with, those that follow it in the group; 0 is all others."""
    max_action: PositiveInt = 256
    """Longest verdict in tokens, thoughts included."""
    max_message: PositiveInt = 4000
    """Characters of a message that a judge is shown; of a longer one its middle is left out."""
    attempts: PositiveInt = 2
    """How often a judge is asked, with other seeds, until its verdict can be read."""
    deadline_s: PositiveFloat = 300.0
    """Seconds one verdict may take, attempts and retries included, not counting those spent in line."""
    record: str = ""
    """File in which an endpoint's replies are written down; what it knows is answered from it."""
    replay: str = ""
    """File from which alone replies are taken; nothing is sent."""
    refresh: tuple[str, ...] = Field(default=(), strict=False)
    """Worlds, by name, whose outcomes can be trusted: there the judge compares members of different outcome,
    and how often it prefers the better one is a metric."""
    lessons: PositiveInt = 1
    """Such pairs of each group, at most."""
    train: bool = False
    """Train the policy's comparisons in the worlds of `refresh` as episodes of their own, group_size of each
    pair, worth 1 where they prefer the better one: the critic is kept on-policy (Kimi K2, closed loop)."""

    @property
    def used(self) -> bool:
        """Whether anybody judges."""
        return bool(self.criteria)

    @model_validator(mode="after")
    def _explicit(self) -> Self:
        if not self.used:
            fields = type(self).model_fields
            found = [
                k for k, f in fields.items() if getattr(self, k) != f.get_default(call_default_factory=True)
            ]
            if found:
                raise ValueError(
                    f"{', '.join(found)}: there is nothing to judge by; give criteria, [[rubric.criteria]] "
                    "tables or the path of a TOML file, or leave the section out"
                )
            return self
        if self.weight is None:
            raise ValueError(
                "weight: missing; say what a score of 1 is worth beside an outcome of 1, e.g. weight = 0.2, "
                "or 0 to measure alone"
            )
        if self.judge == "policy" and (self.record or self.replay):
            raise ValueError(
                'record, replay: with judge = "policy" judgements are kept with the groups they belong to; '
                "these are files of an endpoint's replies, leave them out"
            )
        if self.record and self.replay:
            raise ValueError(f"record = {self.record}, replay = {self.replay}: choose one of them")
        return self

    @model_validator(mode="after")
    def _refreshed(self) -> Self:
        if self.refresh and self.mode == "pointwise":
            raise ValueError('refresh: only comparisons are checked against outcomes; set mode = "pairwise"')
        if self.train and not self.refresh:
            raise ValueError("train = true: name worlds whose outcomes can be trusted, in refresh")
        if self.train and self.judge != "policy":
            raise ValueError(f'train = true: judge = "{self.judge}" is not the policy; set judge = "policy"')
        if self.opponents and self.mode == "pointwise":
            raise ValueError(f'opponents = {self.opponents}: nobody is compared; set mode = "pairwise"')
        return self


def refuse_rubric(
    rubric: RubricConfig, worlds: Sequence[WorldConfig], rollout: RolloutConfig, algorithm: AlgorithmConfig
) -> None:
    """Raise ValueError for a rubric that its run cannot follow, naming key, value and fix."""
    if not rubric.used:
        return
    labels = [world.label for world in worlds]
    for key in ("worlds", "refresh"):
        unknown = [name for name in getattr(rubric, key) if name not in labels]
        if unknown:
            raise ValueError(
                f'rubric.{key}: no world is called "{unknown[0]}"; there are {", ".join(labels)}'
            )
    if PART in labels:
        raise ValueError(f'worlds: "{PART}" is what judgements are called; set another worlds.N.name')
    if rollout.deterministic:
        raise ValueError(
            "rubric with rollout.deterministic = true: judges are asked when a group has ended, in no wave; "
            "set deterministic = false"
        )
    if algorithm.advantage in BRANCHED:
        raise ValueError(
            f'rubric with algorithm.advantage = "{algorithm.advantage}": a branch is no whole episode; '
            'use an estimator without branches, e.g. "turn_rloo"'
        )
    if rubric.mode == "pairwise" and rubric.opponents >= rollout.group_size:
        raise ValueError(
            f"rubric.opponents = {rubric.opponents}: a member has {rollout.group_size - 1} others "
            "(rollout.group_size); set 0 for all of them"
        )
    if rubric.train and algorithm.advantage in CRITIC_ESTIMATORS:
        raise ValueError(
            "rubric.train = true: judgements of a pair are compared with each other, and algorithm.advantage "
            f'= "{algorithm.advantage}" compares nobody; use an estimator of groups, e.g. "grpo"'
        )
