"""Level 2: the obvious way is too slow; two pointers, sorting or a stack do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from forge_envs.worlds.polyglot.contests.family import (
    Check,
    Family,
    Recode,
    Values,
    choose,
    length,
    numbers,
    pick,
)
from forge_envs.worlds.polyglot.contests.problem import Argument

GOOD = {
    "distinct": "has at most {0} different values",
    "spread": "has a greatest and a least number that differ by at most {0}",
    "sum": "has a sum of absolute values of at most {0}",
    "repeats": "has no value more than {0} times",
}


@dataclass(frozen=True, slots=True)
class Windowing:
    """Parameters of `Window`."""

    code: Recode
    good: str
    k: int
    count: bool


class Window(Family[Windowing]):
    """Count the stretches of a list that are good, or find the longest; parts of good stretches are good."""

    name, level = "window", 2

    def draw(self, rng: np.random.Generator) -> Windowing:
        """See Family."""
        good = choose(rng, GOOD)
        k = {"distinct": (1, 12), "spread": (2, 120), "sum": (20, 900), "repeats": (1, 9)}[good]
        return Windowing(Recode.draw(rng), good, pick(rng, *k), bool(rng.random() < 0.5))

    def arguments(self, p: Windowing) -> tuple[Argument, ...]:
        """See Family."""
        return (Argument("values", "ints", "up to 30000 numbers from -1000 to 1000; there may be none"),)

    def asked(self, p: Windowing) -> str:
        """See Family."""
        told = (
            "How many stretches of at least one number are good? Stretches at different places count "
            "separately."
            if p.count
            else "How many numbers has the longest good stretch? The answer is 0 if there is none."
        )
        return (
            f"{p.code.asked}A stretch of a list, that is some of its numbers that stand directly one after "
            "another, "
            f"is good if it {GOOD[p.good].format(p.k)}. {told}"
        )

    def solution(self, p: Windowing) -> str:
        """See Family."""
        tail = "total += end - start + 1" if p.count else "total = max(total, end - start + 1)"
        head = f"def solve(values):\n{p.code.source}"
        if p.good == "spread":
            return head + _SPREAD.format(k=p.k, tail=tail)
        come, go, bad = {
            "distinct": ("seen[v] = seen.get(v, 0) + 1", _FORGET, f"len(seen) > {p.k}"),
            "sum": ("load += abs(v)", "load -= abs(values[start])", f"load > {p.k}"),
            "repeats": (
                "seen[v] = seen.get(v, 0) + 1",
                "seen[values[start]] -= 1",
                f"seen.get(v, 0) > {p.k}",
            ),
        }[p.good]
        return head + (
            "    seen, load, start, total = {}, 0, 0, 0\n    for end, v in enumerate(values):\n"
            f"        {come}\n        while {bad}:\n            {go}\n            start += 1\n        "
            f"{tail}\n"
            "    return total\n"
        )

    def brute(self, p: Windowing, *values: Any) -> int:
        """See Family."""
        real = [p.code(v) for v in values[0]]
        stretches = [real[i:j] for i in range(len(real)) for j in range(i + 1, len(real) + 1)]
        good = [stretch for stretch in stretches if _is_good(p, stretch)]
        return len(good) if p.count else max(map(len, good), default=0)

    def sample(self, p: Windowing, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        reach = choose(rng, (3, 25, 200))
        return (numbers(rng, length(rng, size, 9, 150, 30_000), -reach, reach),)


_FORGET = (
    "seen[values[start]] -= 1\n            if not seen[values[start]]:\n                del "
    "seen[values[start]]"
)
_SPREAD = """\
    from collections import deque
    low, high, start, total = deque(), deque(), 0, 0
    for end, v in enumerate(values):
        while low and values[low[-1]] >= v:
            low.pop()
        while high and values[high[-1]] <= v:
            high.pop()
        low.append(end)
        high.append(end)
        while values[high[0]] - values[low[0]] > {k}:
            start += 1
            if low[0] < start:
                low.popleft()
            if high[0] < start:
                high.popleft()
        {tail}
    return total
"""


def _is_good(p: Windowing, stretch: list[int]) -> bool:
    if p.good == "distinct":
        return len(set(stretch)) <= p.k
    if p.good == "spread":
        return max(stretch) - min(stretch) <= p.k
    if p.good == "sum":
        return sum(map(abs, stretch)) <= p.k
    return all(stretch.count(v) <= p.k for v in stretch)


SPANS = {
    "covered": "how many whole numbers lie in at least {k} of the ranges",
    "pieces": (
        "into how many pieces the ranges fall, where two ranges belong to the same piece if at most {k} "
        "whole numbers lie strictly between them, or if a chain of such ranges joins them"
    ),
    "apart": (
        "the greatest number of ranges that can be chosen so that between any two of them lie at least {k} "
        "whole numbers"
    ),
    "points": (
        "the least number of whole numbers that have to be chosen so that every range, made longer by {k} "
        "at both ends, holds at least one of them"
    ),
}


@dataclass(frozen=True, slots=True)
class Spanning:
    """Parameters of `Spans`."""

    code: Recode
    told: str
    k: int


class Spans(Family[Spanning]):
    """Ranges of whole numbers, both ends included."""

    name, level = "spans", 2

    def draw(self, rng: np.random.Generator) -> Spanning:
        """See Family."""
        told = choose(rng, SPANS)
        return Spanning(Recode.draw(rng), told, pick(rng, *{"covered": (1, 3)}.get(told, (0, 9))))

    def arguments(self, p: Spanning) -> tuple[Argument, ...]:
        """See Family."""
        return (
            Argument("ranges", "pairs", "up to 15000 pairs of numbers from -100000 to 100000; maybe none"),
        )

    def asked(self, p: Spanning) -> str:
        """See Family."""
        return (
            f"{p.code.asked.replace('of the list', 'of the pairs')}Each pair is a range of whole numbers, "
            "from the "
            f"smaller of the two to the greater, both included. The answer is {SPANS[p.told].format(k=p.k)}."
        )

    def solution(self, p: Spanning) -> str:
        """See Family."""
        code = f"({p.code.a} * v + {p.code.b}) % {p.code.m}" if p.code.m else "v"
        return (
            f"def solve(ranges):\n    ranges = [sorted(({code}) for v in pair) for pair in ranges]\n"
            + _SPANS[p.told].format(k=p.k)
        )

    def brute(self, p: Spanning, *values: Any) -> int:
        """See Family."""
        ranges = [sorted(p.code(v) for v in pair) for pair in values[0]]
        if not ranges:
            return 0
        if p.told == "covered":
            line = range(min(a for a, _ in ranges), max(b for _, b in ranges) + 1)
            return sum(sum(a <= v <= b for a, b in ranges) >= p.k for v in line)
        if p.told == "pieces":
            return _pieces(ranges, p.k)
        if p.told == "apart":
            return max(
                bin(chosen).count("1")
                for chosen in range(1 << len(ranges))
                if _all_apart([r for i, r in enumerate(ranges) if chosen >> i & 1], p.k)
            )
        return _points(ranges, p.k)

    def sample(self, p: Spanning, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        count = length(rng, size, 6, 80, 15_000)
        reach, wide = ((30, 12), (400, 60), (100_000, 300))[size]
        starts = numbers(rng, count, -reach, reach - wide)
        pairs = [[a, a + pick(rng, 0, wide)] for a in starts]
        return ([pair[:: choose(rng, (1, -1))] for pair in pairs],)


_SPANS = {
    "covered": """\
    steps = sorted([(a, 1) for a, b in ranges] + [(b + 1, -1) for a, b in ranges])
    total = depth = last = 0
    for place, step in steps:
        if depth >= {k}:
            total += place - last
        depth += step
        last = place
    return total
""",
    "pieces": """\
    total, reach = 0, None
    for a, b in sorted(ranges):
        if reach is None or a - reach - 1 > {k}:
            total += 1
            reach = b
        reach = max(reach, b)
    return total
""",
    "apart": """\
    total, last = 0, None
    for a, b in sorted(ranges, key=lambda r: r[1]):
        if last is None or a - last - 1 >= {k}:
            total, last = total + 1, b
    return total
""",
    "points": """\
    total, last = 0, None
    for a, b in sorted(ranges, key=lambda r: r[1]):
        if last is None or last < a - {k}:
            total, last = total + 1, b + {k}
    return total
""",
}


def _between(one: list[int], other: list[int]) -> int:
    """How many whole numbers lie strictly between two ranges, -1 if they share one."""
    (_, b), (c, _) = sorted((one, other), key=lambda r: (r[0], r[1]))
    return c - b - 1 if c > b else -1


def _all_apart(ranges: list[list[int]], k: int) -> bool:
    return all(_between(one, other) >= k for i, one in enumerate(ranges) for other in ranges[:i])


def _pieces(ranges: list[list[int]], k: int) -> int:
    label = list(range(len(ranges)))
    for i, one in enumerate(ranges):
        for j, other in enumerate(ranges):
            if _between(one, other) <= k:
                label = [label[i] if found == label[j] else found for found in label]
    return len(set(label))


def _points(ranges: list[list[int]], k: int) -> int:
    """The least number of points, by trying sets of right ends from small to large."""
    ends = [b + k for _, b in ranges]
    counts = range(1, len(ends) + 1)
    return next(n for n in counts if any(_hit(ranges, k, chosen) for chosen in _subsets(ends, n)))


def _hit(ranges: list[list[int]], k: int, points: list[int]) -> bool:
    return all(any(a - k <= v <= b + k for v in points) for a, b in ranges)


def _subsets(items: list[int], n: int) -> list[list[int]]:
    masks = (mask for mask in range(1 << len(items)) if bin(mask).count("1") == n)
    return [[item for i, item in enumerate(items) if mask >> i & 1] for mask in masks]


LOOK: dict[str, tuple[str, str, Check]] = {
    "greater": ("greater than it", ">", lambda a, b: b > a),
    "less": ("less than it", "<", lambda a, b: b < a),
    "no less": ("not less than it", ">=", lambda a, b: b >= a),
    "no greater": ("not greater than it", "<=", lambda a, b: b <= a),
}
SEEN: dict[str, tuple[str, str, Check]] = {
    "distance": ("the distance of their places", "abs(j - i)", lambda i, j, a, b: abs(j - i)),
    "height": ("the difference of the two numbers, never negative", "abs(values[j] - values[i])",
               lambda i, j, a, b: max(a - b, b - a)),
    "one": ("1", "1", lambda i, j, a, b: 1),
    "found": ("the number found", "values[j]", lambda i, j, a, b: b),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looking:
    """Parameters of `Look`."""

    code: Recode
    look: str
    left: bool
    seen: str
    far: int


class Look(Family[Looking]):
    """For each number the nearest one on a side that compares with it in a given way."""

    name, level = "look", 2

    def draw(self, rng: np.random.Generator) -> Looking:
        """See Family."""
        return Looking(
            Recode.draw(rng), choose(rng, LOOK), bool(rng.random() < 0.5), choose(rng, SEEN), pick(rng, 2, 40)
        )

    def arguments(self, p: Looking) -> tuple[Argument, ...]:
        """See Family."""
        return (Argument("values", "ints", "up to 30000 numbers from -1000 to 1000; there may be none"),)

    def asked(self, p: Looking) -> str:
        """See Family."""
        side = "left" if p.left else "right"
        return (
            f"{p.code.asked}For each number of a list find the nearest one to the {side} of it that is "
            f"{LOOK[p.look][0]}. If there is none, or if it stands more than {p.far} places away, the "
            "number counts "
            f"nothing; otherwise it counts {SEEN[p.seen][0]}. The answer is the sum of what all numbers "
            "count."
        )

    def solution(self, p: Looking) -> str:
        """See Family."""
        order = "range(len(values))" if p.left else "range(len(values) - 1, -1, -1)"
        return (
            f"def solve(values):\n{p.code.source}    stack, total = [], 0\n    for i in {order}:\n"
            f"        while stack and not values[stack[-1]] {LOOK[p.look][1]} values[i]:\n            "
            "stack.pop()\n"
            f"        if stack and abs(stack[-1] - i) <= {p.far}:\n            j = stack[-1]\n"
            f"            total += {SEEN[p.seen][1]}\n        stack.append(i)\n    return total\n"
        )

    def brute(self, p: Looking, *values: Any) -> int:
        """See Family."""
        real, total = [p.code(v) for v in values[0]], 0
        for i, a in enumerate(real):
            places = range(i - 1, -1, -1) if p.left else range(i + 1, len(real))
            for j in places:
                if LOOK[p.look][2](a, real[j]):
                    total += SEEN[p.seen][2](i, j, a, real[j]) if abs(i - j) <= p.far else 0
                    break
        return int(total)

    def sample(self, p: Looking, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        reach = choose(rng, (4, 60, 1000))
        count = length(rng, size, 14, 150, 30_000)
        drift = numbers(rng, count, -2, 2)
        values = numbers(rng, count, -reach, reach)
        if size == 2 and not p.code.m:  # a long slope, where looking step by step takes for ever
            down = -1 if "greater" in p.look or p.look == "no less" else 1
            slope = [down * (1 if p.left else -1) * (i * 1900 // count - 950) for i in range(count)]
            values = [max(-1000, min(1000, a + b)) for a, b in zip(slope, drift, strict=True)]
        return (values,)


LEVEL: tuple[Family[Any], ...] = (Window(), Spans(), Look())
