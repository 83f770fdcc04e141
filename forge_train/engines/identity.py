"""The identity check: engine and learner, holding the same weights, must agree about the same tokens.

Everything the trainer learns rests on the engine's logprobs. Stale weights, a stale cache, another
temperature or template all show here first, as a gap that rounding cannot explain.

Rounding is uneven: in bfloat16 most tokens agree to 0.02 nats, and now and then an unlikely one is off by
0.4. So a verdict needs many tokens (one such among 64 moves their mean by 0.006, among 8 by 0.05), of several
sequences, and whoever disagrees is looked at once more before the run ends: stale weights disagree again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from forge_train.engine import Completion, Engine, Sampling
from forge_train.learn.kernels import in_thread
from forge_train.learn.learner import Learner
from forge_train.seeds import derive_seed
from forge_train.trajectory import Segment, Trajectory

PROBES = 4
"""Sequences a copy of the weights continues at a look."""
PROBE_TOKENS = 16
"""Tokens of each: together enough for a mean, few enough to cost nothing."""


class IdentityError(RuntimeError):
    """Engine and learner disagree about the same weights: what is learned would be wrong."""


@runtime_checkable
class Checksummed(Protocol):
    """An engine whose copies can tell what their weights are, to the bit."""

    async def differing(self, names: Collection[str], *, doubted: bool) -> Mapping[str, str]:
        """What is wrong with these copies' weights, by their checksums; `doubted`: one disagreed twice."""
        ...


def check_gap(stats: dict[str, Any], trained: Sequence[Trajectory], version: int, tolerance: float) -> None:
    """Judge an update by the gap it measured, when all it trained was sampled by its own weights.

    Without the largest gap of all, which alone says nothing: with few tokens it would decide.
    """
    on_policy = all(v == version for t in trained for v in t.token_versions())
    if on_policy and "logprob_gap" in stats:
        tokens, largest = stats["tokens_trained"], stats["logprob_gap_max"]
        rest = stats["logprob_gap"] * tokens - largest
        _refuse_gap(rest / (tokens - 1) if tokens > 1 else 0.0 * largest, version, tolerance)


async def probe(
    engine: Engine,
    learner: Learner,
    groups: Sequence[Sequence[Trajectory]],
    temperature: float,
    tolerance: float,
) -> float:
    """Have every copy of the weights that was loaded anew sample a few tokens, and score them.

    The prompts are openings that have just been played. Each copy is judged by itself: among many, a stale
    one would not show in a mean. One whose mean gap exceeds `tolerance` is asked again, and judged by both
    answers and, where it has checksums of its weights, by these. Returns the largest mean gap; raises
    IdentityError with the name of the copy.
    """
    prompts = _prompts(groups, max(engine.max_context - PROBE_TOKENS, 1))
    if not prompts:
        return 0.0
    sampling = Sampling(temperature=temperature, max_tokens=min(PROBE_TOKENS, engine.max_context - 1))
    seed = learner.version
    said = await engine.prove(prompts, sampling, seed=seed)
    gaps = await _gaps(learner, prompts, said, temperature)
    doubted = {name for name, found in gaps.items() if not mean_gap(found) <= tolerance}
    if doubted:
        again = await engine.prove(prompts, sampling, seed=derive_seed(seed, "once more"), again=doubted)
        for name, more in (await _gaps(learner, prompts, again, temperature)).items():
            gaps[name] = [*gaps.get(name, ()), *more]
        # One that had no second answer is down: it takes no requests until it has proved itself.
        gaps = {name: found for name, found in gaps.items() if name not in doubted or name in again}
    known: Mapping[str, str] = {}
    if gaps and isinstance(engine, Checksummed):
        wrong = any(not mean_gap(found) <= tolerance for found in gaps.values())
        known = await engine.differing(list(gaps), doubted=wrong)
    for name, found in gaps.items():
        _refuse_gap(mean_gap(found), learner.version, tolerance, name, known.get(name, ""))
    for name, told in known.items():
        raise IdentityError(f"{name} does not hold the weights of version {learner.version}: {told}")
    return max(map(mean_gap, gaps.values()), default=0.0)


def mean_gap(gaps: Sequence[float]) -> float:
    """Mean of |learner logprob - engine logprob|; NaN if one is, which is no agreement."""
    return sum(gaps) / len(gaps) if gaps else 0.0


async def _gaps(
    learner: Learner,
    prompts: Sequence[list[int]],
    said: Mapping[str, Sequence[Completion]],
    temperature: float,
) -> dict[str, list[float]]:
    """Of each copy, how far the learner is from each of its tokens."""
    asked = [(name, prompt, one) for name, many in said.items()
             for prompt, one in zip(prompts, many, strict=True)]  # fmt: skip
    if not asked:
        return {}
    proofs = [_trajectory(prompt, one) for _, prompt, one in asked]
    # Beside the loop: others play on, and with many processes the learner waits for the slowest.
    scored = await in_thread(partial(learner.logprobs, proofs, temperature=temperature))
    found: dict[str, list[float]] = {}
    for (name, prompt, one), rows in zip(asked, scored, strict=True):
        pairs = zip(one.logprobs, rows[0][len(prompt) :], strict=True)
        found.setdefault(name, []).extend(abs(a - b) for a, b in pairs)
    return found


def _prompts(groups: Sequence[Sequence[Trajectory]], longest: int) -> list[list[int]]:
    """Openings, of different groups if there are so many, else some of them again."""
    openings = (next((_opening(t) for t in group if t.segments), []) for group in groups)
    different = dict.fromkeys(tuple(opening[:longest]) for opening in openings if opening)
    found = [list(opening) for opening in islice(different, PROBES)]
    return [found[i % len(found)] for i in range(PROBES)] if found else []


def _trajectory(opening: list[int], said: Completion) -> Trajectory:
    segment = Segment()
    segment.hear(opening)
    segment.act(said.tokens, said.logprobs, 0)
    return Trajectory(group="proof", segments=[segment], rewards=[0.0], versions=[said.version])


def _opening(trajectory: Trajectory) -> list[int]:
    """The tokens before the policy's first."""
    segment = trajectory.segments[0]
    return segment.tokens[: segment.action.index(0)] if 0 in segment.action else segment.tokens


def _refuse_gap(gap: float, version: int, tolerance: float, who: str = "engine", known: str = "") -> None:
    if not gap <= tolerance:  # NaN is no agreement
        why = (
            "The engine may hold stale weights or a stale cache, sample from another distribution "
            "(temperature, top_p, top_k), or compute in a precision too far from the learner's "
            '(vllm.dtype, model.dtype: "float32" in both agrees best)'
        )
        raise IdentityError(
            f"{who} and learner disagree on the logprobs of version {version}: mean gap {gap:.2g}, "
            f"tolerance {tolerance:.2g}. {known or why}"
        )
