"""The graph a web is about: entities, and facts between them that may end when another takes over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from forge_envs.worlds.search.relations import WebRelation, relations

NOW = 2030
"""The year in which the web is read; facts without an end hold in it."""
_WITH_ARTICLE = {"event", "prize", "landmark"}


@dataclass(frozen=True, slots=True)
class WebEntity:
    """A person, town, firm, work, ...; its name is no other entity's of this or of the other split."""

    number: int
    kind: str
    name: str

    @property
    def mention(self) -> str:
        """The name inside a sentence, with the article that its kind takes."""
        return f"the {self.name}" if self.kind in _WITH_ARTICLE else self.name


@dataclass(frozen=True, slots=True)
class WebFact:
    """Something true of `subject`: an `object` (an entity's number), or where that is -1 a `value`.

    A value is a day (2011-05-07), a number (padded with zeros, so that texts compare as numbers do) or a
    noun ("a painter"). Facts that change hold from within the year `since` to within `until`; 0 is no end.
    """

    number: int
    subject: int
    relation: str
    object: int = -1
    value: str = ""
    since: int = 0
    until: int = 0

    def holds(self, year: int) -> bool:
        """Whether it holds all through a year; year 0 asks for now."""
        if not self.since:
            return True
        return not self.until if not year else self.since < year and (not self.until or year < self.until)


@dataclass(frozen=True)
class FactGraph:
    """Entities and facts by number. A symmetric fact is there twice; `mirror` leads from one to the other."""

    entities: tuple[WebEntity, ...]
    facts: tuple[WebFact, ...]
    mirror: dict[int, int]

    @cached_property
    def outward(self) -> tuple[tuple[WebFact, ...], ...]:
        """Facts by the number of their subject."""
        found: list[list[WebFact]] = [[] for _ in self.entities]
        for fact in self.facts:
            found[fact.subject].append(fact)
        return tuple(map(tuple, found))

    @cached_property
    def inward(self) -> tuple[tuple[WebFact, ...], ...]:
        """Facts by the number of their object."""
        found: list[list[WebFact]] = [[] for _ in self.entities]
        for fact in self.facts:
            if fact.object >= 0:
                found[fact.object].append(fact)
        return tuple(map(tuple, found))

    @cached_property
    def by_value(self) -> dict[str, tuple[WebFact, ...]]:
        """Facts of each relation that says a value, in the order of the values."""
        found: dict[str, list[WebFact]] = {}
        for fact in self.facts:
            if fact.object < 0:
                found.setdefault(fact.relation, []).append(fact)
        return {key: tuple(sorted(rows, key=lambda fact: fact.value)) for key, rows in found.items()}

    @cached_property
    def by_name(self) -> dict[str, WebEntity]:
        """Entities by name."""
        return {entity.name: entity for entity in self.entities}

    def told(self, fact: WebFact) -> str:
        """A fact in plain words, for people who check a proof."""
        relation = relations()[fact.relation]
        what = self.entities[fact.object].name if fact.object >= 0 else shown_value(relation, fact.value)
        when = f" ({fact.since} to {fact.until or 'now'})" if fact.since else ""
        return f"{self.entities[fact.subject].name}: {relation.label.lower()}: {what}{when}"

    def terms(self, subject: int, relation: str) -> Iterator[WebFact]:
        """All facts of a relation of a subject, in the order in which they took over."""
        return iter(
            sorted((f for f in self.outward[subject] if f.relation == relation), key=lambda f: f.since)
        )


MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def shown_value(relation: WebRelation, value: str) -> str:
    """A value as pages and answers write it.

    >>> shown_value(relations()["born_on"], "1971-03-09"), shown_value(relations()["population"], "000012400")
    ('9 March 1971', '12,400')
    """
    if relation.object == "date":
        year, month, day = value.split("-")
        return f"{int(day)} {MONTHS[int(month) - 1]} {year}"
    return f"{int(value):,}" if relation.object == "number" else value


class GraphDraft:
    """A graph that is being drawn."""

    def __init__(self) -> None:
        self.entities: list[WebEntity] = []
        self.facts: list[WebFact] = []
        self.mirror: dict[int, int] = {}

    def entity(self, kind: str, name: str) -> int:
        """A new entity's number."""
        self.entities.append(WebEntity(len(self.entities), kind, name))
        return len(self.entities) - 1

    def link(self, subject: int, relation: str, object: int, since: int = 0, until: int = 0) -> None:
        """A fact between two entities; both ways where the relation is symmetric."""
        number = len(self.facts)
        self.facts.append(WebFact(number, subject, relation, object, "", since, until))
        if relations()[relation].symmetric:
            self.facts.append(WebFact(number + 1, object, relation, subject, "", since, until))
            self.mirror[number], self.mirror[number + 1] = number + 1, number

    def value(self, subject: int, relation: str, value: str, since: int = 0, until: int = 0) -> None:
        """A fact that says a value."""
        self.facts.append(WebFact(len(self.facts), subject, relation, -1, value, since, until))

    def terms(self, subject: int, relation: str, holders: Sequence[int | str], years: Sequence[int]) -> None:
        """Holders that follow each other: each from its year to the next one's."""
        for at, (holder, since) in enumerate(zip(holders, years, strict=True)):
            until = years[at + 1] if at + 1 < len(years) else 0
            if isinstance(holder, str):
                self.value(subject, relation, holder, since, until)
            else:
                self.link(subject, relation, holder, since, until)

    def done(self) -> FactGraph:
        """The graph."""
        return FactGraph(tuple(self.entities), tuple(self.facts), self.mirror)
