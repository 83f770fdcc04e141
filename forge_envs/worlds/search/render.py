"""A graph as web pages: every fact told somewhere, by several pages, in several styles, at several dates."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forge_envs.worlds.search.graph import NOW, FactGraph, WebEntity, WebFact, shown_value
from forge_envs.worlds.search.naming import web_seed, word_lists
from forge_envs.worlds.search.page import WebPage
from forge_envs.worlds.search.relations import FOLDERS, relations

STYLES = ("prose", "table", "list", "answers")
"""How a main page tells its facts."""
STALE, MIRRORED, MISTAKEN, NEWSWORTHY, LISTED = 0.3, 0.12, 0.05, 0.4, 0.5
"""Shares: of entities whose facts change, that have an old page as well; of entities with a near-duplicate;
with an old page that says something wrong; of changes that are news; of towns with each kind of list."""
MOST_BACK = 6
"""Facts about others that a main page tells, at most."""
MOST_ROWS = 40
OLD = (2009, 2024)
"""Years of stale and mistaken pages; main pages are of the last two years."""


@dataclass(frozen=True, slots=True)
class ToldFact:
    """That a page tells a fact, and in which words."""

    page: str
    quote: str
    year: int
    """The year of the page if it tells the fact as one of its day; 0 if what it says holds for good."""


@dataclass(frozen=True)
class RenderedWeb:
    """All pages of a web, and by the number of each fact who tells it."""

    pages: tuple[WebPage, ...]
    told: dict[int, tuple[ToldFact, ...]]


def render(graph: FactGraph, *seed: object) -> RenderedWeb:
    """The pages of a graph; equal seeds, equal pages."""
    return _Press(graph, random.Random(web_seed("pages", *seed))).print()


def says(fact: WebFact, told: ToldFact, year: int) -> bool:
    """Whether what a page tells proves that the fact held all through a year; year 0 asks for now."""
    return not year or not fact.since or not told.year or fact.since < year < told.year


class _Sheet:
    """A page that is being written."""

    def __init__(self, address: str, title: str, year: int, rng: random.Random) -> None:
        self.address, self.title, self.year = address, title, year
        self.date = f"{year}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
        self.blocks: list[tuple[str, list[tuple[WebFact, int]]]] = []
        """Lines, each with the facts it tells and the year in which it tells them."""

    def add(self, line: str, *facts: tuple[WebFact, int]) -> None:
        self.blocks.append((line, list(facts)))

    def text(self) -> str:
        # Sentences run on in a paragraph; rows, items and headings have lines of their own.
        out = ""
        for line, _ in self.blocks:
            alone = line == "" or line[0] in "|-#" or line.startswith(("Q: ", "A: "))
            glue = "\n" if alone or not out or out.endswith("\n") or out.split("\n")[-1][:1] in "|-#" else " "
            out += (glue if out else "") + line
        return re.sub(r"\n{3,}", "\n\n", out)


class _Press:
    def __init__(self, graph: FactGraph, rng: random.Random) -> None:
        self.graph, self.rng = graph, rng
        self.pages: list[WebPage] = []
        self.told: dict[int, list[ToldFact]] = defaultdict(list)
        self.addresses = _addresses(graph)
        self.relations = relations()

    def print(self) -> RenderedWeb:
        rng = self.rng
        for entity in self.graph.entities:
            main = self._main(entity)
            self._publish(main)
            if rng.random() < MIRRORED:
                self._publish(self._mirror(main))
            facts = self.graph.outward[entity.number]
            if any(fact.since for fact in facts) and rng.random() < STALE:
                self._publish(self._stale(entity))
            if rng.random() < MISTAKEN:
                self._publish(self._mistaken(entity))
            for fact in facts:
                if fact.since > 1990 and fact.object >= 0 and rng.random() < NEWSWORTHY:
                    self._publish(self._news(entity, fact))
            if entity.kind == "town":
                self._lists(entity)
        return RenderedWeb(tuple(self.pages), {fact: tuple(told) for fact, told in self.told.items()})

    def _publish(self, sheet: _Sheet) -> None:
        text = sheet.text()
        self.pages.append(WebPage(sheet.address, sheet.title, text, sheet.date))
        for line, facts in sheet.blocks:
            for fact, year in facts:
                told = ToldFact(sheet.address, line, year)
                self.told[fact.number].append(told)
                if fact.number in self.graph.mirror:
                    self.told[self.graph.mirror[fact.number]].append(told)

    # -- words ---------------------------------------------------------------------------------------

    def _name(self, number: int, here: int = -1, link: float = 0.9) -> str:
        """An entity inside a sentence: with a link mostly, and never to the page's own subject `here`."""
        entity = self.graph.entities[number]
        if number == here or self.rng.random() > link:
            return entity.mention
        article = "the " if entity.mention != entity.name else ""
        return f"{article}[{entity.name}]({self.addresses[number]})"

    def _object(self, fact: WebFact, here: int = -1) -> str:
        if fact.object >= 0:
            return self._name(fact.object, here)
        return shown_value(self.relations[fact.relation], fact.value)

    def _sentence(self, fact: WebFact, year: int, here: int) -> tuple[str, tuple[WebFact, int]] | None:
        """The fact as a page of a year tells it, None where it has not come about yet."""
        relation = self.relations[fact.relation]
        if fact.since >= year and fact.since:
            return None
        past = fact.until and fact.until <= year
        words = self.rng.choice(relation.told_then if past else relation.told)
        text = words.format(
            s=self._name(fact.subject, here), o=self._object(fact, here), since=fact.since, until=fact.until
        )
        return text[0].upper() + text[1:], (fact, year if fact.since and not past else 0)

    def _say(self, sheet: _Sheet, facts: Iterable[WebFact], here: int) -> None:
        for fact in facts:
            sentence = self._sentence(fact, sheet.year, here)
            if sentence is not None:
                sheet.add(*sentence)

    def _filler(self, sheet: _Sheet, chance: float = 0.6) -> None:
        if self.rng.random() < chance:
            sheet.add(self.rng.choice(word_lists()["fillers"]))

    def _heading(self, sheet: _Sheet, words: str) -> None:
        sheet.add("")
        sheet.add(f"## {self.rng.choice(word_lists()[words])}")

    # -- pages of an entity --------------------------------------------------------------------------

    def _main(self, entity: WebEntity) -> _Sheet:
        rng = self.rng
        sheet = _Sheet(self.addresses[entity.number], entity.name, NOW - rng.randint(0, 1), rng)
        self._body(sheet, entity)
        back = [f for f in self.graph.inward[entity.number] if f.number not in self.graph.mirror]
        back = rng.sample(back, min(len(back), rng.randint(0, MOST_BACK)))
        if back:
            self._heading(sheet, "heads_more")
            self._say(sheet, back, entity.number)
        return sheet

    def _body(self, sheet: _Sheet, entity: WebEntity) -> None:
        """What an entity's page says of it, in one of the styles: first what holds, then what was."""
        rng = self.rng
        facts = list(self.graph.outward[entity.number])
        rng.shuffle(facts)
        past = [fact for fact in facts if fact.until and fact.until <= sheet.year]
        holds = [fact for fact in facts if fact not in past and fact.since < sheet.year]
        style = rng.choice(STYLES)
        self._filler(sheet, 0.3)
        if style == "prose":
            self._say(sheet, holds, entity.number)
        else:
            if style == "table":
                sheet.add("| | |")
                sheet.add("|---|---|")
            for fact in holds:
                self._row(sheet, fact, style)
            sheet.add("")
        self._filler(sheet)
        if past:
            past.sort(key=lambda fact: (fact.relation, fact.since))
            self._heading(sheet, "heads_history")
            if style in ("prose", "answers"):
                self._say(sheet, past, entity.number)
            for fact in past if style in ("table", "list") else ():
                label, span = self.relations[fact.relation].label, f"{fact.since}–{fact.until}"
                row = f"{label} | {span} | {self._object(fact)} |"
                sheet.add(
                    f"| {row}" if style == "table" else f"- {label}, {span}: {self._object(fact)}", (fact, 0)
                )
        self._filler(sheet)

    def _row(self, sheet: _Sheet, fact: WebFact, style: str) -> None:
        relation, what = self.relations[fact.relation], self._object(fact)
        told = (fact, sheet.year if fact.since else 0)
        since = f" (since {fact.since})" if fact.since else ""
        if style == "table":
            sheet.add(f"| {relation.label} | {what}{since} |", told)
        elif style == "list":
            sheet.add(f"- {relation.label}: {what}{since}", told)
        else:
            asked = self.rng.choice(relation.ask).format(s=self.graph.entities[fact.subject].mention)
            sheet.add("")
            sheet.add(f"Q: {asked} A: {what[0].upper()}{what[1:]}{since}.", told)

    def _mirror(self, main: _Sheet) -> _Sheet:
        """A near-duplicate: the same lines but one, under another title and a few days apart."""
        sheet = _Sheet(f"mirror/{main.address}", f"{main.title} - mirrored", main.year, self.rng)
        lines = list(main.blocks)
        if len(lines) > 4:
            del lines[self.rng.randrange(2, len(lines))]
        sheet.blocks = [*lines, ("This is a copy; the original may have changed.", [])]
        return sheet

    def _stale(self, entity: WebEntity) -> _Sheet:
        """The page as it was years ago: what held then is told as of its day."""
        year = self.rng.randint(*OLD)
        sheet = _Sheet(
            f"archive/{year}/{self.addresses[entity.number]}", f"{entity.name} ({year})", year, self.rng
        )
        self._body(sheet, entity)
        sheet.add(f"Archived in {year}.")
        return sheet

    def _mistaken(self, entity: WebEntity) -> _Sheet:
        """An old page that says one thing wrong, which later pages say otherwise."""
        rng, year = self.rng, self.rng.randint(*OLD)
        sheet = _Sheet(f"blog/{self.addresses[entity.number]}", f"Notes on {entity.name}", year, rng)
        facts = [
            f for f in self.graph.outward[entity.number] if not f.since and f.number not in self.graph.mirror
        ]
        rng.shuffle(facts)
        for at, fact in enumerate(facts[:3]):
            sentence = self._sentence(fact if at else self._wrong(fact), year, entity.number)
            if sentence is not None:
                sheet.add(sentence[0], *([sentence[1]] if at else []))
        self._filler(sheet, 1.0)
        return sheet

    def _wrong(self, fact: WebFact) -> WebFact:
        others = [f for f in self._alike(fact) if (f.object, f.value) != (fact.object, fact.value)]
        other = self.rng.choice(others) if others else fact
        return WebFact(fact.number, fact.subject, fact.relation, other.object, other.value)

    def _alike(self, fact: WebFact) -> Sequence[WebFact]:
        """Some other facts of the relation."""
        near = [self.graph.facts[self.rng.randrange(len(self.graph.facts))] for _ in range(300)]
        return [other for other in near if other.relation == fact.relation]

    def _news(self, entity: WebEntity, fact: WebFact) -> _Sheet:
        """A news item of the year in which something changed."""
        year, relation = fact.since, self.relations[fact.relation]
        slug = f"{self.addresses[entity.number].split('/')[-1]}-{fact.relation.replace('_', '-')}"
        title = f"{relation.label} of {entity.mention}: {self.graph.entities[fact.object].mention}"
        sheet = _Sheet(f"news/{year}/{slug}", title, year, self.rng)
        before = [
            f for f in self.graph.outward[entity.number] if f.relation == fact.relation and f.until == year
        ]
        # The news tells what is true of its day, whatever came later.
        now = WebFact(fact.number, fact.subject, fact.relation, fact.object, since=year)
        text = self._sentence(now, year + 1, entity.number)
        assert text is not None
        sheet.add(text[0], (fact, year))
        self._say(sheet, before, entity.number)
        self._filler(sheet, 1.0)
        still = [f for f in self.graph.outward[entity.number] if not f.since]
        self._say(sheet, self.rng.sample(still, min(1, len(still))), entity.number)
        return sheet

    # -- lists ---------------------------------------------------------------------------------------

    def _lists(self, town: WebEntity) -> None:
        """Directories of a town: firms, natives, and what was held or can be seen there."""
        kinds = {"based_in": "Firms", "born_in": "Natives", "held_in": "Events", "lies_in": "Sights"}
        for relation, title in kinds.items():
            facts = [f for f in self.graph.inward[town.number] if f.relation == relation and not f.until]
            if len(facts) > 1 and self.rng.random() < LISTED:
                slug = f"lists/{title.lower()}-of-{self.addresses[town.number].split('/')[-1]}"
                sheet = _Sheet(slug, f"{title} of {town.name}", NOW - 1, self.rng)
                self._directory(sheet, town, facts[:MOST_ROWS])
                self._publish(sheet)

    def _directory(self, sheet: _Sheet, town: WebEntity, facts: Sequence[WebFact]) -> None:
        relation = self.relations[facts[0].relation]
        sheet.add(f"Each of these {relation.does[0].format(o=town.name)}.")
        if self.rng.random() < 0.5:
            shown = [
                r for r in self.relations.values() if r.subject == relation.subject and r.key != relation.key
            ]
            shown = self.rng.sample(shown, min(2, len(shown)))
            sheet.add("")
            sheet.add("| " + " | ".join(["Name", relation.label, *(r.label for r in shown)]) + " |")
            sheet.add("|" + "---|" * (2 + len(shown)))
            for fact in facts:
                cells = [self._name(fact.subject), town.name]
                told = [(fact, sheet.year if fact.since else 0)]
                for column in shown:
                    now = [
                        f for f in self.graph.outward[fact.subject] if f.relation == column.key and f.holds(0)
                    ]
                    cells.append(self._object(now[0]) if now else "?")
                    told += [(f, sheet.year if f.since else 0) for f in now[:1]]
                sheet.add(f"| {' | '.join(cells)} |", *told)
        else:
            for fact in facts:
                words = self._sentence(fact, sheet.year, -1)
                assert words is not None
                sheet.add(f"- {words[0]}", words[1])


def _addresses(graph: FactGraph) -> tuple[str, ...]:
    """Where each entity's main page stands; no two at the same place."""
    found: dict[str, int] = {}
    for entity in graph.entities:
        slug = re.sub(r"[^a-z0-9]+", "-", entity.name.lower()).strip("-")
        address = f"{FOLDERS[entity.kind]}/{slug}"
        while address in found:
            address += "-2"
        found[address] = entity.number
    return tuple(found)
