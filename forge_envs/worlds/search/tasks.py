"""Tasks of Forge/Search-v0: questions of a generated web by number, or those of a file of the user's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError, brief
from forge_envs.task import Task
from forge_envs.worlds.search.draw import FEWEST
from forge_envs.worlds.search.naming import SPLITS
from forge_envs.worlds.search.question import ProofStep, ResearchQuestion, Statement
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


# -- files of the user's -----------------------------------------------------------------------------------


def read_questions(path: str | Path) -> dict[str, dict[str, SearchTask]]:
    """Tasks by id in each split of a file: JSON lines with `question` and `answer`.

    `id` is else the line's number, `split` "test" or another word; `accepted`, `kind` and `proof` may be
    there, `proof` as a list of steps, each a list of [address, quote]. Raises TaskError, which names the line.
    """
    place = Path(path).expanduser()
    try:
        lines = place.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"questions={str(path)!r} cannot be read: {error}") from None
    found: dict[str, dict[str, SearchTask]] = {}
    known: set[str] = set()
    for number, line in enumerate(lines, 1):
        if line.strip():
            split, task = _own(line, number, f"{place}, line {number}")
            if task.id in known:
                raise TaskError(f"{place}, line {number}: id {task.id!r} is there twice")
            known.add(task.id)
            found.setdefault(split, {})[task.id] = task
    if not found:
        raise TaskError(f"questions={str(path)!r} holds no question")
    return found


def _own(line: str, number: int, where: str) -> tuple[str, SearchTask]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: no JSON: {error}") from None
    if not isinstance(row, dict):
        raise TaskError(f"{where}: a question is an object with question and answer, not {brief(row)}")
    texts = {key: row.get(key, default) for key, default in _TEXTS.items()}
    texts["id"] = str(row.get("id", number))
    for key, value in texts.items():
        if not isinstance(value, str) or (not value.strip() and key != "kind"):
            raise TaskError(f"{where}: {key} must be text, not {brief(value)}")
    accepted = row.get("accepted", [])
    if not isinstance(accepted, list) or not all(isinstance(one, str) for one in accepted):
        raise TaskError(f"{where}: accepted must be a list of texts, not {brief(accepted)}")
    proof = tuple(_steps(row.get("proof", []), where))
    question = ResearchQuestion(texts["question"], texts["answer"], tuple(accepted), texts["kind"], proof)
    return texts["split"], SearchTask(f"own/{texts['id']}", question)


_TEXTS = {"question": None, "answer": None, "kind": "", "split": "train"}


def _steps(value: Any, where: str) -> Iterator[ProofStep]:
    if not isinstance(value, list):
        raise TaskError(f"{where}: proof must be a list of steps, not {brief(value)}")
    for step in value:
        fact, pairs = (step.get("fact", ""), step.get("statements")) if isinstance(step, dict) else ("", step)
        fits = isinstance(pairs, list) and pairs and isinstance(fact, str) and all(map(_is_pair, pairs))
        if not fits:
            raise TaskError(
                f"{where}: a step of a proof is a list of [address, quote], at least one, not {brief(step)}"
            )
        yield ProofStep(tuple(Statement(*pair) for pair in pairs), fact)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) and one for one in value)


def gold_reading(question: ResearchQuestion) -> Sequence[tuple[str, str]]:
    """Pages to read for a proof, each with what to look for: few pages, in the order of the steps."""
    often: dict[str, int] = {}
    for step in question.proof:
        for page in {statement.page for statement in step.statements}:
            often[page] = often.get(page, 0) + 1
    reading: list[tuple[str, str]] = []
    for step in question.proof:
        read = {page for page, _ in reading}
        if not any(s.page in read for s in step.statements):
            best = max(step.statements, key=lambda s: (often[s.page], -len(s.page), s.page))
            reading.append((best.page, step.fact or best.quote))
    return reading
