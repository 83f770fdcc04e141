"""What an update trains of the groups it took: which of them, how often each counts, what beside them.

    groups, advantages -> top_spread: some left out, or duplicate: some count twice -> + recall -> learner

By default every group counts once and nothing is beside them. Nothing here looks at a clock or at how many
machines there are: the same groups make the same update.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_train.config import Config, CurriculumConfig
from forge_train.learn.masks import compare
from forge_train.learn.shaping import parts_told
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory

Rows = list[list[float]]
"""Advantages of a group's members by action; empty for a member that is not trained on."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """What goes to the learner."""

    trajectories: list[Trajectory]
    advantages: list[Sequence[float]]
    credit: list[Rows]
    """Of the groups, those rows empty that are left out."""
    weights: list[float] | None = None
    """How often each trajectory counts; None: once."""
    recalled: int = 0
    """How many of the trajectories, the last ones, are of earlier updates."""
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def fresh(self) -> list[Trajectory]:
        """Those of this update's own groups."""
        return self.trajectories[: len(self.trajectories) - self.recalled]


class Mixture:
    """Makes the batch of an update; `seed` is the run's."""

    def __init__(self, config: CurriculumConfig | None = None, *, seed: int = 0) -> None:
        self._config = config or CurriculumConfig()
        self._seed = seed
        self._solved: dict[int, list[tuple[Trajectory, Sequence[float]]]] = {}
        """By update the solved episodes that were better than their group, with their advantages."""

    def of(self, step: int, groups: Sequence[Sequence[Trajectory]], credit: Sequence[Rows]) -> Mixed:
        """The batch of update `step`, from the groups it took and their advantages."""
        config = self._config
        counts, told = [1] * len(groups), dict[str, Any](parts_told(groups))
        if config.top_spread < 1:
            spreads = [spread(group, rows) for group, rows in zip(groups, credit, strict=True)]
            counts = [int(kept) for kept in widest(spreads, config.top_spread)]
            told["left_out_groups"] = counts.count(0)
        elif config.duplicate:
            useful = [any(map(any, rows)) for rows in credit]
            counts = duplicated(useful, seed=derive_seed(self._seed, "duplicate", step))
            told["duplicated_groups"] = sum(count - 1 for count in counts if count)
        kept: list[Rows] = [
            rows if count else [[] for _ in rows] for rows, count in zip(credit, counts, strict=True)
        ]
        trained: list[tuple[Trajectory, Sequence[float], float]] = [
            (t, a, float(count))
            for group, rows, count in zip(groups, kept, counts, strict=True)
            for t, a in zip(group, rows, strict=True)
            if a
        ]
        if set(counts) != {1}:
            told["trained"] = len(trained)
        if warm := [t.temperature for t, _, _ in trained if t.temperature is not None]:
            told["temperature"] = statistics.fmean(warm)
        beside = self._beside(step)
        if config.recall:
            fresh = sum(t.sampled for t, _, _ in trained)
            again = sum(t.sampled for t, _ in beside)
            told |= {"recalled": len(beside), "recalled_share": again / max(fresh + again, 1)}
        trained += [(t, a, 1.0) for t, a in beside]
        self.learned(step, groups, credit)
        weights = [w for _, _, w in trained]
        return Mixed(
            [t for t, _, _ in trained],
            [a for _, a, _ in trained],
            kept,
            weights=weights if set(weights) != {1.0} else None,
            recalled=len(beside),
            metrics=told,
        )

    def learned(self, step: int, groups: Sequence[Sequence[Trajectory]], credit: Sequence[Rows]) -> None:
        """Keep what of update `step` may be recalled: solved, and with an advantage that is all positive."""
        if not self._config.recall:
            return
        self._solved[step] = [
            (t, a)
            for group, rows in zip(groups, credit, strict=True)
            for t, a in zip(group, rows, strict=True)
            if t.solved and not t.is_judgement and a and min(a) >= 0 and max(a) > 0
        ]
        for old in [k for k in self._solved if k < step - self._config.recall_steps]:
            del self._solved[old]

    def _beside(self, step: int) -> list[tuple[Trajectory, Sequence[float]]]:
        """Solved episodes of earlier updates, drawn without replacement; each with the advantage it had."""
        config = self._config
        if not config.recall or step < config.recall_from:
            return []
        first = step - config.recall_steps
        there = [one for k in sorted(self._solved) if first <= k < step for one in self._solved[k]]
        lot = random.Random(derive_seed(self._seed, "recall", step))
        return lot.sample(there, min(config.recall, len(there)))


def mixture_of(config: Config, recent: Mapping[int, Sequence[Sequence[Trajectory]]]) -> Mixture:
    """That of a run of `config`; `recent` are the groups of the updates before it, where it goes on."""
    found = Mixture(config.curriculum, seed=config.run.seed)
    for step, groups in sorted(recent.items()) if config.curriculum.recall else ():
        credit = [compare(group, config.algorithm, config.rollout.min_members) for group in groups]
        found.learned(step, groups, credit)
    return found


def duplicated(useful: Sequence[bool], *, seed: int) -> list[int]:
    """How often each group of an update counts when those that teach nothing give their place to others.

    DUPO (WebSailor, arXiv 2507.02592): a batch keeps its size, and every place in it holds a group with
    spread, as long as one has any. The places are dealt evenly, the rest by lot. A number of times instead of
    copies: the gradient is the same, and nothing is forwarded twice.

    >>> sum(duplicated([True, False, True, False], seed=0)), duplicated([False, False], seed=0)
    (4, [1, 1])
    """
    there = [i for i, teaches in enumerate(useful) if teaches]
    if not there:
        return [1] * len(useful)
    times, rest = divmod(len(useful), len(there))
    more = set(random.Random(seed).sample(there, rest))
    return [(times + (i in more)) * teaches for i, teaches in enumerate(useful)]


def widest(spreads: Sequence[float], share: float) -> list[bool]:
    """Which groups are trained: the `share` of them whose returns differ most, of equals the oldest.

    StarPO-S (RAGEN, arXiv 2504.20073): groups that differ most are the least certain and teach the most.

    >>> widest([0.1, 0.5, 0.0, 0.5], 0.5)
    [False, True, False, True]
    """
    most = max(int(share * len(spreads)), 1)
    chosen = set(sorted(range(len(spreads)), key=lambda i: (-spreads[i], i))[:most])
    return [i in chosen for i in range(len(spreads))]


def spread(group: Sequence[Trajectory], rows: Rows) -> float:
    """Standard deviation of the returns of the members that are trained; 0 for fewer than two."""
    returns = [t.episode_return for t, row in zip(group, rows, strict=True) if row]
    return statistics.stdev(returns) if len(returns) > 1 else 0.0
