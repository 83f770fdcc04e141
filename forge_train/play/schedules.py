"""What depends on how far a run is and on nothing else: how long episodes may be, and how warm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from forge_train.config import TemperatureConfig


def horizon(horizons: Sequence[tuple[int, int]], update: int) -> int:
    """Turns that an episode for `update` may take; 0 where the world alone says so.

    ScalingInter-RL (arXiv 2509.08755): h_1 < h_2 < ... at thresholds of updates.

    >>> [horizon([(0, 5), (100, 10)], update) for update in (0, 99, 100)], horizon([], 3)
    ([5, 5, 10], 0)
    """
    return next((turns for begin, turns in reversed(horizons) if begin <= update), 0)


def cooled(config: TemperatureConfig, start: float, update: int) -> float:
    """The temperature of `update` where it falls from `start` to `config.end` in `config.steps` updates.

    >>> falls = TemperatureConfig(decay="linear", end=0.5, steps=10)
    >>> [cooled(falls, 1.0, update) for update in (0, 5, 10, 99)]
    [1.0, 0.75, 0.5, 0.5]
    """
    if config.decay == "none":
        return start
    assert config.end is not None and config.steps is not None, "the config sees to it"
    done = min(update / config.steps, 1.0)
    if config.decay == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return start + (config.end - start) * done


def stands_still(rewards: Sequence[float], updates: int, gain: float) -> bool:
    """Whether the mean of the last `updates` rewards is less than `gain` above that of as many before.

    With fewer than twice as many there is nothing to compare.

    >>> stands_still([0.1, 0.2, 0.5, 0.6], 2, 0.01), stands_still([0.5, 0.6, 0.6, 0.5], 2, 0.01)
    (False, True)
    """
    if len(rewards) < 2 * updates:
        return False
    before, after = rewards[-2 * updates : -updates], rewards[-updates:]
    return math.fsum(after) / updates < math.fsum(before) / updates + gain


def warmest(scores: Mapping[float, float], tolerance: float) -> float:
    """The highest temperature whose score is within `tolerance` of the best (GLM-4.5, arXiv 2508.06471).

    >>> warmest({0.8: 0.60, 1.0: 0.62, 1.2: 0.615, 1.4: 0.55}, 0.01)
    1.2
    """
    best = max(scores.values())
    return max(temperature for temperature, score in scores.items() if score >= best - tolerance)
