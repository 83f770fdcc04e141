"""From verdicts to scores: who is compared with whom, and what share of comparisons each has won."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

Pair = tuple[int, int]


def pairs_of(members: Sequence[int], opponents: int = 0) -> list[Pair]:
    """Who is compared with whom: everybody with everybody, or each with the `opponents` that follow it.

    Those at the end go on at the beginning, so that each is compared about as often.

    >>> pairs_of([0, 1, 2, 3]), pairs_of([0, 1, 2, 3], opponents=1)
    ([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)], [(0, 1), (0, 3), (1, 2), (2, 3)])
    """
    count = len(members)
    reach = min(opponents or count - 1, count - 1)
    found = {
        (min(a, b), max(a, b))
        for at, a in enumerate(members)
        for step in range(1, reach + 1)
        if (b := members[(at + step) % count]) != a
    }
    return sorted(found)


def of_both_orders(first: float, second: float) -> float:
    """How much better i is than j: from the verdict with i as A, and from the one with j as A.

    A judge that prefers a place, and not an attempt, ends at 1/2.

    >>> of_both_orders(1.0, 0.0), of_both_orders(1.0, 1.0)
    (1.0, 0.5)
    """
    return 0.5 + (first - second) / 2


def consistent(first: float, second: float) -> bool:
    """Whether both orders prefer the same attempt, or neither.

    >>> consistent(1.0, 0.0), consistent(0.5, 0.5), consistent(1.0, 1.0)
    (True, True, False)
    """
    return (first - 0.5) * (0.5 - second) > 0 or first == second == 0.5


def compared_with_all(members: Sequence[int], missing: Collection[Pair]) -> list[int]:
    """The members that stay when pairs have no verdict: whoever lacks most leaves first, of equals the last.

    >>> compared_with_all([0, 1, 2, 3], [(0, 1), (1, 2)]), compared_with_all([0, 1], [(0, 1)])
    ([0, 2, 3], [0])
    """
    stay, left = list(members), set(missing)
    while left:
        lacks = {m: sum(m in pair for pair in left) for m in stay}
        worst = max(stay, key=lambda m: (lacks[m], m))
        stay.remove(worst)
        left = {pair for pair in left if worst not in pair}
    return stay


def win_rates(members: Sequence[int], preferences: Mapping[Pair, float]) -> dict[int, float | None]:
    """The share of its comparisons that each member has won, a tie being half of one; None without any.

    w_i = mean over j of p_ij, p_ij in [0, 1] how much better i is than j, p_ji = 1 - p_ij.

    >>> win_rates([0, 1, 2], {(0, 1): 1.0, (0, 2): 0.5, (1, 2): 0.0})
    {0: 0.75, 1: 0.0, 2: 0.75}
    """
    won: dict[int, list[float]] = {m: [] for m in members}
    for (i, j), value in preferences.items():
        if i in won and j in won:
            won[i].append(value)
            won[j].append(1 - value)
    return {m: math.fsum(values) / len(values) if values else None for m, values in won.items()}
