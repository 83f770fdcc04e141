"""How a riddle's maker finds who fits it: from what is known along the facts, until two answers are found."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from forge_envs.worlds.search.graph import FactGraph, WebFact
from forge_envs.worlds.search.riddle import Clue, Riddle

MOST_TRIED = 2_000
"""Facts looked at before a riddle is given up as too open, unless the caller has more time."""


class TooOpen(Exception):
    """A riddle has more candidates than are worth looking at."""


def fits(
    graph: FactGraph, riddle: Riddle, limit: int = 2, most: int = MOST_TRIED
) -> list[tuple[WebFact, ...]]:
    """The first ways to fill a riddle, each as the facts of its steps in order. Raises TooOpen."""
    search = _Matching(graph, riddle, most)
    found: list[tuple[WebFact, ...]] = []
    for way in search.ways():
        found.append(way)
        if len(found) == limit:
            break
    return found


def one_answer(graph: FactGraph, riddle: Riddle, most: int = MOST_TRIED) -> bool:
    """Whether a riddle has an answer and all ways to fill it end in that one. Raises TooOpen."""
    search, first = _Matching(graph, riddle, most), None
    for way in search.ways():
        answer = way[-1].value if riddle.asked else str(search.bound[riddle.target])
        if first not in (None, answer):
            return False
        first = answer
    return first is not None


class _Matching:
    def __init__(self, graph: FactGraph, riddle: Riddle, most: int = MOST_TRIED) -> None:
        self.most = most
        self.graph, self.steps = graph, riddle.steps
        self.bound = [node.named for node in riddle.nodes]
        self.order = self._order()
        self.facts: dict[int, WebFact] = {}
        self.tried = 0

    def _order(self) -> list[int]:
        """Steps so that each begins at a node which those before have filled; narrow values where none is."""
        known = {at for at, entity in enumerate(self.bound) if entity >= 0}
        left, order = set(range(len(self.steps))), []
        while left:
            reached = [at for at in left if {self.steps[at].subject, self.steps[at].object} & known]
            at = min(reached or left, key=lambda at: (self._cost(self.steps[at], known), at))
            order.append(at)
            left.remove(at)
            known |= {self.steps[at].subject, self.steps[at].object} - {-1}
        return order

    def _cost(self, step: Clue, known: set[int]) -> tuple[int, int]:
        if step.subject in known:
            return (0, 0) if step.object < 0 or step.object in known else (1, 0)
        if step.object in known:
            return (2, 0)
        return (3, len(self._in_range(step))) if step.object < 0 else (4, 0)

    def _in_range(self, step: Clue) -> Sequence[WebFact]:
        rows = self.graph.by_value.get(step.relation, ())
        start = bisect.bisect_left(rows, step.low, key=lambda fact: fact.value)
        return rows[start : bisect.bisect_right(rows, step.high, key=lambda fact: fact.value)]

    def ways(self, depth: int = 0) -> Iterator[tuple[WebFact, ...]]:
        """All ways to fill the steps from `depth` on."""
        if depth == len(self.order):
            yield tuple(self.facts[at] for at in range(len(self.steps)))
            return
        at = self.order[depth]
        step = self.steps[at]
        for fact in self._candidates(step):
            self.tried += 1
            if self.tried > self.most:
                raise TooOpen
            if fact.relation != step.relation or not fact.holds(step.year):
                continue
            if step.object < 0 and not (fact.object < 0 and step.low <= fact.value <= step.high):
                continue
            before = self.bound[step.subject], self.bound[step.object] if step.object >= 0 else -1
            if before[0] not in (-1, fact.subject) or before[1] not in (-1, fact.object):
                continue
            self.bound[step.subject] = fact.subject
            if step.object >= 0:
                self.bound[step.object] = fact.object
            self.facts[at] = fact
            yield from self.ways(depth + 1)
            self.bound[step.subject] = before[0]
            if step.object >= 0:
                self.bound[step.object] = before[1]

    def _candidates(self, step: Clue) -> Sequence[WebFact]:
        if self.bound[step.subject] >= 0:
            return self.graph.outward[self.bound[step.subject]]
        if step.object >= 0 and self.bound[step.object] >= 0:
            return self.graph.inward[self.bound[step.object]]
        return self._in_range(step) if step.object < 0 else self.graph.facts
