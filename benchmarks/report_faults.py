"""Plants faults of many kinds in gold reports of Forge/Report-v0 and counts how many the judge finds.

    python benchmarks/report_faults.py --tasks 200 --entities 1000

Prints a table: kind of fault, planted, found, and which part says so. Exits with 1 where one was not found.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator

from forge_envs.worlds.report.outline import OutlineSection
from forge_envs.worlds.report.tasks import (
    LEVELS,
    ReportTask,
    ReportWorld,
    gold_sections,
    gold_sentence,
    report_tasks,
    report_world,
)
from forge_envs.worlds.report.verdict import ReportText, judge_report
from forge_envs.worlds.search.graph import MONTHS, WebFact
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.snippets import LINK
from forge_envs.worlds.search.web import WebAddress


@dataclasses.dataclass
class Draft:
    """A report as sentences, so that a fault can be planted in one."""

    world: ReportWorld
    task: ReportTask
    titles: list[str]
    sections: list[list[list[str]]]
    """By section and sentence: [text without its full stop, cited id or ""]."""
    facts: list[list[int]]
    evidence: dict[str, str]
    rng: random.Random
    order: list[int] = dataclasses.field(default_factory=list)

    @property
    def fact_places(self) -> list[tuple[int, int, WebFact]]:
        """(section, sentence, fact), in an order drawn anew."""
        found = [
            (at, n, self.world.graph.facts[number])
            for at, numbers in enumerate(self.facts)
            for n, number in enumerate(numbers)
        ]
        self.rng.shuffle(found)
        return found

    def cite(self, address: str) -> str:
        """The id of a page, kept in the bank first if it is not there."""
        for id, known in self.evidence.items():
            if known == address:
                return id
        id = f"id_{len(self.evidence) + 1}"
        self.evidence[id] = address
        return id

    def report(self) -> ReportText:
        outline = [OutlineSection(1, "A report")]
        written = []
        for at in self.order or range(len(self.titles)):
            lines = [
                f"{text} <citation>{id}</citation>." if id else f"{text}." for text, id in self.sections[at]
            ]
            written.append((self.titles[at], " ".join(lines)))
        for title, sentences in zip(self.titles, self.sections, strict=True):
            ids = tuple(dict.fromkeys(id for _, id in sentences if id in self.evidence)) or ("id_1",)
            outline.append(OutlineSection(2, title, ids))
        return ReportText(tuple(outline), tuple(written), self.evidence)

    def name(self, entity: int) -> str:
        return self.world.graph.entities[entity].name

    def page_that_says(self, number: int) -> str:
        return next(iter(self.world.page_of([number]).values()), "")


def gold_draft(world: ReportWorld, task: ReportTask, rng: random.Random) -> Draft:
    """A report of gold, each sentence in a style that is drawn."""
    draft = Draft(world, task, [], [], [], {}, rng)
    for title, facts in gold_sections(world, task):
        draft.titles.append(title)
        graph = world.graph
        draft.sections.append(
            [
                [gold_sentence(graph, graph.facts[n], rng.randrange(4))[:-1], draft.cite(page)]
                for n, page in facts
            ]
        )
        draft.facts.append([number for number, _ in facts])
    return draft


Fault = Callable[[Draft], bool]
"""Plants itself in a draft; False where there is no place for it."""


def wrong_page(draft: Draft) -> bool:
    for at, n, fact in draft.fact_places:
        others = [e for e in draft.world.graph.entities if e.number not in (fact.subject, fact.object)]
        page = next(
            iter(
                draft.world.page_of(
                    [draft.world.graph.outward[draft.rng.choice(others).number][0].number]
                ).values()
            ),
            "",
        )
        if page and not any(known.number == fact.number for known, _ in draft.world.checker.told_on(page)):
            draft.sections[at][n][1] = draft.cite(page)
            return True
    return False


def missing_citation(draft: Draft) -> bool:
    at, n, _ = draft.fact_places[0]
    draft.sections[at][n][1] = ""
    return True


def unknown_citation(draft: Draft) -> bool:
    at, n, _ = draft.fact_places[0]
    draft.sections[at][n][1] = "id_99"
    return True


def uncited_claim(draft: Draft) -> bool:
    at, _, fact = draft.fact_places[0]
    others = [f for f in draft.world.graph.outward[fact.subject] if f.number not in draft.task.required]
    if not others:
        return False
    draft.sections[at].append([gold_sentence(draft.world.graph, draft.rng.choice(others))[:-1], ""])
    return True


def altered(pattern: str, change: Callable[[re.Match[str], random.Random], str]) -> Fault:
    """A fault that changes the first thing of a pattern in some sentence, names left out."""

    def plant(draft: Draft) -> bool:
        for at, n, fact in draft.fact_places:
            text = draft.sections[at][n][0]
            names = [draft.name(one) for one in (fact.subject, fact.object) if one >= 0]
            for found in re.finditer(pattern, text):
                if not any(found[0] in name for name in names):
                    new = change(found, draft.rng)
                    draft.sections[at][n][0] = text[: found.start()] + new + text[found.end() :]
                    return True
        return False

    return plant


def other_day(found: re.Match[str], rng: random.Random) -> str:
    day = rng.choice([one for one in range(1, 29) if one != int(found[1])])
    return f"{day} {found[2]} {found[3]}"


def other_month(found: re.Match[str], rng: random.Random) -> str:
    month = rng.choice([one for one in MONTHS if one != found[2]])
    return f"{found[1]} {month} {found[3]}"


def other_number(found: re.Match[str], rng: random.Random) -> str:
    return f"{int(found[0].replace(',', '')) + rng.choice((1, 10, 100, 1000)):,}"


def other_year(found: re.Match[str], rng: random.Random) -> str:
    return str(int(found[0]) + rng.choice((-7, -3, -1, 1, 2)))


def misspelt(draft: Draft) -> bool:
    for at, n, fact in draft.fact_places:
        name = draft.name(fact.object if fact.object >= 0 and draft.rng.random() < 0.5 else fact.subject)
        places = [
            m.start() for m in re.finditer(r"(?=[a-z]{2})", name) if name[m.start()] != name[m.start() + 1]
        ]
        if places and name in draft.sections[at][n][0]:
            p = draft.rng.choice(places)
            wrong = name[:p] + name[p + 1] + name[p] + name[p + 2 :]
            if wrong not in draft.world.graph.by_name:
                draft.sections[at][n][0] = draft.sections[at][n][0].replace(name, wrong)
                return True
    return False


def replaced_object(draft: Draft, other: Callable[[WebFact], str]) -> bool:
    for at, n, fact in draft.fact_places:
        if fact.object >= 0 and (new := other(fact)):
            text = draft.sections[at][n][0]
            draft.sections[at][n][0] = text.replace(draft.name(fact.object), new)
            return draft.sections[at][n][0] != text
    return False


def invented_entity(draft: Draft) -> bool:
    return replaced_object(
        draft, lambda fact: draft.rng.choice(["Quorin Vexley", "Zimbalon", "Yttrel Works"])
    )


def another_entity(draft: Draft) -> bool:
    graph = draft.world.graph

    def other(fact: WebFact) -> str:
        kind = graph.entities[fact.object].kind
        true = {f.object for f in graph.outward[fact.subject] if f.relation == fact.relation}
        same = [e.name for e in graph.entities if e.kind == kind and e.number not in true | {fact.subject}]
        return draft.rng.choice(same) if same else ""

    return replaced_object(draft, other)


def another_noun(draft: Draft) -> bool:
    for at, n, fact in draft.fact_places:
        relation = relations()[fact.relation]
        if relation.object == "noun":
            others = sorted({f.value for f in draft.world.graph.by_value[fact.relation]} - {fact.value})
            draft.sections[at][n][0] = draft.sections[at][n][0].replace(fact.value, draft.rng.choice(others))
            return True
    return False


def swapped_relation(draft: Draft) -> bool:
    graph = draft.world.graph
    for at, n, fact in draft.fact_places:
        own = relations()[fact.relation]
        alike = [
            r
            for r in relations().values()
            if r.key != own.key and r.links == own.links and "{s}" in r.told[0]
        ]
        same = [r for r in alike if (r.subject, r.object) == (own.subject, own.object)] or alike
        other = draft.rng.choice(same)
        true = {f.object for f in graph.outward[fact.subject] if f.relation == other.key}
        if fact.object >= 0 and fact.object not in true:
            wrong = dataclasses.replace(fact, relation=other.key, since=fact.since or 2001)
            draft.sections[at][n][0] = gold_sentence(graph, wrong, draft.rng.randrange(4))[:-1]
            return True
    return False


def wrong_way_round(draft: Draft) -> bool:
    graph = draft.world.graph
    for at, n, fact in draft.fact_places:
        if fact.object >= 0 and not relations()[fact.relation].symmetric:
            turned = dataclasses.replace(fact, subject=fact.object, object=fact.subject)
            draft.sections[at][n][0] = gold_sentence(graph, turned, draft.rng.randrange(4))[:-1]
            return True
    return False


def stale_fact(draft: Draft) -> bool:
    """What held before, told as if it still did, with an old page that says so where there is one."""
    graph = draft.world.graph
    for at, n, fact in draft.fact_places:
        before = [f for f in graph.outward[fact.subject] if f.relation == fact.relation and f.until]
        if before:
            old = draft.rng.choice(before)
            pages = [t.page for t in draft.world.web.told.get(old.number, ()) if t.year]
            draft.sections[at][n][0] = gold_sentence(
                graph, dataclasses.replace(old, until=0), draft.rng.randrange(4)
            )[:-1]
            if pages:
                draft.sections[at][n][1] = draft.cite(draft.rng.choice(pages))
            return True
    return False


def mistaken_page(draft: Draft) -> bool:
    """What a mistaken page says, with its citation."""
    pages = {page.address: page for page in draft.world.web.pages if page.address.startswith("blog/")}
    for at, n, fact in draft.fact_places:
        for address in pages:
            if address.removeprefix("blog/") in draft.evidence.values() and fact.subject == next(
                (f.subject for f, _ in draft.world.checker.told_on(address)), -1
            ):
                first = LINK.sub(r"\1", pages[address].text).split(". ")[0].rstrip(".")
                true = {gold_sentence(draft.world.graph, f, style)[:-1]
                        for f in draft.world.graph.outward[fact.subject] for style in range(4)}  # fmt: skip
                if first not in true:
                    draft.sections[at][n] = [first, draft.cite(address)]
                    return True
    return False


def negated(draft: Draft) -> bool:
    for at, n, _ in draft.fact_places:
        text = draft.sections[at][n][0]
        for verb in (" was ", " is ", " has been ", " has "):
            if verb in text:
                draft.sections[at][n][0] = text.replace(verb, f"{verb}not ", 1)
                return True
    at, n, _ = draft.fact_places[0]
    draft.sections[at][n][0] = f"It is untrue that {draft.sections[at][n][0]}"
    return True


def missing_fact(draft: Draft) -> bool:
    at, n, _ = draft.fact_places[0]
    if len(draft.sections[at]) < 2:
        return False
    del draft.sections[at][n]
    return True


def duplicate_section(draft: Draft) -> bool:
    draft.order = [*range(len(draft.titles)), draft.rng.randrange(len(draft.titles))]
    return True


def missing_section(draft: Draft) -> bool:
    if len(draft.titles) < 2:
        return False
    draft.order = list(range(len(draft.titles) - 1))
    return True


def shuffled_sections(draft: Draft) -> bool:
    if len(draft.titles) < 2:
        return False
    draft.order = list(range(len(draft.titles)))[::-1]
    return True


def repeated_sentence(draft: Draft) -> bool:
    at, n, _ = draft.fact_places[0]
    draft.sections[at].append(list(draft.sections[at][n]))
    return True


def over_length(draft: Draft) -> bool:
    graph, at = draft.world.graph, 0
    for entity in graph.entities:
        for fact in graph.outward[entity.number]:
            page = draft.page_that_says(fact.number)
            if page and fact.number not in draft.task.required:
                draft.sections[at].append([gold_sentence(graph, fact)[:-1], draft.cite(page)])
        if draft.report().words > draft.task.most_words:
            return True
    return False


def padding(draft: Draft) -> bool:
    for word in ("deep", "long", "calm", "wide"):
        draft.sections[0].append([f"This is a {word} matter, of which much could be said", ""])
    return True


_DATE = rf"\b(\d{{1,2}}) ({'|'.join(MONTHS)}) (\d{{4}})\b"
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "a citation to the wrong page": (wrong_page, ("supported",)),
    "a citation is missing": (missing_citation, ("cited",)),
    "a citation of evidence that is not there": (unknown_citation, ("cited",)),
    "a claim is added without a citation": (uncited_claim, ("cited",)),
    "a number altered": (altered(r"\b\d{1,3}(?:,\d{3})+\b", other_number), ("supported",)),
    "a day altered": (altered(_DATE, other_day), ("supported",)),
    "a month altered": (altered(_DATE, other_month), ("supported",)),
    "a year altered": (altered(r"\b(?:19|20)\d\d\b", other_year), ("supported",)),
    "a noun altered": (another_noun, ("supported",)),
    "a name misspelt": (misspelt, ("supported",)),
    "an invented entity": (invented_entity, ("supported",)),
    "another entity of the web": (another_entity, ("supported",)),
    "a swapped relation": (swapped_relation, ("supported",)),
    "the wrong way round": (wrong_way_round, ("supported",)),
    "a fact of the stale page": (stale_fact, ("supported", "consistent")),
    "a fact of the mistaken page": (mistaken_page, ("supported",)),
    "a sentence negated": (negated, ("supported", "consistent")),
    "a required fact missing": (missing_fact, ("covered",)),
    "a section twice": (duplicate_section, ("structured",)),
    "a section missing": (missing_section, ("structured", "covered")),
    "sections out of order": (shuffled_sections, ("structured",)),
    "a sentence twice": (repeated_sentence, ("structured",)),
    "padding": (padding, ("structured",)),
    "over its length": (over_length, ("length",)),
}
"""By kind: who plants it, and the parts that have to be under 1 then."""


def planted(world: ReportWorld, task: ReportTask, seed: int) -> Iterator[tuple[str, ReportText]]:
    """A report with one fault, for each kind that has a place in it."""
    for kind, (plant, _) in FAULTS.items():
        draft = gold_draft(world, task, random.Random(f"{seed} {task.id} {kind}"))
        if plant(draft):
            yield kind, draft.report()


def measure(tasks: int, entities: int, seed: int = 0) -> tuple[Counter[str], Counter[str], list[str]]:
    """How many were planted and found by kind, and each that was not, or gold that was taken for wrong."""
    web = WebAddress("test", entities, seed)
    world = report_world(web)
    many, found, wrong = Counter[str](), Counter[str](), list[str]()
    for level in LEVELS:
        for task in report_tasks(web, level)[: tasks // len(LEVELS)]:
            gold = gold_draft(world, task, random.Random(task.id)).report()
            verdict = judge_report(world.checker, gold, task.required, task.most_words)
            if verdict.outcome != 1.0:
                wrong.append(f"{task.id}: gold: {verdict.faults}")
            many["gold"] += 1
            for kind, report in planted(world, task, seed):
                parts = judge_report(world.checker, report, task.required, task.most_words).parts
                many[kind] += 1
                if all(parts[part] < 1 for part in FAULTS[kind][1]):
                    found[kind] += 1
                else:
                    wrong.append(f"{task.id}: {kind}: {parts}: {[text for _, text in report.written]}")
    return many, found, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--entities", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    many, found, wrong = measure(given.tasks, given.entities, given.seed)
    print(f"{many['gold']} gold reports, {sum('gold' in one for one in wrong)} of them taken for wrong\n")
    print("| fault | planted | found | part |\n|---|---|---|---|")
    for kind, (_, parts) in FAULTS.items():
        print(f"| {kind} | {many[kind]} | {found[kind]} | {', '.join(parts)} |")
    print("\n".join(wrong[:20]), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
