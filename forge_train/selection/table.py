"""How good selection is: success of what each selector hands in, of N plays, over N, with intervals.

For each task all subsets of N of its plays are tried, or as many at random; a task's figure is the mean
over these, and the interval is over tasks (`forge_train.record.intervals`). Beside it stands what is gained
over one play, task by task. Selectors see candidates; verdicts are looked up after they have chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb
from statistics import fmean
from typing import Any

from forge_train.evaluation.evaluate import over_tasks, pass_at_k
from forge_train.record.evaluation_result import Estimate
from forge_train.record.intervals import Difference, paired
from forge_train.seeds import derive_seed
from forge_train.selection.candidates import Candidate, Verdicts
from forge_train.selection.confidence import Windows
from forge_train.selection.selectors import SELECTORS, Scores
from forge_train.selection.tournament import Referee, knockout

DRAWS = 64
"""Subsets of a task's plays that are tried, where there are more."""
ONE, ALL = "one play", "pass@N"
"""What selection is compared with: a play at random, and a selector that always knows."""
JUDGE = "judge"


@dataclass(frozen=True, slots=True)
class Row:
    """One selector at one N."""

    selector: str
    n: int
    success: Estimate
    gain: Difference | None
    """Over one play; None for one play itself."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def refuse(
    groups: Sequence[Sequence[Candidate]], names: Sequence[str], ns: Sequence[int], where: str
) -> None:
    """Raise ValueError for a selection that the stored plays do not allow, with what to do."""
    unknown = [name for name in names if name not in SELECTORS]
    if unknown:
        raise ValueError(f"no selector {unknown[0]!r}; known are {', '.join(SELECTORS)}")
    fewest = min(map(len, groups))
    if not ns or min(ns) < 1 or max(ns) > fewest:
        raise ValueError(
            f"--n {' '.join(map(str, ns))}: {where} has {fewest} plays of some task; collect more with "
            f"--repeats {max(ns, default=1)}, or ask for fewer"
        )
    for name in names:
        needed = SELECTORS[name].needs
        for candidate in (c for group in groups for c in group):
            if needed and said(candidate) and not getattr(candidate, needed):
                if needed == "tested":
                    raise ValueError(f"{name} needs written tests: give the plays of a tester with --tests")
                raise ValueError(
                    f"{name} needs {needed}, and {where} has none (task {candidate.task}): collect again "
                    "into another folder with --top-logprobs 20; majority needs none"
                )


def said(candidate: Candidate) -> bool:
    """Whether the player said anything at all."""
    return any(m["role"] == "assistant" for m in candidate.messages[candidate.opening :])


def table(
    groups: Sequence[Sequence[Candidate]],
    verdicts: Verdicts,
    names: Sequence[str],
    ns: Sequence[int],
    *,
    windows: Windows | None = None,
    finished: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Row]:
    """One row for each of `names` and each of `ns`, with those of `ONE` and `ALL` first.

    groups: the candidates of each task. `finished`: of a subset, plays that ended by themselves go before
    others, whatever the selector says.
    """
    won = _won(groups, verdicts)
    plays = {group[0].task: len(group) for group in groups}
    rows = [_row(ONE, 1, {t: fmean(w) for t, w in won.items()}, plays, None)]
    base = {t: fmean(w) for t, w in won.items()}
    rows += [
        _row(ALL, n, {t: pass_at_k(len(w), int(sum(w)), n) for t, w in won.items()}, plays, base) for n in ns
    ]
    for name in names:
        selector = SELECTORS[name]
        measured = {
            group[0].task: [selector.measure(c, windows or Windows()) for c in group] for group in groups
        }
        for n in ns:
            found = {}
            for group in groups:
                task, scores = group[0].task, measured[group[0].task]
                rng = random.Random(derive_seed(seed, "select", task, n))
                chosen = [
                    chosen_of(group, scores, subset, selector.choose, finished)
                    for subset in subsets(len(group), n, draws, rng)
                ]
                found[task] = fmean(won[task][i] for i in chosen)
            rows.append(_row(name, n, found, plays, base))
    return rows


async def judged(
    groups: Sequence[Sequence[Candidate]],
    verdicts: Verdicts,
    referee: Referee,
    ns: Sequence[int],
    *,
    size: int = 2,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """The rows of a judge: of each task the first N plays alone, since each comparison costs a request."""
    won = _won(groups, verdicts)
    base = {t: fmean(w) for t, w in won.items()}
    plays = {group[0].task: len(group) for group in groups}
    rows = []
    for n in ns:
        found = {}
        for group in groups:
            task = group[0].task
            rng = random.Random(derive_seed(seed, "knockout", task, n))
            found[task] = won[task][await knockout(group[:n], referee, size=size, rng=rng)]
            progress()
        rows.append(_row(JUDGE, n, found, plays, base))
    return rows


def chosen_of(
    group: Sequence[Candidate],
    scores: Scores,
    subset: Sequence[int],
    choose: Callable[[Sequence[Candidate], Scores], int],
    finished: bool,
) -> int:
    """The index in `group` of the play that a selector takes of a subset."""
    kept = [i for i in subset if group[i].finished] if finished else []
    kept = kept or list(subset)
    return kept[choose([group[i] for i in kept], [scores[i] for i in kept])]


def subsets(count: int, n: int, draws: int, rng: random.Random) -> Iterator[list[int]]:
    """Subsets of `n` of `count`, each in random order: all, or `draws` at random where there are more.

    >>> sorted(sorted(s) for s in subsets(3, 2, 64, random.Random(0)))
    [[0, 1], [0, 2], [1, 2]]
    """
    if comb(count, n) <= draws:
        for subset in combinations(range(count), n):
            yield rng.sample(subset, n)
        return
    for _ in range(draws):
        yield rng.sample(range(count), n)


def choose(
    group: Sequence[Candidate], name: str, *, windows: Windows | None = None, finished: bool = False
) -> Candidate:
    """The play of a task that a selector hands in, of all there are."""
    selector = SELECTORS[name]
    scores = [selector.measure(c, windows or Windows()) for c in group]
    return group[chosen_of(group, scores, range(len(group)), selector.choose, finished)]


def rows_of(
    name: str,
    found: Mapping[int, Mapping[str, float]],
    plays: Mapping[str, int],
    base: Mapping[str, float],
) -> list[Row]:
    """The rows of a way to hand in that is not a selector: success by N and task, of so many `plays`."""
    return [_row(name, n, by_task, plays, base) for n, by_task in found.items()]


def _won(groups: Sequence[Sequence[Candidate]], verdicts: Verdicts) -> dict[str, list[float]]:
    return {group[0].task: [verdicts[c.task, c.repetition] for c in group] for group in groups}


def _row(
    name: str, n: int, found: Mapping[str, float], plays: Mapping[str, int], base: Mapping[str, float] | None
) -> Row:
    success = over_tasks(list(found.values()), [plays[task] for task in found])
    assert success is not None, "there is a task"
    return Row(name, n, success, None if base is None else paired(base, found))
