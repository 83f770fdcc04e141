"""What is added to rewards between the verdict and the advantages, each part under a name of its own.

    verdict -> shaped -> stored -> advantages

A part stands in the reward of an episode's last turn, which every estimator reads, and by its name in
`info["parts"]`. The outcome stays what the world said, and so do turn rewards: success is counted, judged
again and reported as if there were no shaping. It happens once, when a group has been played: what is stored
has it, and a replay of an update needs no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from forge_train.config import ShapingConfig
from forge_train.trajectory import Ending, Trajectory

PARTS = ("overlong", "length_reward", "turn_penalty", "budget_penalty")
"""Their names."""
OF_MACHINES: frozenset[Ending] = frozenset({"failed", "cancelled"})
"""Endings that say nothing about the policy."""


def shaped(
    group: list[Trajectory], config: ShapingConfig, *, update: int = 0, budget: int = 0
) -> list[Trajectory]:
    """Add the parts that `config` asks for to the rewards of a group played for `update`; returns the group.

    `budget`: tokens that its episodes were allowed, 0 for no limit. Episodes that a machine ended stay as
    they are, and so do one in which the policy never spoke and judgements of others.
    """
    judged = [t for t in group if t.ending not in OF_MACHINES and t.rewards and not t.is_judgement]
    if not judged or not config.used:
        return group
    lengths = [t.sampled for t in judged]
    solved = [t.solved for t in judged]
    weight = length_weight(config, update)
    if config.overlong_limit and config.overlong_buffer:
        for t, length in zip(judged, lengths, strict=True):
            over = soft_overlong(length, config.overlong_limit, config.overlong_buffer)
            _add(t, "overlong", config.overlong_weight * over)
    if weight:
        for t, earned in zip(judged, length_rewards(lengths, solved), strict=True):
            _add(t, "length_reward", weight * earned)
    if config.turn_penalty:
        assert config.turns_free is not None and config.turns_most is not None, "the config sees to it"
        for t, right in zip(judged, solved, strict=True):
            share = turn_share(len(t.rewards), config.turns_free, config.turns_most)
            _add(t, "turn_penalty", -config.turn_penalty * share * (t.outcome or 0.0) if right else 0.0)
    if config.budget_penalty and budget:
        for t, length in zip(judged, lengths, strict=True):
            spent = t.ending == "tokens" and length >= budget
            _add(t, "budget_penalty", -config.budget_penalty if spent else 0.0)
    return group


def parts_told(groups: Sequence[Sequence[Trajectory]]) -> dict[str, float]:
    """Mean of each part over the episodes that have it, for the log: `shaping_overlong` and so on."""
    found: dict[str, list[float]] = {}
    for trajectory in (t for group in groups for t in group):
        for name in PARTS:
            if name in trajectory.info.get("parts", {}):
                found.setdefault(f"shaping_{name}", []).append(trajectory.info["parts"][name])
    return {name: fmean(values) for name, values in found.items()}


def soft_overlong(length: int, limit: int, buffer: int) -> float:
    """0 up to limit - buffer tokens, then evenly down to -1 at the limit, and -1 beyond.

    DAPO (arXiv 2503.14476) eq. 13: min(-(L - (L_max - L_cache)) / L_cache, 0).

    >>> [soft_overlong(length, 20480, 4096) for length in (16000, 16384, 18432, 20480, 30000)]
    [0.0, 0.0, -0.5, -1.0, -1.0]
    """
    return -min(max(length - (limit - buffer), 0) / buffer, 1.0) + 0.0


def length_rewards(lengths: Sequence[int], solved: Sequence[bool]) -> list[float]:
    """For the members of a group, more the shorter they are: lambda_i, and at most 0 where not solved.

    Kimi k1.5 (arXiv 2501.12599) sec. 2.3.3: lambda_i = 0.5 - (len_i - min_len) / (max_len - min_len); all 0
    when they are equally long.

    >>> length_rewards([100, 300, 500], [True, True, False])
    [0.5, 0.0, -0.5]
    """
    low, high = min(lengths), max(lengths)
    if low == high:
        return [0.0] * len(lengths)
    found = [0.5 - (length - low) / (high - low) for length in lengths]
    return [one if right else min(0.0, one) for one, right in zip(found, solved, strict=True)]


def turn_share(turns: int, free: int, most: int) -> float:
    """Which part of the penalty for turns is due: clip((n - free) / (most - free), 0, 1).

    >>> [turn_share(turns, 80, 200) for turns in (10, 80, 140, 200, 300)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    return min(max((turns - free) / (most - free), 0.0), 1.0)


def length_weight(config: ShapingConfig, update: int) -> float:
    """The weight of the length reward in `update`: 0 before `length_from`, then rising over its warm-up.

    >>> config = ShapingConfig(length_weight=0.4, length_from=10, length_warmup=4)
    >>> [length_weight(config, update) for update in (9, 10, 11, 13, 99)]
    [0.0, 0.1, 0.2, 0.4, 0.4]
    """
    if update < config.length_from:
        return 0.0
    risen = (update - config.length_from + 1) / (config.length_warmup or 1)
    return config.length_weight * min(risen, 1.0)


def _add(trajectory: Trajectory, name: str, value: float) -> None:
    """Add a part to what the episode earned: once, since it is named once."""
    parts = trajectory.info.setdefault("parts", {})
    parts[name] = parts.get(name, 0.0) + value
    trajectory.rewards[-1] += value
