"""A web's graph from a seed: towns first, then people, then what they founded, made, won and led."""

from __future__ import annotations

import bisect
import random
from collections import defaultdict
from collections.abc import Sequence

from forge_envs.worlds.search.graph import NOW, FactGraph, GraphDraft
from forge_envs.worlds.search.naming import Namer, web_seed, word_lists

FEWEST = 100
"""Entities below which towns and schools are too few to tell anybody apart."""
SHARES = {
    "region": 0.01,
    "town": 0.09,
    "school": 0.03,
    "person": 0.40,
    "firm": 0.14,
    "landmark": 0.06,
    "work": 0.18,
    "event": 0.07,
    "prize": 0.02,
}
"""How many of all entities are of which kind."""
AT_LEAST = {"region": 2, "town": 8, "school": 3, "prize": 2}
NEAR = 0.45
"""Chance that somebody or something close by is taken: that is what makes circles in the graph."""
YOUNGEST, OLDEST = 2002, 1940


def draw_graph(seed: int, entities: int, split: str) -> FactGraph:
    """The graph of a seed, of exactly so many entities; equal arguments draw equal graphs."""
    return _Drawing(random.Random(web_seed("web", seed, entities, split)), entities, split).draw()


def counts(entities: int) -> dict[str, int]:
    """How many entities of each kind a web has.

    >>> counts(1000)["person"], sum(counts(1000).values())
    (400, 1000)
    """
    found = {kind: max(AT_LEAST.get(kind, 1), int(entities * share)) for kind, share in SHARES.items()}
    found["person"] += entities - sum(found.values())
    return found


class _Drawing:
    def __init__(self, rng: random.Random, entities: int, split: str) -> None:
        self.rng, self.counts = rng, counts(entities)
        self.namer = Namer(rng, split)
        self.draft = GraphDraft()
        self.born: dict[int, int] = {}
        self.founded: dict[int, int] = {}
        self.natives: dict[int, list[int]] = defaultdict(list)
        self.firms_in: dict[int, list[int]] = defaultdict(list)
        self.schools_in: dict[int, list[int]] = defaultdict(list)
        self.home: dict[int, int] = {}

    def draw(self) -> FactGraph:
        made = {kind: [self._new(kind) for _ in range(self.counts[kind])] for kind in ("region", "town")}
        self.towns = made["town"]
        self.schools = [self._new("school") for _ in range(self.counts["school"])]
        self.people = [self._new("person") for _ in range(self.counts["person"])]
        for school in self.schools:
            town = self.rng.choice(self.towns)
            self.schools_in[town].append(school)
            self.draft.link(school, "stands_in", town)
            self.draft.value(school, "opened_on", self._day(self.rng.randint(1900, 1965)))
        self._draw_people()
        self._draw_towns(made["region"])
        for school in self.schools:
            self._leaders(school, "rector", self.rng.randint(1992, 2004), self.people)
        self.firms = [self._firm() for _ in range(self.counts["firm"])]
        self._draw_owners()
        self.prizes = [self._prize() for _ in range(self.counts["prize"])]
        for _ in range(self.counts["landmark"]):
            self._landmark()
        self._draw_works()
        self._draw_events()
        return self.draft.done()

    # -- draws ---------------------------------------------------------------------------------------

    def _new(self, kind: str) -> int:
        return self.draft.entity(kind, self.namer.name(kind))

    def _day(self, year: int) -> str:
        return f"{year}-{self.rng.randint(1, 12):02d}-{self.rng.randint(1, 28):02d}"

    def _near(self, near: Sequence[int], all_of: Sequence[int]) -> int:
        return self.rng.choice(near if near and self.rng.random() < NEAR else all_of)

    def _grown(self, near: Sequence[int], year: int, but: Sequence[int] = ()) -> int:
        """Somebody of age in a year and not in `but`; the oldest people where nobody is of age."""
        grown = max(bisect.bisect_right(self.births, year - 25), len(but) + 1)
        for _ in range(8):
            some = self.rng.random() < NEAR and near
            person = self.rng.choice(near) if some else self.elders[self.rng.randrange(grown)]
            if self.born[person] <= year - 25 and person not in but:
                return person
        while True:
            person = self.elders[self.rng.randrange(grown)]
            if person not in but:
                return person

    def _word(self, words: str) -> str:
        return self.rng.choice(word_lists()[words])

    def _cuts(self, start: int, most: int) -> list[int]:
        """Years in which one takes over from another, the first being `start`."""
        years = [start]
        while len(years) < most and years[-1] + 4 < NOW - 1:
            years.append(years[-1] + self.rng.randint(4, 14))
        return [year for year in years if year < NOW - 1 or year == start]

    def _leaders(self, subject: int, relation: str, start: int, near: Sequence[int], first: int = -1) -> None:
        years = self._cuts(start, self.rng.randint(2, 4))
        holders = [first] if first >= 0 else []
        while len(holders) < len(years):
            holders.append(self._grown(near, years[len(holders)], holders))
        self.draft.terms(subject, relation, holders, years)

    # -- kinds ---------------------------------------------------------------------------------------

    def _draw_people(self) -> None:
        rng, draft = self.rng, self.draft
        by_trade: dict[str, list[int]] = defaultdict(list)
        for person in self.people:
            town, trade = rng.choice(self.towns), self._word("trades")
            year = self.born[person] = rng.randint(OLDEST, YOUNGEST)
            self.home[person] = town
            self.natives[town].append(person)
            draft.link(person, "born_in", town)
            draft.value(person, "born_on", self._day(year))
            draft.value(person, "trade", trade)
            if rng.random() < 0.7:
                draft.link(person, "studied_at", self._near(self.schools_in[town], self.schools))
            older = by_trade[trade]
            if older and rng.random() < 0.6:
                mentor = rng.choice(older)
                if self.born[mentor] + 12 <= year:
                    draft.link(person, "taught_by", mentor)
            older.append(person)
        self.elders = sorted(self.people, key=lambda person: self.born[person])
        self.births = [self.born[person] for person in self.elders]
        self._marry()

    def _marry(self) -> None:
        rng = self.rng
        single = sorted(self.people, key=lambda person: (self.born[person], rng.random()))
        while len(single) > 12:
            one = single.pop()
            if rng.random() < 0.4:
                self.draft.link(one, "spouse", single.pop(-rng.randint(1, 10)))

    def _draw_towns(self, regions: Sequence[int]) -> None:
        rng, draft = self.rng, self.draft
        members: dict[int, list[int]] = defaultdict(list)
        for at, town in enumerate(self.towns):
            region = regions[at] if at < len(regions) else rng.choice(regions)
            members[region].append(town)
            draft.link(town, "in_region", region)
            people, first = int(10 ** rng.uniform(3.3, 5.7)), rng.randint(1998, 2007)
            sizes = [max(900, int(people * rng.uniform(0.8, 1.25))) for _ in range(3)]
            censuses = [year for year in (first, first + 10, first + 20) if year < NOW]
            draft.terms(town, "population", [f"{size:09d}" for size in sizes[: len(censuses)]], censuses)
            self._leaders(town, "mayor", rng.randint(1994, 2006), self.natives[town])
        for region in regions:
            draft.link(region, "capital", rng.choice(members[region]))
        towns = rng.sample(self.towns, len(self.towns) * 3 // 5 // 2 * 2)
        for one, other in zip(towns[::2], towns[1::2], strict=True):
            draft.link(one, "twin", other)

    def _firm(self) -> int:
        rng, draft, firm = self.rng, self.draft, self._new("firm")
        founder = rng.choice(self.people)
        year = self.founded[firm] = rng.randint(
            self.born[founder] + 24, min(self.born[founder] + 55, NOW - 3)
        )
        draft.link(firm, "founded_by", founder)
        draft.value(firm, "founded_on", self._day(year))
        draft.value(firm, "line", self._word("lines"))
        years = self._cuts(year, rng.choice((1, 1, 2, 3)))
        seats = [self._near([self.home[founder]], self.towns)]
        while len(seats) < len(years):
            seats.append(rng.choice([town for town in rng.sample(self.towns, 3) if town != seats[-1]]))
        draft.terms(firm, "based_in", seats, years)
        self.firms_in[seats[-1]].append(firm)
        self._leaders(firm, "head", year, self.natives[seats[-1]], founder)
        return firm

    def _draw_owners(self) -> None:
        rng = self.rng
        for firm in self.firms:
            if rng.random() < 0.3:
                years = self._cuts(rng.randint(self.founded[firm], NOW - 2), rng.choice((1, 1, 2)))
                older = [f for f in rng.sample(self.firms, min(12, len(self.firms))) if f != firm]
                owners = [f for f in older if self.founded[f] < years[0]][: len(years)]
                self.draft.terms(firm, "owner", owners, years[: len(owners)])

    def _prize(self) -> int:
        prize = self._new("prize")
        self.draft.link(prize, "named_after", self.rng.choice(self.people))
        self.draft.link(prize, "endowed_by", self.rng.choice(self.firms))
        return prize

    def _landmark(self) -> None:
        rng, draft, landmark = self.rng, self.draft, self._new("landmark")
        town, year = rng.choice(self.towns), rng.randint(1970, NOW - 1)
        draft.link(landmark, "lies_in", town)
        draft.value(landmark, "finished_on", self._day(year))
        draft.link(landmark, "designed_by", self._grown(self.natives[town], year))
        builder = self._near(self.firms_in[town], self.firms)
        if self.founded[builder] < year:
            draft.link(landmark, "built_by", builder)

    def _draw_works(self) -> None:
        rng, draft = self.rng, self.draft
        shown: list[tuple[int, int]] = []
        for _ in range(self.counts["work"]):
            work, maker = self._new("work"), rng.choice(self.people)
            year = rng.randint(self.born[maker] + 21, min(self.born[maker] + 65, NOW - 1))
            draft.link(work, "made_by", maker)
            draft.value(work, "genre", self._word("genres"))
            draft.value(work, "released_on", self._day(year))
            town = self._near([self.home[maker]], self.towns)
            if rng.random() < 0.6:
                draft.link(work, "set_in", town)
            firm = self._near(self.firms_in[town], self.firms)
            if rng.random() < 0.6 and self.founded[firm] < year:
                draft.link(work, "issued_by", firm)
            if shown and rng.random() < 0.2:
                model, before = rng.choice(shown)
                if before < year:
                    draft.link(work, "after", model)
            if rng.random() < 0.2:
                draft.link(work, "honoured_by", rng.choice(self.prizes))
            shown.append((work, year))

    def _draw_events(self) -> None:
        rng, draft, left = self.rng, self.draft, self.counts["event"]
        while left:
            series, first = self.namer.series(), rng.randint(1985, 2012)
            town, number = rng.choice(self.towns), rng.randint(1, 30)
            for edition in range(min(left, rng.randint(2, 8))):
                event = draft.entity("event", self.namer.edition(series, number + edition))
                town = self._near([town], self.towns)
                draft.link(event, "held_in", town)
                draft.value(event, "held_on", self._day(first + 2 * edition))
                draft.link(event, "won_by", self._grown(self.natives[town], first + 2 * edition))
                sponsor = self._near(self.firms_in[town], self.firms)
                if self.founded[sponsor] < first + 2 * edition:
                    draft.link(event, "sponsor", sponsor)
                left -= 1
