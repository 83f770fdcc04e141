"""What a report has to tell: facts of an entity and of those next to it, and gold that tells them."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from forge_envs.env import Task
from forge_envs.errors import TaskError, brief
from forge_envs.worlds.report.claims import ClaimChecker
from forge_envs.worlds.search.graph import FactGraph, WebFact, shown_value
from forge_envs.worlds.search.naming import web_seed
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.render import RenderedWeb
from forge_envs.worlds.search.web import WebAddress, drawn

LEVELS = {1: (3, ()), 2: (3, (2,)), 3: (4, (2, 2))}
"""By level: facts about the theme, and facts about each entity next to it."""
PER_LEVEL = 0.2
"""Tasks of a level for each entity of a web, at most."""
_WORDS = (40, 30)
"""Words a report may have: so many, and so many for each required fact."""


@dataclass(frozen=True)
class ReportTask(Task):
    """A report that is asked for."""

    web: WebAddress
    level: int
    theme: int
    required: tuple[int, ...]
    """Numbers of the facts that the report has to tell."""
    brief: str
    """What the agent is told."""
    most_words: int


@dataclass(frozen=True)
class ReportWorld:
    """A web with what judges reports about it; drawn once in a process."""

    graph: FactGraph
    web: RenderedWeb
    checker: ClaimChecker

    def page_of(self, facts: Sequence[int]) -> dict[int, str]:
        """For each of some facts a page that tells it as of today, as few pages as a greedy choice takes."""
        pages: dict[str, set[int]] = {}
        for number in facts:
            for told in self.web.told.get(number, ()):
                if self.checker.supports(self.graph.facts[number], told.page):
                    pages.setdefault(told.page, set()).add(number)
        chosen: dict[int, str] = {}
        while left := set(facts) - set(chosen):
            best = max(pages, key=lambda page: (len(pages[page] & left), page), default="")
            if not best or not pages[best] & left:
                return {}
            chosen |= dict.fromkeys(pages[best] & left, best)
        return chosen


@functools.lru_cache(maxsize=4)
def report_world(web: WebAddress) -> ReportWorld:
    """The world of a web, drawn again."""
    graph, pages = drawn(web)
    return ReportWorld(graph, pages, ClaimChecker(graph, pages))


@functools.lru_cache(maxsize=64)
def report_tasks(web: WebAddress, level: int) -> tuple[ReportTask, ...]:
    """All tasks of a level of a web, the same for ever."""
    world = report_world(web)
    rng = random.Random(web_seed("reports", web.name, level))
    order = list(range(len(world.graph.entities)))
    rng.shuffle(order)
    found: list[ReportTask] = []
    for theme in order:
        made = _task(world, web, level, theme, len(found), rng)
        if made is not None:
            found.append(made)
        if len(found) >= max(1, int(len(order) * PER_LEVEL)):
            break
    return tuple(found)


def find_task(task_id: str, known: WebAddress) -> ReportTask:
    """The task of an id like "train/400/0/2/17"; its web must be of the size and seed of `known`."""
    split, _, rest = task_id.partition("/")
    parts = rest.split("/")
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) < 10]
    if len(numbers) == 4 == len(parts) and split in ("train", "test") and numbers[2] in LEVELS:
        web = WebAddress(split, numbers[0], numbers[1])
        if (web.entities, web.seed) == (known.entities, known.seed):
            tasks = report_tasks(web, numbers[2])
            if numbers[3] < len(tasks) and tasks[numbers[3]].id == task_id:
                return tasks[numbers[3]]
    form = f"SPLIT/{known.entities}/{known.seed}/LEVEL/NUMBER"
    raise TaskError(f"task {brief(task_id)} is none of this web; ids are {form}, see task_ids")


def _task(
    world: ReportWorld, web: WebAddress, level: int, theme: int, number: int, rng: random.Random
) -> ReportTask | None:
    """A task about an entity, None where too little is known of it."""
    many, around = LEVELS[level]
    own = _single(world, theme)
    rng.shuffle(own)
    next_to = [fact for fact in own if fact.object >= 0]
    groups: list[tuple[str, list[WebFact]]] = []
    links: list[WebFact] = []
    for wanted in around:
        for link in next_to:
            facts = [fact for fact in _single(world, link.object) if theme != fact.object]
            if link in links or link.object in {one.object for one in links} or len(facts) < wanted:
                continue
            links.append(link)
            label = relations()[link.relation].label.lower()
            groups.append((f"what is named under {label!r}", rng.sample(facts, wanted)))
            break
    first = [*links, *(fact for fact in own if fact not in links)][:many]
    if len(first) < many or len(groups) < len(around):
        return None
    entity = world.graph.entities[theme]
    groups.insert(0, (entity.mention, first))
    required = tuple(dict.fromkeys(fact.number for _, facts in groups for fact in facts))
    if not world.page_of(required):
        return None
    most_words = _WORDS[0] + _WORDS[1] * len(required)
    lines = [
        f"- of {who}: {', '.join(relations()[fact.relation].label.lower() for fact in facts)}"
        for who, facts in groups
    ]
    told = "\n".join(lines)
    brief = (
        f"Write a report on {entity.mention}, as things stand today. It has to tell:\n{told}\n"
        f"At most {most_words} words, in one section for each line."
    )
    return ReportTask(f"{web.name}/{level}/{number}", web, level, theme, required, brief, most_words)


def _single(world: ReportWorld, entity: int) -> list[WebFact]:
    """Facts of an entity that hold, have a page that says so, and are the only ones of their relation."""
    now = [fact for fact in world.graph.outward[entity] if not fact.until]
    keys = [fact.relation for fact in now]
    return [fact for fact in now if keys.count(fact.relation) == 1 and world.page_of([fact.number])]


# -- gold ----------------------------------------------------------------------------------------------


def gold_sentence(graph: FactGraph, fact: WebFact, style: int = 0) -> str:
    """A sentence that tells a fact, in one of the ways in which pages do."""
    relation = relations()[fact.relation]
    words = relation.told_then if fact.until else relation.told
    object = graph.entities[fact.object].mention if fact.object >= 0 else shown_value(relation, fact.value)
    subject = graph.entities[fact.subject].mention
    text = words[style % len(words)].format(s=subject, o=object, since=fact.since, until=fact.until)
    return text[0].upper() + text[1:]


def gold_sections(world: ReportWorld, task: ReportTask) -> list[tuple[str, list[tuple[int, str]]]]:
    """For each section its title, and its facts with the page that is cited for each."""
    pages = world.page_of(task.required)
    found: dict[int, list[tuple[int, str]]] = {}
    for number in task.required:
        found.setdefault(world.graph.facts[number].subject, []).append((number, pages[number]))
    return [(world.graph.entities[subject].name, facts) for subject, facts in found.items()]
