"""Advantage estimators: how much better one trajectory did than the others of its group.

One group in, numbers out. Statistics are over trajectories, never over turns or token rows, so a long episode
does not count twice. The caller leaves out what must not enter the baseline (trajectories that are not
`trainable`). All estimators here use the episode return and give every action of a trajectory the same
advantage; those of `forge_train.learn.turn_credit` tell turns apart. What an update does to the advantages of
all its groups together is `across`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

from forge_train.config import AlgorithmConfig
from forge_train.learn.branch_credit import arpo, branch, tree_grpo
from forge_train.learn.comparing import (
    DEFAULTS,
    broadcast,
    centred,
    count_actions,
    equal,
    normalised,
    scaled,
    size_of,
)
from forge_train.learn.kept import kept
from forge_train.learn.turn_credit import gigpo, marshal, mt_grpo, turn_rloo
from forge_train.trajectory import Trajectory

Group = Sequence[Trajectory]


class Estimator(Protocol):
    """One group in; for each trajectory, one advantage per action out."""

    def __call__(self, group: Group, config: AlgorithmConfig, /) -> list[list[float]]:
        """See above."""
        ...


def grpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """Return minus the group's mean, over the group's standard deviation.

    A_i = (R_i - mean(R)) / (std(R) + 1e-6). DeepSeekMath (arXiv 2402.03300) §4.1.2; Klear-AgentForge (arXiv
    2511.05951) Eq. 5. The divisor of the variance is `algorithm.deviation`; unbiased (G-1) is torch.std's.
    """
    return broadcast(group, normalised(_returns(group), _size(group), config.deviation))


def dr_grpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """Return minus the group's mean: A_i = R_i - mean(R).

    Dr. GRPO (arXiv 2503.20783) §3.2: dividing by the standard deviation favours tasks that are nearly
    always or nearly never solved. Its other half is the "constant" denominator of the loss.
    """
    return broadcast(group, centred(_returns(group), _size(group)))


def rloo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """Return minus the mean of the others: A_i = R_i - mean_{j != i}(R_j).

    REINFORCE leave-one-out (arXiv 2402.14740) Eq. 8; unbiased, because the baseline does not depend on
    trajectory i. Equals G/(G-1) times `dr_grpo`.
    """
    size = len(group)
    scale = size / (size - 1) if size > 1 else 0.0
    return broadcast(group, [scale * c for c in centred(_returns(group), _size(group))])


def opo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """Return minus the mean weighted by length: A_i = R_i - sum(l R) / sum(l), l the tokens that i sampled.

    On-policy RL with optimal baseline (arXiv 2505.23585): the baseline of least variance where the squared
    gradient of a trajectory grows as its length.
    """
    returns, lengths = _returns(group), [t.sampled or count_actions(t) for t in group]
    if not group or equal(returns, _size(group)):
        return broadcast(group, [0.0] * len(group))
    baseline = math.fsum(n * r for n, r in zip(lengths, returns, strict=True)) / max(sum(lengths), 1)
    return broadcast(group, [r - baseline for r in returns])


def reinforce_pp(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """The return itself, for the whole update to be its own baseline: REINFORCE++ (arXiv 2501.03262).

    `algorithm.across` shifts and scales it by the mean and deviation of all trajectories of the update.
    """
    return broadcast(group, _returns(group))


def max_k(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """How much a member raises the best of k: what is maximised is the expected best return of k attempts.

    A_i = k E_S[max(S + {R_i}) - max(S)], S a draw of k - 1 others without replacement: the unbiased gradient
    of max@k with a baseline that leaves i out (arXiv 2505.15201), in closed form over the sorted others. With
    returns of 0 and 1 it is pass@k: only members that succeed where most others fail are rewarded, and
    failures are never punished. k is `algorithm.best_of`, or what a group has left.
    """
    returns, k = _returns(group), min(config.best_of, len(group))
    if len(group) < 2 or equal(returns, _size(group)):
        return broadcast(group, [0.0] * len(group))
    return broadcast(
        group, [k * _raised(r, sorted(returns[:i] + returns[i + 1 :]), k - 1) for i, r in enumerate(returns)]
    )


def _raised(value: float, others: Sequence[float], k: int) -> float:
    """Mean over draws of k of the sorted `others` by how much `value` exceeds the largest drawn."""
    draws = math.comb(len(others), k)
    return math.fsum(
        math.comb(rank, k - 1) / draws * max(value - other, 0.0) for rank, other in enumerate(others)
    )


def gdpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """Outcome and each named reward part normalised over the group by itself, then added: GDPO (arXiv
    2601.05242).

    A_i = sum_m w_m (P_{i,m} - mean(P_m)) / std(P_m), w from `algorithm.parts` (1 where it names none): parts
    of different sizes, or that differ in different members, do not drown each other. `algorithm.across` then
    scales over the whole update, as the paper does.
    """
    outcomes = {"outcome": [t.outcome or 0.0 for t in group]}
    found = [dict(t.info.get("parts", {})) for t in group]
    names = dict.fromkeys(name for parts in found for name in parts)
    signals = outcomes | {name: [float(parts.get(name, 0.0)) for parts in found] for name in names}
    total = [0.0] * len(group)
    for name, values in signals.items():
        weight = config.parts.get(name, 0.0 if config.parts else 1.0)
        most = max([*map(abs, values), _size(group) if name == "outcome" else 0.0], default=0.0)
        for i, advantage in enumerate(normalised(values, most, config.deviation)):
            total[i] += weight * advantage
    return broadcast(group, total)


def _returns(group: Group) -> list[float]:
    return [t.episode_return for t in group]


def _size(group: Group) -> float:
    return max(map(size_of, group), default=0.0)


ESTIMATORS: dict[str, Estimator] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "rloo": rloo,
    "opo": opo,
    "reinforce++": reinforce_pp,
    "reinforce++_baseline": dr_grpo,
    "max_k": max_k,
    "gdpo": gdpo,
    "kept": kept,
    "turn_rloo": turn_rloo,
    "mt_grpo": mt_grpo,
    "marshal": marshal,
    "gigpo": gigpo,
    "branch": branch,
    "arpo": arpo,
    "tree_grpo": tree_grpo,
}

ABSOLUTE = frozenset({"kept"})
"""Estimators that judge each member by itself: a group of one is as good as any."""

ACROSS: dict[str, Literal["whiten", "scale"]] = {
    "reinforce++": "whiten",
    "reinforce++_baseline": "whiten",
    "gdpo": "whiten",
}
"""What `algorithm.across = "auto"` is for estimators whose papers say so; the others leave groups as they
are."""


def across(groups: list[list[list[float]]], config: AlgorithmConfig) -> list[list[list[float]]]:
    """The advantages of all groups of an update, shifted and scaled together as `algorithm.across` says.

    "scale" divides by the standard deviation (Lite PPO, arXiv 2508.08221: a group's mean, the update's
    deviation), "whiten" subtracts the mean before. Each trajectory counts once, however many actions it has.
    """
    how = ACROSS.get(config.advantage, "none") if config.across == "auto" else config.across
    if how == "none":
        return groups
    rows = [row for group in groups for row in group]
    found = iter(scaled(rows, [1 / len(row) if row else 0.0 for row in rows], whiten=how == "whiten"))
    return [[next(found) for _ in group] for group in groups]
