"""Advantage estimators: how much better one trajectory did than the others of its group.

One group in, numbers out. Statistics are over trajectories, never over turns or token rows, so a long
episode does not count twice. The caller leaves out what must not enter the baseline (trajectories that
are not `trainable`). All estimators here use the episode return and give every action of a trajectory
the same advantage; an estimator that uses turn rewards says so in its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from forge_train.trajectory import Trajectory

ROUNDING = 1e-6
"""What single precision loses of a sum of rewards; returns that differ by less of it are equal."""

Estimator = Callable[[Sequence[Trajectory]], list[list[float]]]
"""One group in; for each trajectory, one advantage per action out."""


STD_FLOOR = 1e-6
"""Added to the standard deviation, so that equal returns divide by something (verl, TRL)."""


def count_actions(trajectory: Trajectory) -> int:
    """Number of actions the policy took, the last one included even when the world never answered it."""
    written = max((a for s in trajectory.segments for a in s.action), default=-1) + 1
    return max(written, len(trajectory.rewards))


def grpo(group: Sequence[Trajectory]) -> list[list[float]]:
    """Return minus the group's mean, over the group's unbiased standard deviation.

    A_i = (R_i - mean(R)) / (std(R) + 1e-6). DeepSeekMath (arXiv 2402.03300) §4.1.2; Klear-AgentForge
    (arXiv 2511.05951) Eq. 5. The unbiased std (divisor G-1) is that of torch.std.

    >>> [round(a, 6) for a, in grpo([Trajectory("g", rewards=[r]) for r in (1.0, 0.0, 0.0, 1.0)])]
    [0.866024, -0.866024, -0.866024, 0.866024]
    """
    centred = _centred(group)
    if len(group) < 2:
        return _broadcast(group, centred)
    std = math.sqrt(math.fsum(c * c for c in centred) / (len(group) - 1))
    return _broadcast(group, [c / (std + STD_FLOOR) for c in centred])


def dr_grpo(group: Sequence[Trajectory]) -> list[list[float]]:
    """Return minus the group's mean: A_i = R_i - mean(R).

    Dr. GRPO (arXiv 2503.20783) §3.2: dividing by the standard deviation favours tasks that are nearly
    always or nearly never solved. Its other half is the "constant" denominator of the loss.
    """
    return _broadcast(group, _centred(group))


def rloo(group: Sequence[Trajectory]) -> list[list[float]]:
    """Return minus the mean of the others: A_i = R_i - mean_{j != i}(R_j).

    REINFORCE leave-one-out (arXiv 2402.14740) Eq. 8; unbiased, because the baseline does not depend on
    trajectory i. Equals G/(G-1) times `dr_grpo`.
    """
    size = len(group)
    scale = size / (size - 1) if size > 1 else 0.0
    return _broadcast(group, [scale * c for c in _centred(group)])


def equal(numbers: Sequence[float], size: float) -> bool:
    """Whether numbers are the same but for rounding, in single precision, of terms that add up to `size`.

    The same mistake at another turn earns the same in another order. Dividing what rounding leaves by its own
    deviation would make a lesson of it.

    >>> equal([0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1], 0.6), equal([0.6, 0.61], 0.6)
    (True, False)
    """
    return max(numbers) - min(numbers) <= ROUNDING * size


def earned_the_same(group: Sequence[Trajectory]) -> bool:
    """Whether the members of a group have equal returns, so that comparing them teaches nothing."""
    size = max((math.fsum(map(abs, t.rewards)) for t in group), default=0.0)
    return not group or equal([t.episode_return for t in group], size)


def _centred(group: Sequence[Trajectory]) -> list[float]:
    """Returns minus their mean; exactly zero when all are equal."""
    if earned_the_same(group):
        return [0.0] * len(group)
    returns = [t.episode_return for t in group]
    mean = math.fsum(returns) / len(returns)
    return [r - mean for r in returns]


def _broadcast(group: Sequence[Trajectory], values: list[float]) -> list[list[float]]:
    return [[v] * count_actions(t) for t, v in zip(group, values, strict=True)]


ESTIMATORS: dict[str, Estimator] = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo}
