"""Level 3: dynamic programming and shortest ways, with rules that rule out the textbook's program."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from forge_envs.worlds.polyglot.contests.family import Family, Recode, Values, choose, length, numbers, pick
from forge_envs.worlds.polyglot.contests.problem import Argument

MOVES = {
    "sides": ("to one of the four cells beside it", ((0, 1), (1, 0), (0, -1), (-1, 0))),
    "corners": ("to one of the eight cells around it",
                ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))),
    "onward": ("to the cell on its right, below it, or above it", ((0, 1), (1, 0), (-1, 0))),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Walking:
    """Parameters of `Walk`."""

    moves: str
    a: int
    b: int
    turn: int
    again: int


class Walk(Family[Walking]):
    """The cheapest way through a grid, where turning costs, and so does a cell like the one before."""

    name, level = "walk", 3

    def draw(self, rng: np.random.Generator) -> Walking:
        """See Family."""
        return Walking(
            choose(rng, MOVES), pick(rng, 1, 9), pick(rng, 0, 20), pick(rng, 1, 30), pick(rng, 0, 20)
        )

    def arguments(self, p: Walking) -> tuple[Argument, ...]:
        """See Family."""
        meaning = "at least one line of digits and #, all equally long, at most 60 lines of 60"
        return (Argument("grid", "rows", meaning),)

    def asked(self, p: Walking) -> str:
        """See Family."""
        again = (
            f" Entering a cell with the same digit as the cell one leaves costs {p.again} more."
            if p.again
            else ""
        )
        return (
            "A walk through a grid begins in the top left cell and ends in the bottom right one. From a "
            "cell one steps "
            f"{MOVES[p.moves][0]}, never outside and never onto a cell with #. Entering a cell with the "
            "digit d costs "
            f"{p.a} * d + {p.b}; the first cell costs nothing.{again} A step in another direction than the "
            "step before "
            f"costs {p.turn} more. The answer is the least cost of a walk, and -1 if there is none or if "
            "one of the two "
            "cells is #."
        )

    def solution(self, p: Walking) -> str:
        """See Family."""
        return _WALK.format(moves=MOVES[p.moves][1], a=p.a, b=p.b, turn=p.turn, again=p.again)

    def brute(self, p: Walking, *values: Any) -> int:
        """Costs of all (cell, direction) relaxed until nothing changes."""
        grid, moves = values[0], MOVES[p.moves][1]
        tall, wide = len(grid), len(grid[0])
        if "#" in (grid[0][0], grid[-1][-1]):
            return -1
        best = {(0, 0, -1): 0}
        changed = True
        while changed:
            changed = False
            for (y, x, way), cost in list(best.items()):
                for new, (dy, dx) in enumerate(moves):
                    v, u = y + dy, x + dx
                    if not (0 <= v < tall and 0 <= u < wide) or grid[v][u] == "#":
                        continue
                    price = cost + p.a * int(grid[v][u]) + p.b + p.again * (grid[v][u] == grid[y][x])
                    price += p.turn * (way not in (-1, new))
                    if price < best.get((v, u, new), price + 1):
                        best[v, u, new], changed = price, True
        return min((cost for (y, x, _), cost in best.items() if (y, x) == (tall - 1, wide - 1)), default=-1)

    def sample(self, p: Walking, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        tall, wide = (pick(rng, *((1, 4), (5, 12), (60, 60))[size]) for _ in range(2))
        cells = "0123456789" + "#" * choose(rng, (0, 2, 4))
        grid = [[choose(rng, cells) for _ in range(wide)] for _ in range(tall)]
        if rng.random() < 0.9:
            grid[0][0] = grid[-1][-1] = "1"
        return (["".join(row) for row in grid],)


_WALK = """\
import heapq


def solve(grid):
    moves = {moves}
    tall, wide = len(grid), len(grid[0])
    if grid[0][0] == '#' or grid[-1][-1] == '#':
        return -1
    best, heap = {{(0, 0, -1): 0}}, [(0, 0, 0, -1)]
    while heap:
        cost, y, x, way = heapq.heappop(heap)
        if (y, x) == (tall - 1, wide - 1):
            return cost
        if cost > best[y, x, way]:
            continue
        for new, (dy, dx) in enumerate(moves):
            v, u = y + dy, x + dx
            if 0 <= v < tall and 0 <= u < wide and grid[v][u] != '#':
                price = cost + {a} * int(grid[v][u]) + {b}
                if grid[v][u] == grid[y][x]:
                    price += {again}
                if way not in (-1, new):
                    price += {turn}
                if price < best.get((v, u, new), price + 1):
                    best[v, u, new] = price
                    heapq.heappush(heap, (price, v, u, new))
    return -1
"""


@dataclass(frozen=True, slots=True)
class Mending:
    """Parameters of `Mend`."""

    insert: int
    delete: int
    change: int
    near: int
    swap: int


class Mend(Family[Mending]):
    """The cheapest way to turn one word into another, with prices of one's own."""

    name, level = "mend", 3

    def draw(self, rng: np.random.Generator) -> Mending:
        """See Family."""
        change = pick(rng, 2, 15)
        return Mending(
            pick(rng, 1, 12),
            pick(rng, 1, 12),
            change,
            pick(rng, 1, change),
            choose(rng, (0, pick(rng, 1, 12))),
        )

    def arguments(self, p: Mending) -> tuple[Argument, ...]:
        """See Family."""
        meaning = "at most 400 small letters a to z; may be empty"
        return (Argument("old", "text", meaning), Argument("new", "text", meaning))

    def asked(self, p: Mending) -> str:
        """See Family."""
        swap = (
            f" Two different letters that stand side by side may be exchanged for {p.swap}; neither of the "
            "two may be "
            "touched in any other way."
            if p.swap
            else ""
        )
        return (
            "The word `old` is turned into the word `new`, letter by letter from left to right: each letter "
            "of `old` is "
            f"kept for nothing, changed for {p.change} (for {p.near} if the two letters are neighbours in "
            "the alphabet), "
            f"or deleted for {p.delete}; and letters are inserted for {p.insert} each.{swap} The answer is "
            "the least "
            "cost."
        )

    def solution(self, p: Mending) -> str:
        """See Family."""
        swap = _SWAP.format(swap=p.swap) if p.swap else ""
        return _MEND.format(insert=p.insert, delete=p.delete, change=p.change, near=p.near, swap=swap)

    def brute(self, p: Mending, *values: Any) -> int:
        """Every way, without memory."""
        old, new = values
        if not old or not new:
            return len(old) * p.delete + len(new) * p.insert
        price = 0 if old[0] == new[0] else p.near if abs(ord(old[0]) - ord(new[0])) == 1 else p.change
        ways = [
            price + self.brute(p, old[1:], new[1:]),
            p.delete + self.brute(p, old[1:], new),
            p.insert + self.brute(p, old, new[1:]),
        ]
        if p.swap and old[:2] == new[1::-1] and len(old) > 1 and len(new) > 1 and old[0] != old[1]:
            ways.append(p.swap + self.brute(p, old[2:], new[2:]))
        return min(ways)

    def sample(self, p: Mending, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        few = choose(rng, ("ab", "abcd", "abcdefghijklmnopqrstuvwxyz"))
        old, new = ("".join(choose(rng, few) for _ in range(length(rng, size, 5, 30, 400))) for _ in range(2))
        return old, new


_MEND = """\
def solve(old, new):
    above, row = [], [{insert} * j for j in range(len(new) + 1)]
    for i in range(1, len(old) + 1):
        older, above, row = above, row, [{delete} * i]
        for j in range(1, len(new) + 1):
            a, b = old[i - 1], new[j - 1]
            price = 0 if a == b else {near} if abs(ord(a) - ord(b)) == 1 else {change}
            cost = min(above[j - 1] + price, above[j] + {delete}, row[j - 1] + {insert})
{swap}            row.append(cost)
    return row[-1]
"""
_SWAP = """\
            if i > 1 and j > 1 and a != b and a == new[j - 2] and b == old[i - 2]:
                cost = min(cost, older[j - 2] + {swap})
"""
CHOOSE = {
    "few": "at most {k} items may be taken",
    "gap": "of any {k} items in a row, in the order given, at most one may be taken",
    "copies": "each item may be taken up to {k} times",
}


@dataclass(frozen=True, slots=True)
class Packing:
    """Parameters of `Pack`."""

    code: Recode
    rule: str
    k: int


class Pack(Family[Packing]):
    """A knapsack with a rule."""

    name, level = "pack", 3

    def draw(self, rng: np.random.Generator) -> Packing:
        """See Family."""
        code = Recode(pick(rng, 1, 9), pick(rng, 0, 30), pick(rng, 50, 500))
        rule = choose(rng, CHOOSE)
        return Packing(code, rule, pick(rng, 2, 4 if rule == "copies" else 6))

    def arguments(self, p: Packing) -> tuple[Argument, ...]:
        """See Family."""
        return (
            Argument("room", "int", "the room there is, from 0 to 600"),
            Argument(
                "items", "pairs", "up to 80 items, each with the room it takes, from 1 to 60, and its mark"
            ),
        )

    def asked(self, p: Packing) -> str:
        """See Family."""
        worth = f"({p.code.a} * mark + {p.code.b}) modulo {p.code.m}"
        return (
            f"Some items are taken, as long as there is room for all of them. An item is worth {worth}, "
            "where its mark "
            f"is from 0 to 1000. And {CHOOSE[p.rule].format(k=p.k)}. The answer is the greatest worth of "
            "all that is "
            "taken together, 0 if nothing is."
        )

    def solution(self, p: Packing) -> str:
        """See Family."""
        worth = f"({p.code.a} * mark + {p.code.b}) % {p.code.m}"
        return _PACK[p.rule].format(worth=worth, k=p.k)

    def brute(self, p: Packing, *values: Any) -> int:
        """Every choice."""
        room, items = values
        most = p.k if p.rule == "copies" else 1
        best = 0
        for number in range((most + 1) ** len(items)):
            counts = [number // (most + 1) ** i % (most + 1) for i in range(len(items))]
            taken = [i for i, count in enumerate(counts) if count]
            if sum(count * items[i][0] for i, count in enumerate(counts)) > room:
                continue
            if p.rule == "few" and len(taken) > p.k:
                continue
            if p.rule == "gap" and any(b - a < p.k for a, b in pairwise(taken)):
                continue
            best = max(best, sum(count * p.code(items[i][1]) for i, count in enumerate(counts)))
        return best

    def sample(self, p: Packing, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        count = length(rng, size, 5 if p.rule == "copies" else 9, 20, 80)
        room = pick(rng, *((0, 60), (20, 200), (400, 600))[size])
        takes = numbers(rng, count, 1, (20, 40, 60)[size])
        return room, [list(item) for item in zip(takes, numbers(rng, count, 0, 1000), strict=True)]


_PACK = {
    "few": """\
def solve(room, items):
    best = [[0] * (room + 1) for _ in range({k} + 1)]
    for take, mark in items:
        worth = {worth}
        for n in range({k}, 0, -1):
            for left in range(room, take - 1, -1):
                best[n][left] = max(best[n][left], best[n - 1][left - take] + worth)
    return best[{k}][room]
""",
    "gap": """\
def solve(room, items):
    rows = [[0] * (room + 1)]
    for i, (take, mark) in enumerate(items):
        worth, before, row = {worth}, rows[max(0, i + 1 - {k})], list(rows[-1])
        for left in range(take, room + 1):
            row[left] = max(row[left], before[left - take] + worth)
        rows.append(row)
    return rows[-1][room]
""",
    "copies": """\
def solve(room, items):
    best = [0] * (room + 1)
    for take, mark in items:
        worth = {worth}
        for _ in range({k}):
            for left in range(room, take - 1, -1):
                best[left] = max(best[left], best[left - take] + worth)
    return best[room]
""",
}


@dataclass(frozen=True, slots=True)
class Climbing:
    """Parameters of `Climb`."""

    code: Recode
    least: int
    most: int
    weigh: bool


class Climb(Family[Climbing]):
    """The best subsequence that climbs in steps of bounded height."""

    name, level = "climb", 3

    def draw(self, rng: np.random.Generator) -> Climbing:
        """See Family."""
        least = pick(rng, 0, 12)
        return Climbing(Recode.draw(rng), least, least + pick(rng, 5, 120), bool(rng.random() < 0.5))

    def arguments(self, p: Climbing) -> tuple[Argument, ...]:
        """See Family."""
        return (Argument("values", "ints", "up to 1500 numbers from 0 to 1000; there may be none"),)

    def asked(self, p: Climbing) -> str:
        """See Family."""
        told = (
            "the greatest sum of the chosen numbers" if p.weigh else "how many numbers can be chosen at most"
        )
        return (
            f"{p.code.asked}Choose some numbers of a list, in their order, not necessarily neighbours, so "
            "that each "
            f"chosen one is greater than the chosen one before it by at least {p.least} and at most "
            f"{p.most}. The "
            f"answer is {told}, 0 if there are none."
        )

    def solution(self, p: Climbing) -> str:
        """See Family."""
        gain = "b" if p.weigh else "1"
        return (
            f"def solve(values):\n{p.code.source}    best = []\n    for i, b in enumerate(values):\n"
            f"        before = [best[j] for j in range(i) if {p.least} <= b - values[j] <= {p.most}]\n"
            f"        best.append(max(before, default=0) + {gain})\n    return max(best, default=0)\n"
        )

    def brute(self, p: Climbing, *values: Any) -> int:
        """Every choice."""
        real, best = [p.code(v) for v in values[0]], 0
        for mask in range(1 << len(real)):
            chosen = [v for i, v in enumerate(real) if mask >> i & 1]
            if all(p.least <= b - a <= p.most for a, b in pairwise(chosen)):
                best = max(best, sum(chosen) if p.weigh else len(chosen))
        return best

    def sample(self, p: Climbing, rng: np.random.Generator, size: int) -> Values:
        """See Family."""
        reach = choose(rng, (30, 200, 1000))
        return (numbers(rng, length(rng, size, 10, 80, 1500), 0, reach),)


LEVEL: tuple[Family[Any], ...] = (Walk(), Mend(), Pack(), Climb())
