"""Which episodes are trained, and which of the others their group is compared with, by how they ended.

Two questions, and two keys. An episode of a masked ending gives no gradient (`algorithm.masked`): what it did
may be good, and only its room ran out. Whether its return still stands in the mean and deviation of its
group (`algorithm.masked_in_baseline`) changes what the others learn: with it they are compared with
everybody, without with those that are trained. Klear-AgentForge (arXiv 2511.05951, Eq. 5) masks episodes that
ran out of context, turns or time, and does not say which of the two it does; neither is right for all, so
without is the default, and the share that is masked is in the log.

A machine that failed and an episode that was cancelled say nothing about the policy: they are in neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from forge_train.config import CRITIC_ESTIMATORS, AlgorithmConfig, CriticConfig
from forge_train.learn.advantages import ABSOLUTE, ESTIMATORS
from forge_train.trajectory import Ending, Trajectory

OF_THE_POLICY: frozenset[Ending] = frozenset({"terminated", "max_turns", "context", "tokens", "deadline"})
"""Endings that a policy brought about; all others are the affair of machines."""
UNGRADED: frozenset[Ending] = frozenset({"context", "tokens", "deadline"})
"""Endings that the world gave no verdict on; masked unless the config says otherwise."""


def trained_endings(algorithm: AlgorithmConfig, critic: CriticConfig | None = None) -> frozenset[Ending]:
    """Endings whose episodes give a gradient. With a critic, those it lets go on are not masked by default.

    >>> for masked in (None, ("deadline",)):
    ...     print(sorted(trained_endings(AlgorithmConfig(masked=masked))))
    ['max_turns', 'terminated']
    ['context', 'max_turns', 'terminated', 'tokens']
    """
    if algorithm.masked is not None:
        return OF_THE_POLICY - set(algorithm.masked)
    return OF_THE_POLICY - (UNGRADED - set(critic.bootstrap if critic else ()))


def compare(group: Sequence[Trajectory], algorithm: AlgorithmConfig, least: int = 2) -> list[list[float]]:
    """Advantages of each member by action; empty for a member that is not trained.

    An episode without a verdict that counts has the return of what its steps earned: outcome 0. A group of
    which fewer than `least` members are compared is left out.
    """
    assert algorithm.advantage not in CRITIC_ESTIMATORS, "a critic compares nobody"
    if len(names := dict.fromkeys(t.group for t in group)) > 1:  # judgements beside the episodes they judge
        found = {
            name: iter(compare([t for t in group if t.group == name], algorithm, least)) for name in names
        }
        return [next(found[t.group]) for t in group]
    trained = trained_endings(algorithm)
    compared = OF_THE_POLICY if algorithm.masked_in_baseline else trained
    members = [i for i, t in enumerate(group) if t.ending in compared]
    rows: list[list[float]] = [[] for _ in group]
    if len(members) >= (1 if algorithm.advantage in ABSOLUTE else least):
        estimated = ESTIMATORS[algorithm.advantage]([group[i] for i in members], algorithm)
        for i, advantages in zip(members, estimated, strict=True):
            rows[i] = advantages if group[i].ending in trained else []
    return rows


def masked_share(groups: Sequence[Sequence[Trajectory]], trained: frozenset[Ending]) -> float:
    """Which part of the episodes that the policy ended give no gradient because of how they ended."""
    ended = [t.ending in trained for group in groups for t in group if t.ending in OF_THE_POLICY]
    return 1 - sum(ended) / len(ended) if ended else 0.0
