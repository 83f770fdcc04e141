"""Tasks of Forge/Search-v0: questions of a generated web by number, or those of a file of the user's."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from forge_envs.errors import TaskError, brief
from forge_envs.task import Task
from forge_envs.worlds.search.draw import FEWEST
from forge_envs.worlds.search.naming import SPLITS
from forge_envs.worlds.search.own_questions import LostProof, proved, read_questions
from forge_envs.worlds.search.page import PageLibrary, WebPage
from forge_envs.worlds.search.question import ResearchQuestion
from forge_envs.worlds.search.walk import LEVELS
from forge_envs.worlds.search.web import WebAddress, questions_of

MOST_ENTITIES = 200_000


@dataclass(frozen=True)
class SearchTask(Task):
    """A question, and the generated web it is about; None for a corpus of the user's."""

    question: ResearchQuestion
    web: WebAddress | None = None
    level: int = 0


def task_name(web: WebAddress, level: int, number: int) -> str:
    """The id of a question of a generated web."""
    return f"search/{web.name}/{level}/{number}"


def parse_task(text: str) -> tuple[WebAddress, int, int]:
    """A web, a level and a number. Raises TaskError."""
    parts = text.split("/") if isinstance(text, str) else []
    if len(parts) == 6 and parts[0] == "search" and parts[1] in SPLITS:
        numbers = [int(part) for part in parts[2:] if part.isascii() and part.isdigit() and len(part) < 19]
        if len(numbers) == 4 and [*map(str, numbers)] == parts[2:]:
            entities, seed, level, number = numbers
            if FEWEST <= entities <= MOST_ENTITIES and level in LEVELS:
                return WebAddress(parts[1], entities, seed), level, number
    raise TaskError(
        f"unknown task {brief(text)}: an id is search/<split>/<entities>/<seed>/<level>/<number>, as "
        f"search/train/2000/0/1/0; entities are {FEWEST} to {MOST_ENTITIES}, levels 1 to 5"
    )


def find_task(text: str) -> SearchTask:
    """The task of an id. Raises TaskError."""
    web, level, number = parse_task(text)
    questions = questions_of(web, level)
    if number >= len(questions):
        raise TaskError(f"unknown task {text!r}: level {level} of this web has {len(questions)} questions")
    return SearchTask(text, questions[number].question, web, level)


# -- questions of the user's ---------------------------------------------------------------------------------


class OwnTasks:
    """The questions of a file, told apart from those whose proof does not stand in the library's pages."""

    def __init__(self, path: str, library: PageLibrary, *, check: bool) -> None:
        kept = read_questions(path)
        left_out: list[LostProof] = []
        if check:
            kept, left_out = proved(kept, library)
        self.by_id = {(task := _own(question)).id: task for question in kept}
        self.gaps = {_own(one.question).id: one.why for one in left_out}
        """Ids of questions that are left out, with what of their proof is gone."""
        if not self.by_id:
            raise ValueError(f"questions={path!r}: no proof holds any more: {next(iter(self.gaps.values()))}")
        self.splits: dict[str, list[str]] = {}
        for id in self.by_id:
            self.splits.setdefault("test" if int(id.split("/")[1], 16) % 4 == 0 else "train", []).append(id)

    def find(self, text: str) -> SearchTask:
        """The task of an id. Raises TaskError."""
        if text in self.gaps:
            raise TaskError(f"task {text!r} is left out: {self.gaps[text]}")
        if text not in self.by_id:
            raise TaskError(f"unknown task {brief(text)}; tasks are called like {next(iter(self.by_id))!r}")
        return self.by_id[text]


def _own(question: ResearchQuestion) -> SearchTask:
    """The id follows from what is asked, so it stays when the file changes."""
    digest = hashlib.blake2b(question.text.encode(), digest_size=6).hexdigest()
    return SearchTask(f"own/{digest}", question)


def gold_reading(question: ResearchQuestion, library: PageLibrary, results: int) -> list[tuple[WebPage, str]]:
    """Pages to read for a proof, each with what to look for, in the order of the steps.

    Of the pages that state a step those come first whose title the question or a page before has told, then
    those that state more. What is looked for never tells what will be found. Where a search for it, of that
    many `results`, lists other pages that state the step but not this one, the best of those is read: who
    imitates should visit what was shown, not an address that nobody told.
    """
    often = Counter(page for step in question.proof for page in {s.page for s in step.statements})
    reading: list[tuple[WebPage, str]] = []
    told = question.text
    for step in question.proof:
        if {statement.page for statement in step.statements} & {page.address for page, _ in reading}:
            continue
        pages = [library.page(address) for address in dict.fromkeys(s.page for s in step.statements)]
        there = [page for page in pages if page is not None]
        if there:
            best = max(there, key=lambda page: (page.title in told, often[page.address], page.address))
            what = step.fact.split(": ")[1] if step.fact.count(": ") > 1 else question.text
            goal = f"{best.title}: {what}"
            listed = [hit.address for hit in library.search(goal, results)]
            shown = [page for page in there if page.address in listed]
            if shown and best not in shown:
                best = min(shown, key=lambda page: listed.index(page.address))
            reading.append((best, goal))
            told += best.text
    return reading
