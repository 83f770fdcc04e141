"""How sure a mean over tasks is: what another draw of tasks could have given, at 95%.

The plays of one task resemble each other, so that they say less than as many tasks would. What they are worth
is read from how far the tasks scatter (Kish 1965: the effective size of a sample of clusters), less of it
where few tasks tell how far that is, and Wilson's interval (1927) is put around a share of that many
independent plays (both after Korn and Graubard 1998). At 0% and
100%, where nothing scatters, a task counts once. Resampling tasks instead would call everything impossible
that did not happen: of 100 tasks at 99% its interval holds the truth 64 times in 100.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

Interval = tuple[float, float]


def wilson(share: float, count: float) -> Interval:
    """Wilson's interval of a share of `count` independent plays.

    >>> [round(x, 4) for x in wilson(1.0, 40)], [round(x, 4) for x in wilson(0.5, 10)]
    ([0.9124, 1.0], [0.2366, 0.7634])
    """
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + (Z / (2 * count)) ** 2)
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def student(freedom: int) -> float:
    """How many standard errors hold 95% when the error is judged from `freedom` + 1 numbers; Z for many.

    Cornish and Fisher's series (Abramowitz and Stegun 1964, 26.7.5), within 2% from 3 on and too small below,
    where a task counts once anyway.

    >>> [round(student(n), 2) for n in (4, 19, 99)]
    [2.77, 2.09, 1.98]
    """
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    )
    return Z + math.fsum(term / float(freedom) ** k for k, term in enumerate(terms, 1))


def worth(shares: Sequence[float], plays: int) -> float:
    """How many independent plays say as much as `plays` of tasks that succeed with these shares.

    Between the number of tasks, where the plays of each agree, and `plays`, where a task makes no difference.

    >>> worth([0.0, 1.0, 1.0], 12), worth([0.5, 0.5, 0.5], 12)
    (3, 12)
    """
    tasks, mean = len(shares), fmean(shares)
    if all(share in (0.0, 1.0) for share in shares):
        return tasks
    scatter = variance(shares) / tasks
    if scatter * plays <= mean * (1 - mean):
        return max(plays, tasks)
    return max(mean * (1 - mean) / scatter, tasks)


def interval(values: Sequence[float], plays: int) -> Interval | None:
    """Of the mean of `values`, one a task, from `plays` plays in all; None where they do not tell.

    One task tells nothing about others. Values that are no shares (returns of a world without outcomes) know
    no bounds: their mean lies within Z standard errors, and when they are all the same nothing is known.
    """
    if len(values) < 2:
        return None
    if min(values) >= 0 and max(values) <= 1:
        # The scatter of few tasks is a guess, and worth as much less as Student's interval is wider.
        known = worth(values, plays) * (Z / student(len(values) - 1)) ** 2
        return wilson(fmean(values), max(known, len(values)))
    error = math.sqrt(variance(values) / len(values))
    return (fmean(values) - Z * error, fmean(values) + Z * error) if error > 0 else None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much the success of the same tasks changed from one evaluation to another.

    >>> print(Difference(0.125, 0.03, 0.21, tasks=40, better=7, worse=2))
    +12.5 points [+3.0, +21.0]
    """

    mean: float
    low: float | None
    """None where one task alone is compared."""
    high: float | None
    tasks: int
    """Tasks that both graded."""
    better: int
    worse: int

    def __str__(self) -> str:
        text = f"{100 * self.mean:+.1f} points"
        if self.low is None or self.high is None:
            return f"{text}, no interval"
        return f"{text} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


def paired(before: Mapping[str, float], after: Mapping[str, float]) -> Difference | None:
    """Compare shares of success by task, of the tasks that are in both; None when there is no such task.

    A task is compared with itself, so that hard and easy ones do not blur what changed. Half a task that
    changes each way, as much as any did, and one that stays are put beside those played (Agresti and Min
    2005, for pairs of plays): else nothing that did not happen would be possible. Resampling the pairs
    (percentile bootstrap) does just that: with 5 tasks its interval of 95% held the truth 49 to 88 times in
    100, this one 93 or more.
    """
    changes = [after[task] - share for task, share in before.items() if task in after]
    if not changes:
        return None
    mean, low, high = fmean(changes), None, None
    if len(changes) > 1:
        count = len(changes) + 2
        shrunk, most = math.fsum(changes) / count, max(map(abs, changes)) or 1.0
        scatter = (math.fsum(c * c for c in changes) + most**2) / count - shrunk**2
        half = Z * math.sqrt(scatter / count)
        low, high = max(-1.0, min(shrunk - half, mean)), min(1.0, max(shrunk + half, mean))
    return Difference(mean, low, high, len(changes), sum(c > 0 for c in changes), sum(c < 0 for c in changes))
