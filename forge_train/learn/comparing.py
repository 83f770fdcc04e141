"""What all estimators that compare a group share: counting actions, centring, spread, and when numbers are
equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from forge_train.config import AlgorithmConfig
from forge_train.trajectory import WORLD, Trajectory

DEFAULTS = AlgorithmConfig()
"""What an estimator is asked for where nobody says anything."""

ROUNDING = 1e-6
"""What single precision loses of a sum of rewards; returns that differ by less of it are equal."""

STD_FLOOR = 1e-6
"""Added to the standard deviation, so that equal returns divide by something (verl, TRL)."""

Divisor = Literal["unbiased", "biased"]
"""Of a variance: the number of values less one (torch.std), or their number."""


def count_actions(trajectory: Trajectory) -> int:
    """Number of actions the policy took, the last one included even when the world never answered it."""
    written = max((a for s in trajectory.segments for a in s.action), default=-1) + 1
    return max(written, len(trajectory.rewards))


def anchors(trajectory: Trajectory, *, whole: bool) -> list[tuple[int, ...]]:
    """For each action, the state it was taken in: the tokens the world said last, or (`whole`) all before
    it."""
    states: list[tuple[int, ...]] = [()] * count_actions(trajectory)
    for segment in trajectory.segments:
        at = 0
        said: tuple[int, ...] = ()
        for action, run in groupby(segment.action):
            length = len(list(run))
            if action == WORLD:
                said = tuple(segment.tokens[at : at + length])
            elif not states[action]:
                states[action] = tuple(segment.tokens[:at]) if whole else said
            at += length
    return states


def by_turn(numbers: Sequence[float], trajectory: Trajectory) -> list[float]:
    """One number per action: 0 for the last one where the world never answered it."""
    return [*numbers, *[0.0] * (count_actions(trajectory) - len(numbers))]


def equal(numbers: Sequence[float], size: float) -> bool:
    """Whether numbers are the same but for rounding, in single precision, of terms that add up to `size`.

    The same mistake at another turn earns the same in another order. Dividing what rounding leaves by its own
    deviation would make a lesson of it.

    >>> equal([0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1], 0.6), equal([0.6, 0.61], 0.6)
    (True, False)
    """
    return max(numbers) - min(numbers) <= ROUNDING * size


def size_of(trajectory: Trajectory) -> float:
    """Sum of a trajectory's rewards whatever their signs: what rounding is measured by."""
    return math.fsum(map(abs, trajectory.rewards))


def earned_the_same(group: Sequence[Trajectory]) -> bool:
    """Whether the members of a group have equal returns, so that comparing them teaches nothing."""
    size = max(map(size_of, group), default=0.0)
    return not group or equal([t.episode_return for t in group], size)


def centred(numbers: Sequence[float], size: float) -> list[float]:
    """Numbers minus their mean; exactly zero when all are equal (see `equal`)."""
    if not numbers or equal(numbers, size):
        return [0.0] * len(numbers)
    mean = math.fsum(numbers) / len(numbers)
    return [n - mean for n in numbers]


def normalised(
    numbers: Sequence[float], size: float, divisor: Divisor, floor: float = STD_FLOOR
) -> list[float]:
    """Numbers minus their mean over their standard deviation plus `floor`; one alone is 0.

    >>> [round(n, 6) for n in normalised([1.0, 0.0, 0.0, 1.0], 1.0, "unbiased")]
    [0.866024, -0.866024, -0.866024, 0.866024]
    >>> [round(n, 6) for n in normalised([1.0, 0.0, 0.0, 1.0], 1.0, "biased")]
    [0.999998, -0.999998, -0.999998, 0.999998]
    """
    from_mean = centred(numbers, size)
    if len(numbers) < 2:
        return from_mean
    freedom = len(numbers) - (divisor == "unbiased")
    std = math.sqrt(math.fsum(n * n for n in from_mean) / freedom)
    return [n / (std + floor) for n in from_mean]


def broadcast(group: Sequence[Trajectory], values: Sequence[float]) -> list[list[float]]:
    """Every action of a trajectory gets the trajectory's number."""
    return [[v] * count_actions(t) for t, v in zip(group, values, strict=True)]


def returns_to_go(rewards: Sequence[float], gamma: float) -> list[float]:
    """What was earned from each turn on: G_t = r_t + gamma G_{t+1}.

    >>> [round(g, 6) for g in returns_to_go([0.0, 0.0, 10.0], 0.95)]
    [9.025, 9.5, 10.0]
    """
    earned, to_go = [], 0.0
    for reward in reversed(rewards):
        to_go = reward + gamma * to_go
        earned.append(to_go)
    return earned[::-1]


def scaled(rows: Sequence[Sequence[float]], weights: Sequence[float], *, whiten: bool) -> list[list[float]]:
    """Rows of numbers over the standard deviation of all of them and, with `whiten`, less their mean.

    weights: how much each number of a row counts in mean and deviation. Numbers that are all equal (see
    `equal`) have no deviation: whitened they are 0, else they stay as they are.

    >>> found = scaled([[3.0], [1.0], [2.0, 2.0]], [1.0, 1.0, 0.5], whiten=True)
    >>> [[round(n, 6) for n in row] for row in found]
    [[1.224743], [-1.224743], [0.0, 0.0]]
    """
    flat = [n for row in rows for n in row]
    if not flat or equal(flat, max(map(abs, flat))):
        return [[0.0] * len(row) if whiten else list(row) for row in rows]
    counted = [(w, n) for row, w in zip(rows, weights, strict=True) for n in row]
    total = math.fsum(w for w, _ in counted)
    mean = math.fsum(w * n for w, n in counted) / total
    std = math.sqrt(math.fsum(w * (n - mean) ** 2 for w, n in counted) / total)
    shift = mean if whiten else 0.0
    return [[(n - shift) / (std + STD_FLOOR) for n in row] for row in rows]
