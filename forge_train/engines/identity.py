"""The identity check: engine and learner, holding the same weights, must agree about the same tokens.

Everything the trainer learns rests on the engine's logprobs. Stale weights, a stale cache, another
temperature or template all show here first, as a gap that rounding cannot explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from forge_train.engine import Completion, Engine, Sampling
from forge_train.learn.kernels import in_thread
from forge_train.learn.learner import Learner
from forge_train.trajectory import Segment, Trajectory

PROBE_TOKENS = 8
"""Tokens a probe samples: enough to see stale weights, few enough to cost nothing."""


class IdentityError(RuntimeError):
    """Engine and learner disagree about the same weights: what is learned would be wrong."""


def check_gap(stats: dict[str, Any], trained: Sequence[Trajectory], version: int, tolerance: float) -> None:
    """Judge an update by the gap it measured, when all it trained was sampled by its own weights."""
    on_policy = all(v == version for t in trained for v in t.token_versions())
    if on_policy:
        _refuse_gap(stats.get("logprob_gap", 0.0), version, tolerance)


async def probe(
    engine: Engine,
    learner: Learner,
    groups: Sequence[Sequence[Trajectory]],
    temperature: float,
    tolerance: float,
) -> float:
    """Have every copy of the weights that was loaded anew sample a few tokens, and score them.

    The prompt is an opening that has just been played. Each copy is judged by itself: among many, a stale one
    would not show in a mean. Returns the largest mean gap; raises IdentityError with the name of the copy.
    """
    opening = next((_opening(t) for group in groups for t in group if t.segments), None)
    if opening is None or not opening[: engine.max_context - 1]:
        return 0.0
    sampling = Sampling(temperature=temperature, max_tokens=PROBE_TOKENS)
    said = await engine.prove(opening, sampling, seed=learner.version)
    if not said:
        return 0.0
    proofs = [_trajectory(opening, s) for s in said.values()]
    # Beside the loop: others play on, and with many processes the learner waits for the slowest.
    scored = await in_thread(partial(learner.logprobs, proofs, temperature=temperature))
    largest = 0.0
    for (name, one), rows in zip(said.items(), scored, strict=True):
        gaps = [abs(a - b) for a, b in zip(one.logprobs, rows[0][len(opening) :], strict=True)]
        gap = sum(gaps) / len(gaps)
        _refuse_gap(gap, learner.version, tolerance, name)
        largest = max(largest, gap)
    return largest


def _trajectory(opening: list[int], said: Completion) -> Trajectory:
    segment = Segment()
    segment.hear(opening)
    segment.act(said.tokens, said.logprobs, 0)
    return Trajectory(group="proof", segments=[segment], rewards=[0.0], versions=[said.version])


def _opening(trajectory: Trajectory) -> list[int]:
    """The tokens before the policy's first."""
    segment = trajectory.segments[0]
    return segment.tokens[: segment.action.index(0)] if 0 in segment.action else segment.tokens


def _refuse_gap(gap: float, version: int, tolerance: float, who: str = "engine") -> None:
    if not gap <= tolerance:  # NaN is no agreement
        raise IdentityError(
            f"{who} and learner disagree on the logprobs of version {version}: mean gap {gap:.2g}, "
            f"tolerance {tolerance:.2g}. The engine may hold stale weights or a stale cache, sample from "
            "another distribution (temperature, top_p, top_k), or compute in a precision too far from the "
            'learner\'s (vllm.dtype, model.dtype: "float32" in both agrees best)'
        )
