"""Level 1: one pass over a list or a line of text."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
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

KEEP: dict[str, tuple[str, str, Check]] = {
    "multiple": ("are multiples of {0}", "v % {0} == 0", lambda v, i, k: v % k == 0),
    "above": ("are greater than {0}", "v > {0}", lambda v, i, k: v > k),
    "below": ("are less than {0}", "v < {0}", lambda v, i, k: v < k),
    "places": ("stand at places whose index, counted from 0, is a multiple of {0}", "i % {0} == 0",
               lambda v, i, k: i % k == 0),
    "digits": ("have a decimal digit sum (of the absolute value) divisible by {0}",
               "sum(map(int, str(abs(v)))) % {0} == 0",
               lambda v, i, k: _digit_sum(v) % k == 0),
}  # fmt: skip
MAP: dict[str, tuple[str, str, Check]] = {
    "same": ("the number itself", "v", lambda v, k: v),
    "line": ("{0} times the number", "{0} * v", lambda v, k: k * v),
    "square": ("the square of the number", "v * v", lambda v, k: v**2),
    "distance": ("the distance of the number from {0}", "abs(v - {0})", lambda v, k: max(v - k, k - v)),
    "rest": (
        "the remainder of the number when divided by {0} (never negative)",
        "v % {0}",
        lambda v, k: v % k,
    ),
}
FOLD: dict[str, tuple[str, str, Check]] = {
    "sum": ("the sum of these", "sum(found)", lambda found: sum(found)),
    "greatest": ("the greatest of these, 0 if there are none", "max(found, default=0)",
                 lambda found: sorted(found)[-1] if found else 0),
    "distinct": ("how many different values these have", "len(set(found))",
                 lambda found: sum(v not in found[:i] for i, v in enumerate(found))),
    "alternating": ("the first of these minus the second plus the third and so on, 0 if there are none",
                    "sum(found[::2]) - sum(found[1::2])",
                    lambda found: sum(v if i % 2 == 0 else -v for i, v in enumerate(found))),
    "spread": ("the difference of the greatest and the least of these, 0 if there are none",
               "max(found) - min(found) if found else 0",
               lambda found: max((a - b for a in found for b in found), default=0)),
}  # fmt: skip


def _digit_sum(value: int) -> int:
    rest, total = abs(value), 0
    while rest:
        rest, digit = divmod(rest, 10)
        total += digit
    return total


@dataclass(frozen=True, slots=True)
class Sieving:
    """Parameters of `Sieve`."""

    code: Recode
    keep: str
    kept: int
    map: str
    mapped: int
    fold: str


class Sieve(Family[Sieving]):
    """Keep some numbers, turn each into another, fold them into one."""

    name, level = "sieve", 1

    def draw(self, rng: np.random.Generator) -> Sieving:
        """See Family."""
        mapped = choose(rng, MAP)
        return Sieving(
            Recode.draw(rng),
            choose(rng, KEEP),
            pick(rng, 2, 9),
            mapped,
            0 if mapped in ("same", "square") else pick(rng, 2, 12),
            choose(rng, FOLD),
        )

    def arguments(self, p: Sieving) -> tuple[Argument, ...]:
        """See Family."""
        return (Argument("values", "ints", "up to 10000 numbers from -1000 to 1000; there may be none"),)

    def asked(self, p: Sieving) -> str:
        """See Family."""
        keep, mapped, fold = KEEP[p.keep][0].format(p.kept), MAP[p.map][0].format(p.mapped), FOLD[p.fold][0]
        return (
            f"{p.code.asked}Look at those numbers of a list that {keep}, in their order. "
            f"For each take {mapped}. The answer is {fold}."
        )

    def solution(self, p: Sieving) -> str:
        """See Family."""
        keep, mapped = KEEP[p.keep][1].format(p.kept), MAP[p.map][1].format(p.mapped)
        return (
            f"def solve(values):\n{p.code.source}"
            f"    found = [{mapped} for i, v in enumerate(values) if {keep}]\n    return {FOLD[p.fold][1]}\n"
        )

    def brute(self, p: Sieving, *values: Any) -> int:
        """See Family."""
        found = []
        for i, value in enumerate(values[0]):
            real = p.code(value)
            if KEEP[p.keep][2](real, i, p.kept):
                found.append(MAP[p.map][2](real, p.mapped))
        return int(FOLD[p.fold][2](found))

    def sample(self, p: Sieving, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        reach = choose(rng, (5, 50, 1000))
        return (numbers(rng, length(rng, size, 12, 200, 10_000), -reach, reach),)


WORDS: dict[str, tuple[str, str, Check]] = {
    "long": ("have at least {0} letters", "len(w) >= {0}", lambda w, k, c: len(w) >= k),
    "short": ("have at most {0} letters", "len(w) <= {0}", lambda w, k, c: len(w) <= k),
    "with": ("contain the letter {1}", "'{1}' in w", lambda w, k, c: w.count(c) > 0),
    "without": ("do not contain the letter {1}", "'{1}' not in w", lambda w, k, c: w.find(c) < 0),
    "before": ("begin with a letter that comes before {1} in the alphabet", "w[0] < '{1}'",
               lambda w, k, c: ord(w[0]) < ord(c)),
}  # fmt: skip
TELL: dict[str, tuple[str, str, Check]] = {
    "count": ("how many these are", "len(found)", lambda found: sum(1 for _ in found)),
    "letters": ("how many letters these have together", "sum(map(len, found))",
                lambda found: len("".join(found))),
    "longest": ("the number of letters of the longest of these, 0 if there are none",
                "max(map(len, found), default=0)", lambda found: max([0, *[len(w) for w in found]])),
    "different": ("how many different words are among these", "len(set(found))",
                  lambda found: sum(w not in found[i + 1 :] for i, w in enumerate(found))),
    "doubles": ("how many of these have the same letter twice in a row",
                "sum(any(a == b for a, b in zip(w, w[1:])) for w in found)",
                lambda found: sum(any(c * 2 in w for c in w) for w in found)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Telling:
    """Parameters of `Tell`."""

    shift: int
    words: str
    size: int
    letter: str
    tell: str


class Tell(Family[Telling]):
    """Count something about some words of a line, which may be in Caesar's code."""

    name, level = "tell", 1

    def draw(self, rng: np.random.Generator) -> Telling:
        """See Family."""
        words = choose(rng, WORDS)
        counted = words in ("long", "short")
        size, letter = pick(rng, 2, 6), "abcdefghijklmnopqrstuvwxyz"[pick(rng, 1, 25)]
        shift = pick(rng, 0, 25)
        return Telling(shift, words, size * counted, "" if counted else letter, choose(rng, TELL))

    def arguments(self, p: Telling) -> tuple[Argument, ...]:
        """See Family."""
        return (
            Argument(
                "line", "text", "words of small letters a to z, separated by single blanks; may be empty"
            ),
        )

    def asked(self, p: Telling) -> str:
        """See Family."""
        code = (
            f"Each letter of a line was replaced by the one {p.shift} places further in the alphabet, where "
            "a "
            "comes after z. Undo that first. "
        )
        which = WORDS[p.words][0].format(p.size, p.letter)
        return (
            f"{code if p.shift else ''}Look at the words of the line that {which}. The answer is "
            f"{TELL[p.tell][0]}."
        )

    def solution(self, p: Telling) -> str:
        """See Family."""
        letters = "abcdefghijklmnopqrstuvwxyz"
        coded = letters[p.shift :] + letters[: p.shift]
        keep = WORDS[p.words][1].format(p.size, p.letter)
        return (
            f"def solve(line):\n    line = line.translate(str.maketrans('{coded}', '{letters}'))\n"
            f"    found = [w for w in line.split() if {keep}]\n    return {TELL[p.tell][1]}\n"
        )

    def brute(self, p: Telling, *values: Any) -> int:
        """See Family."""
        plain = "".join(c if c == " " else chr((ord(c) - 97 - p.shift) % 26 + 97) for c in values[0])
        keep = WORDS[p.words][2]
        return int(TELL[p.tell][2]([w for w in plain.split(" ") if w and keep(w, p.size, p.letter)]))

    def sample(self, p: Telling, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        few = choose(rng, ("abc", "aeinrst", "abcdefghijklmnopqrstuvwxyz"))
        count = length(rng, size, 8, 60, 800)
        words = ["".join(choose(rng, few) for _ in range(pick(rng, 1, 8))) for _ in range(count)]
        return (" ".join(words),)


RELATION: dict[str, tuple[str, str, Check]] = {
    "rising": ("each number is greater than the one before it by at least {0}", "b - a >= {0}",
               lambda a, b, k: b >= a + k),
    "falling": ("each number is less than the one before it by at least {0}", "a - b >= {0}",
                lambda a, b, k: b + k <= a),
    "near": ("each number differs from the one before it by at most {0}", "abs(a - b) <= {0}",
             lambda a, b, k: -k <= a - b <= k),
    "far": ("each number differs from the one before it by at least {0}", "abs(a - b) >= {0}",
            lambda a, b, k: a - b >= k or b - a >= k),
    "rest": ("each number leaves another remainder, when divided by {0}, than the one before it",
             "a % {0} != b % {0}", lambda a, b, k: (a - b) % k != 0),
}  # fmt: skip
OF_RUN: dict[str, tuple[str, Check]] = {
    "length": ("its length", lambda run: len(run)),
    "sum": ("the sum of its numbers", lambda run: sum(run)),
    "ends": ("its first number minus its last", lambda run: run[0] - run[-1]),
}


@dataclass(frozen=True, slots=True)
class Running:
    """Parameters of `Run`."""

    code: Recode
    relation: str
    k: int
    told: str


class Run(Family[Running]):
    """The longest stretch in which neighbours are related."""

    name, level = "run", 1

    def draw(self, rng: np.random.Generator) -> Running:
        """See Family."""
        return Running(Recode.draw(rng), choose(rng, RELATION), pick(rng, 2, 15), choose(rng, OF_RUN))

    def arguments(self, p: Running) -> tuple[Argument, ...]:
        """See Family."""
        return (Argument("values", "ints", "up to 10000 numbers from -1000 to 1000; there may be none"),)

    def asked(self, p: Running) -> str:
        """See Family."""
        return (
            f"{p.code.asked}Find the longest stretch of neighbouring numbers in a list in which "
            f"{RELATION[p.relation][0].format(p.k)}; a single number is such a stretch as well. Of several "
            "longest ones "
            f"take the first. The answer is {OF_RUN[p.told][0]}, and 0 for an empty list."
        )

    def solution(self, p: Running) -> str:
        """See Family."""
        told = {"length": "size", "sum": "sum(values[start:start + size])",
                "ends": "values[start] - values[start + size - 1]"}[p.told]  # fmt: skip
        return (
            f"def solve(values):\n{p.code.source}    if not values:\n        return 0\n"
            "    start, size, begin = 0, 1, 0\n    for i in range(1, len(values)):\n"
            "        a, b = values[i - 1], values[i]\n        if not "
            f"({RELATION[p.relation][1].format(p.k)}):\n"
            "            begin = i\n        if i - begin + 1 > size:\n            start, size = begin, i - "
            "begin + 1\n"
            f"    return {told}\n"
        )

    def brute(self, p: Running, *values: Any) -> int:
        """See Family."""
        real = [p.code(v) for v in values[0]]
        related = RELATION[p.relation][2]
        for size in range(len(real), 0, -1):
            for start in range(len(real) - size + 1):
                run = real[start : start + size]
                if all(related(a, b, p.k) for a, b in pairwise(run)):
                    return int(OF_RUN[p.told][1](run))
        return 0

    def sample(self, p: Running, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        reach = choose(rng, (8, 40, 1000))
        return (numbers(rng, length(rng, size, 10, 200, 10_000), -reach, reach),)


LEVEL: tuple[Family[Any], ...] = (Sieve(), Tell(), Run())
