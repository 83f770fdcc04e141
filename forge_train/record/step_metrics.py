"""What a step played, in numbers: means over trajectories with a verdict, endings over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from forge_train.trajectory import Ending, Trajectory, branch_of

Metrics = dict[str, Any]

OUT_OF_ROOM: frozenset[Ending] = frozenset({"context", "tokens"})


def summary(groups: Sequence[Sequence[Trajectory]]) -> Metrics:
    """Success, rewards, turns and endings of the groups of one step.

    And the mean seconds that their episodes waited for the engine and for the world, which tell them apart
    also where the learner worked meanwhile: `time_to_groups` knows only how long it waited for groups.
    Of episodes that began inside of others, and of grounded ones, the tokens and endings count alone: they
    are no fresh samples.
    """
    everyone = [t for group in groups for t in group]
    whole = [t for t in everyone if branch_of(t, 0).root and not t.is_grounded]
    timed = [t for t in everyone if "world_seconds" in t.info]  # lost with its worker: nobody knows
    graded = [t for t in whole if t.trainable or t.ending in OUT_OF_ROOM]
    by_world: dict[str, list[Trajectory]] = {}
    for t in graded:
        by_world.setdefault(t.info["world"], []).append(t)
    return {
        "success": _mean([t.outcome or 0.0 for t in graded]),
        "return": _mean([t.episode_return for t in graded]),
        "turn_reward": _mean([sum(t.turn_rewards) for t in graded]),
        "turns": _mean([float(len(t.versions)) for t in graded]),
        "tokens_per_episode": _mean([float(t.sampled) for t in graded]),
        "sampled_tokens": sum(t.sampled for t in everyone),
        "episodes": len(whole),
        "generate_seconds": _mean([t.info["generate_seconds"] for t in timed]),
        "world_seconds": _mean([t.info["world_seconds"] for t in timed]),
        "endings": dict(Counter(t.ending for t in everyone)),
        "worlds": {name: {"success": _mean([t.outcome or 0.0 for t in ts])} for name, ts in by_world.items()},
        **rewritten(graded),
    }


def rewritten(graded: Sequence[Trajectory]) -> Metrics:
    """What became of the past of episodes where it is rewritten (`forge_train.play.context`), else nothing.

    Means over episodes: segments, summaries, tokens that were said and heard and how many of them the longest
    segment does not hold, and the share of episodes that were told to come to an end.
    """
    seen = [t.info["context"] for t in graded if "context" in t.info]
    if not seen:
        return {}
    return {
        "segments": _mean([float(c["segments"]) for c in seen]),
        "summaries": _mean([float(c["summaries"]) for c in seen]),
        "history_tokens": _mean([float(c["history"]) for c in seen]),
        "tokens_saved": _mean([float(max(0, c["history"] - c["longest"])) for c in seen]),
        "last_calls": _mean([float(c["last_call"]) for c in seen]),
    }


def branches(groups: Sequence[Sequence[Trajectory]], credit: Sequence[Sequence[Sequence[float]]]) -> Metrics:
    """What branches cost and gave, under "branching"; {} where no episode began inside of another.

    `episodes` and `sampled_tokens` of branches; over all actions that are trained or may be, the mean
    |advantage|, and the share of those that have one (`signal`).
    """
    began = [t for group in groups for t in group if not branch_of(t, 0).root]
    if not began:
        return {}
    sizes = [abs(a) for rows in credit for row in rows for a in row]
    return {
        "branching": {
            "episodes": len(began),
            "sampled_tokens": sum(t.sampled for t in began),
            "advantage": _mean(sizes),
            "signal": _mean([float(size > 0) for size in sizes]),
        }
    }


def lags(trained: Sequence[Trajectory], version: int, groups: Sequence[int]) -> Metrics:
    """How late what is trained is, in updates: mean and max over tokens, max over groups since they started.

    Tokens are younger than their group when the weights changed while it was played.
    """
    tokens = [version - v for t in trained for v in t.token_versions()]
    return {"mean": _mean(tokens) or 0.0, "max": max(tokens, default=0), "group_max": max(groups, default=0)}


def time_to_groups(
    seconds: float, groups: Sequence[Sequence[Trajectory]], *, overlapped: bool
) -> dict[str, float]:
    """Seconds until the groups were there: the learner's wait when they played beside it, else what they did.

    Without overlap the time is divided as the episodes divided theirs, between engine and world.
    """
    if overlapped:
        return {"wait": seconds}
    everyone = [t for group in groups for t in group]
    engine = sum(t.info.get("generate_seconds", 0.0) for t in everyone)
    world = sum(t.info.get("world_seconds", 0.0) for t in everyone)
    share = world / (engine + world) if engine + world else 0.0
    return {"generate": seconds * (1 - share), "world": seconds * share}


def learning_speed(metrics: Mapping[str, Any]) -> float | None:
    """FLOP/s of a step's update, scoring included; None where nothing was learned.

    >>> learning_speed({"flops": 6e9, "seconds": {"update": 1.5, "logprobs": 0.5}})
    3000000000.0
    """
    seconds = metrics.get("seconds") or {}
    spent = float(seconds.get("update") or 0.0) + float(seconds.get("logprobs") or 0.0)
    return metrics["flops"] / spent if metrics.get("flops") and spent else None


def _mean(values: Sequence[float]) -> float | None:
    """None of nothing: a step that machines took away whole is no step of zeros."""
    return sum(values) / len(values) if values else None
