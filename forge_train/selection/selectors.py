"""Which of N plays of a task: one function a rule, from what is seen of them to the index of one.

Of plays that are equally good the first is taken; the table shows them in random order. Sources:
Klear-AgentForge (arXiv 2511.05951, sec. 3.4.4) and DeepConf (arXiv 2508.15260) with its code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forge_train.selection.candidates import Candidate
from forge_train.selection.confidence import MEASURES, Windows

Scores = Sequence[float]
"""A number for each candidate: of the measure that the selector asks for."""
Measure = Callable[[Candidate, Windows], float]


@dataclass(frozen=True, slots=True)
class Selector:
    """A rule, what it measures of each play, and what it needs to have been recorded."""

    choose: Callable[[Sequence[Candidate], Scores], int]
    measure: Measure
    needs: str
    """"logprobs", "confidence", "tested", or "" where transcripts suffice."""


def most(candidates: Sequence[Candidate], scores: Scores) -> int:
    """The play with the largest score.

    >>> most([], [0.1, 0.7, 0.7])
    1
    """
    return max(range(len(scores)), key=scores.__getitem__)


def vote(candidates: Sequence[Candidate], scores: Scores) -> int:
    """Of the result with the largest sum of scores, the play with the largest: with equal ones a majority.

    Weighted by confidence it is DeepConf's vote (Eq. 7).
    """
    sums: Counter[tuple[str, ...]] = Counter()
    for candidate, score in zip(candidates, scores, strict=True):
        sums[candidate.result] += score  # type: ignore[assignment]
    first = max(sums, key=sums.__getitem__)  # of equal ones that which was seen first
    return max(
        (i for i, candidate in enumerate(candidates) if candidate.result == first), key=scores.__getitem__
    )


def surest_vote(candidates: Sequence[Candidate], scores: Scores) -> int:
    """DeepConf's filter: the tenth that is surest votes, weighted; below 20 plays that is one or two.

    As in its code: who reaches the 90th percentile, interpolated.
    """
    bound = float(np.percentile(scores, 90))
    kept = [i for i, score in enumerate(scores) if score >= bound] or [most(candidates, scores)]
    return kept[vote([candidates[i] for i in kept], [scores[i] for i in kept])]


def _alike(candidate: Candidate, windows: Windows) -> float:
    return 1.0


def _logprob(candidate: Candidate, windows: Windows) -> float:
    return candidate.mean_logprob


def _tested(candidate: Candidate, windows: Windows) -> float:
    return candidate.tested[0] if candidate.tested else float("-inf")


def _confidence(name: str) -> Measure:
    def measure(candidate: Candidate, windows: Windows) -> float:
        return MEASURES[name](candidate.confidence, windows) if candidate.confidence else float("-inf")

    return measure


SELECTORS: dict[str, Selector] = {
    "majority": Selector(vote, _alike, ""),
    "logprob": Selector(most, _logprob, "logprobs"),
    "tests": Selector(most, _tested, "tested"),
    **{name: Selector(most, _confidence(name), "confidence") for name in MEASURES},
    **{f"{name}_vote": Selector(vote, _confidence(name), "confidence") for name in MEASURES},
    "tail_top10_vote": Selector(surest_vote, _confidence("tail"), "confidence"),
    "bottom_top10_vote": Selector(surest_vote, _confidence("bottom"), "confidence"),
}
"""By name; `mean` is Klear's Agent Confidence Select. Judges are no functions of this kind: `tournament`."""
