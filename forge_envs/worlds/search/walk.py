"""Riddles by a walk over the graph: links from node to node, names taken away, values said vaguely."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from forge_envs.worlds.search.graph import FactGraph, WebFact
from forge_envs.worlds.search.match import MOST_TRIED, TooOpen, fits, one_answer
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.riddle import Clue, Riddle, RiddleNode
from forge_envs.worlds.search.vague import vague_number, vague_year

LEVELS = (1, 2, 3, 4, 5)
MOST_CHECKED = 50_000
"""Facts looked at to see that a clue is needed."""
NO_ANSWERS = {"noun"}
"""Values that are no answers: a profession is soon guessed."""
NO_NODES = {"region"}
"""Kinds that are no unknowns: there are too few of them."""


@dataclass(frozen=True, slots=True)
class LevelRule:
    """What a riddle of a level is made of."""

    links: tuple[int, int]
    """Facts between nodes, fewest and most, that the walk goes along."""
    steps: tuple[int, int]
    """Facts that the answer needs, fewest and most."""
    names: int
    """Names that are said, at most."""
    width: int
    """How vaguely years are said: 0 not at all, 1 to three years or so, 2 up to decades."""
    pages: int
    """Pages that the answer needs, at least."""
    circle: bool = False
    """Whether the links make a circle."""


RULES = {
    1: LevelRule((1, 1), (1, 1), 1, 0, 1),
    2: LevelRule((1, 2), (2, 2), 1, 0, 2),
    3: LevelRule((1, 2), (3, 3), 2, 1, 2),
    4: LevelRule((2, 3), (4, 5), 1, 2, 3),
    5: LevelRule((3, 5), (5, 7), 1, 2, 3, circle=True),
}


class RiddleMaker:
    """Draws riddles of one graph; one that takes a look at more than `most` facts is given up as too open."""

    def __init__(self, graph: FactGraph, most: int = MOST_TRIED) -> None:
        self.graph, self.relations, self.most = graph, relations(), most
        self._links: dict[int, list[WebFact]] = {}

    def draw(self, level: int, rng: random.Random) -> tuple[Riddle, tuple[WebFact, ...]] | None:
        """A riddle that one answer fits, and the facts of its steps; None where this walk leads to none."""
        rule = RULES[level]
        links = self._circle(rng) if rule.circle else [self._any_link(rng)]
        if not links:
            return None
        wanted = rng.randint(*rule.links)
        while len(links) < wanted:
            link = self._next(links, rng)
            if link is None:
                return None
            links.append(link)
        riddle = self._riddle(links, rule, level, rng)
        return None if riddle is None else self._settled(riddle, rule, level, rng)

    # -- the walk --------------------------------------------------------------------------------------

    def _any_link(self, rng: random.Random) -> WebFact:
        """A fact of a relation at random: each relation as often as others, however many facts it has."""
        while True:
            fact = self.graph.facts[rng.randrange(len(self.graph.facts))]
            of_entity = [f for f in self.graph.outward[fact.subject] if f.object >= 0]
            if of_entity:
                return rng.choice(of_entity)

    def _around(self, node: int) -> list[WebFact]:
        """Links of a node, symmetric ones once."""
        found = self._links.get(node)
        if found is None:
            back = [f for f in self.graph.inward[node] if f.number not in self.graph.mirror]
            found = self._links[node] = [*(f for f in self.graph.outward[node] if f.object >= 0), *back]
        return found

    def _next(self, links: list[WebFact], rng: random.Random) -> WebFact | None:
        """A link from a node that the walk has reached to one that it has not."""
        nodes = {n for f in links for n in (f.subject, f.object)}
        for _ in range(8):
            node = rng.choice(sorted(nodes))
            if self.graph.entities[node].kind in NO_NODES:
                continue
            by_relation: dict[str, list[WebFact]] = {}
            for fact in self._around(node):
                if not {fact.subject, fact.object} <= nodes:
                    by_relation.setdefault(f"{fact.relation} {fact.subject == node}", []).append(fact)
            if by_relation:
                return rng.choice(by_relation[rng.choice(sorted(by_relation))])
        return None

    def _circle(self, rng: random.Random) -> list[WebFact]:
        """Links that make a circle of three to five nodes through a link at random, [] if none is found."""
        first = self._any_link(rng)
        back = {_other(fact, first.subject): fact for fact in self._around(first.subject)}
        ways: list[tuple[int, tuple[WebFact, ...]]] = [(first.object, (first,))]
        for most in (12, 5, 3):
            longer = []
            for end, way in ways:
                near = self._around(end)
                for fact in rng.sample(near, min(len(near), most)):
                    other = _other(fact, end)
                    if other == first.subject or any(other in (f.subject, f.object) for f in way):
                        continue
                    closing = back.get(other)
                    if closing is not None and closing is not first:
                        return [*way, fact, closing]
                    longer.append((other, (*way, fact)))
            ways = longer
        return []

    # -- from links to a riddle ------------------------------------------------------------------------

    def _riddle(self, links: list[WebFact], rule: LevelRule, level: int, rng: random.Random) -> Riddle | None:
        """The links as clues between nodes: who is asked for, what of it, and whose names are said."""
        numbers = sorted({n for f in links for n in (f.subject, f.object)})
        place = {number: at for at, number in enumerate(numbers)}
        kinds = [self.graph.entities[number].kind for number in numbers]
        clues = []
        for fact in links:
            year = self._year(fact, rng)
            if year is None:
                return None
            clues.append(Clue(fact.relation, place[fact.subject], place[fact.object], year=year))
        degree = [sum(at in (c.subject, c.object) for c in clues) for at in range(len(numbers))]
        open_to = [at for at, kind in enumerate(kinds) if kind not in NO_NODES]
        if not open_to:
            return None
        target = rng.choice(open_to)
        asked = ("", 0)
        if level > 1 and len(links) <= rule.steps[0] - (level == 2) and rng.random() < 0.4:
            asked = self._asked(numbers[target], rng)
        if level == 1 and rng.random() < 0.4:
            return self._one_value(numbers[target], rng)
        ends = [at for at in range(len(numbers)) if at != target and degree[at] == 1]
        others = [at for at in range(len(numbers)) if at != target]
        rng.shuffle(ends)
        named = set((ends or ([] if rule.circle else others))[: rule.names])
        named |= {at for at, kind in enumerate(kinds) if kind in NO_NODES}
        if len(named) > rule.names:
            return None
        nodes = tuple(RiddleNode(kind, numbers[at] if at in named else -1) for at, kind in enumerate(kinds))
        riddle = Riddle(nodes, tuple(clues), target, *asked)
        return self._described(riddle, numbers, rule, rng) if level > 2 else riddle

    def _year(self, fact: WebFact, rng: random.Random) -> int | None:
        """When a link is said to hold: now, or a year within its time; None if it has no whole year."""
        if not fact.since or not fact.until:
            return 0
        return rng.randint(fact.since + 1, fact.until - 1) if fact.until - fact.since > 1 else None

    def _asked(self, entity: int, rng: random.Random) -> tuple[str, int]:
        """A value of the target that can be asked for, and when; ("", 0) if it has none."""
        facts = [f for f in self.graph.outward[entity] if f.object < 0]
        facts = [f for f in facts if self.relations[f.relation].object not in NO_ANSWERS]
        if not facts:
            return "", 0
        key = rng.choice(sorted({fact.relation for fact in facts}))
        fact = rng.choice([fact for fact in facts if fact.relation == key])
        return key, self._year(fact, rng) or 0

    def _one_value(self, entity: int, rng: random.Random) -> Riddle | None:
        """A question for a value of somebody named."""
        asked = self._asked(entity, rng)
        node = RiddleNode(self.graph.entities[entity].kind, entity)
        return Riddle((node,), (), 0, *asked) if asked[0] else None

    def _described(self, riddle: Riddle, numbers: list[int], rule: LevelRule, rng: random.Random) -> Riddle:
        """Every unknown gets what can be said of its values, in random order, vaguely."""
        more: list[Clue] = []
        for at, number in enumerate(numbers):
            for fact in self.graph.outward[number]:
                asked = at == riddle.target and fact.relation == riddle.asked
                if fact.object < 0 and not fact.until and riddle.nodes[at].named < 0 and not asked:
                    more.append(self._value_clue(fact, at, rule, rng))
        rng.shuffle(more)
        return replace(riddle, clues=(*riddle.clues, *more))

    def _value_clue(self, fact: WebFact, at: int, rule: LevelRule, rng: random.Random) -> Clue:
        kind = self.relations[fact.relation].object
        if kind == "noun":
            return Clue(fact.relation, at, low=fact.value, high=fact.value, words=fact.value)
        if kind == "number":
            words, low, high = vague_number(int(fact.value), rng)
            return Clue(fact.relation, at, low=f"{low:09d}", high=f"{high:09d}", words=words)
        width = 2 if rule.width == 2 and rng.random() < 0.4 else 1
        words, low, high = vague_year(int(fact.value[:4]), rng, width)
        return Clue(fact.relation, at, low=f"{low}-01-01", high=f"{high}-12-31", words=words)

    # -- only what is needed ---------------------------------------------------------------------------

    def _settled(
        self, riddle: Riddle, rule: LevelRule, level: int, rng: random.Random
    ) -> tuple[Riddle, tuple[WebFact, ...]] | None:
        """The riddle with no clue that it does not need; None if it is open or has too many or too few."""
        if self._ways(riddle) != 1:
            return None
        riddle = self._needed(riddle, rng).ordered()  # the search for ways takes clues as they come
        if not rule.steps[0] <= len(riddle.steps) <= rule.steps[1] or not _tells(riddle, rule, level):
            return None
        if (
            self._ways(riddle) != 1
        ):  # one answer, but more than one way to it: a proof would be one of several
            return None
        if not all(self._opens(riddle, clue) for clue in riddle.clues):
            return None
        return riddle, fits(self.graph, riddle, 1, self.most)[0]

    def _needed(self, riddle: Riddle, rng: random.Random) -> Riddle:
        """Clues are dropped, values first, as long as one answer is left: all that stay are needed."""
        kept: set[Clue] = set()
        while True:
            left = [clue for clue in riddle.clues if clue not in kept]
            if not left or not riddle.clues:
                return riddle
            values = [clue for clue in left if clue.object < 0]
            clue = rng.choice(values or left)
            fewer = riddle.without(clue)
            if fewer.steps and self._one_answer(fewer):
                riddle, kept = fewer, set()
            else:
                kept.add(clue)

    def _opens(self, riddle: Riddle, clue: Clue) -> bool:
        """Whether a riddle is seen to have more than one answer without a clue; the look may take long."""
        fewer = riddle.without(clue)
        if not fewer.steps or (not fewer.clues and fewer.nodes[fewer.target].named < 0):
            return True
        try:
            return not one_answer(self.graph, fewer, MOST_CHECKED)
        except TooOpen:
            return False

    def _one_answer(self, riddle: Riddle) -> bool:
        """Whether all ways to fill a riddle end in one answer."""
        if not riddle.clues and riddle.nodes[riddle.target].named < 0:
            return False
        try:
            return one_answer(self.graph, riddle, self.most)
        except TooOpen:
            return False

    def _ways(self, riddle: Riddle) -> int:
        """How many ways there are to fill a riddle: 0, 1 or 2 for more."""
        try:
            return len(fits(self.graph, riddle, most=self.most))
        except TooOpen:
            return 2


def _other(fact: WebFact, node: int) -> int:
    return fact.object if fact.subject == node else fact.subject


def _tells(riddle: Riddle, rule: LevelRule, level: int) -> bool:
    """Whether a riddle is worth a question of its level: vague where it should be, with unknowns enough."""
    if rule.width and not any(clue.object < 0 for clue in riddle.clues):
        return False
    if rule.circle and not riddle.circles:
        return False
    return sum(node.named < 0 for node in riddle.nodes) >= min(level, 4) // 2
