"""First-order action synthesis of AgentFounder (arXiv 2509.13310): actions without a tool that is run.

    memory --> K different questions of an entity --+--> planning action: analysis, and the first call
                                                    +--> reasoning action: an answer in two steps, facts given

Without a model, plans and answers are templates over what pages say. With one (`--by`) it writes them; either
way they pass the same checks: one entity fits, the answer is not given away, the first call finds a page that
is needed, the reasoning comes to the answer. With a model it also judges whether the reasoning is supported.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_train.play.encoding import Message
from forge_train.recipes.synthesis.memory import Fact, Finder, as_lines, memory_of, read_pages, words
from forge_train.recipes.synthesis.questions import BLANK, Asked, Memory, fault_of
from forge_train.recipes.synthesis.shelf import Line, Made, Shelf, episode
from forge_train.record.run_folder import write_atomic
from forge_train.seeds import derive_seed

SYSTEM = "You answer questions with the help of a search over pages."
SEARCH: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Find pages by words.",
        "parameters": {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "what to look for"}},
            "required": ["query"],
        },
    },
}
QUERY = 6
"""Words of a query that a template makes: the rarest of a statement."""
FEWEST = 2
"""Statements without which an entity has no memory."""
ACTIONS = ("plan", "reason")


@dataclass(frozen=True, slots=True)
class Draft:
    """What is written for a question: the plan, its first query, and the two steps of the answer."""

    analysis: str
    query: str
    steps: tuple[str, str]
    answer: str


Writer = Callable[[Asked, Sequence[Fact], int], Awaitable[Draft | None]]
"""From a question, the facts that are given and a seed to what is written; None for what cannot be read."""


async def first_order(
    pages: Path,
    out: Path,
    *,
    questions: int = 4,
    distractors: int = 4,
    entities: int | None = None,
    longest: int | None = None,
    seed: int = 0,
    by: str = "templates",
    write: Writer | None = None,
    progress: Callable[[int], None] = lambda total: None,
) -> dict[str, Any]:
    """Write the samples of the first `entities` of a corpus and return the filter report.

    `write`: who drafts plans and answers, named by `by`; templates by default. Raises ValueError for a corpus
    of which nothing is said, and for a folder of other settings.
    """
    if questions < 1 or distractors < 0:
        raise ValueError(f"questions={questions}, distractors={distractors}: ask at least one question")
    found = read_pages(pages)
    facts = memory_of(found)
    if not facts:
        raise ValueError(
            f"{pages}: no sentence names the entity of a page; titles must be names that pages say in full, "
            "or link to as [words](address)"
        )
    settings = {"recipe": "fas", "pages": str(pages), "questions": questions, "distractors": distractors}
    shelf = Shelf(out, {**settings, "seed": seed, "by": by}, longest=longest)
    write_atomic(out / "memory.jsonl", b"".join(as_lines(facts)))
    memory, finder = Memory(facts), Finder(found)
    write = write or templates(finder)
    keys: list[str] = []
    names = list(facts)[:entities]
    for entity in names:
        for made in _asked(entity, memory, questions, seed):
            key, asked = made
            keys.append(key)
            if shelf.there(key):
                continue
            if isinstance(asked, str):
                shelf.put(Made(key, reason=asked))
                continue
            rng = random.Random(derive_seed(seed, "facts", key))
            given = _given(asked, memory, distractors, rng)
            draft = await write(asked, given, derive_seed(seed, "draft", key))
            shelf.put(_made(key, asked, given, draft, finder))
        progress(len(names))
    return shelf.finish(keys)


def _asked(entity: str, memory: Memory, most: int, seed: int) -> list[tuple[str, Asked | str]]:
    """Up to `most` questions of an entity by key; and those that are none, with the reason."""
    if len(memory.facts[entity]) < FEWEST:
        return [(f"{entity}/0", f"fewer than {FEWEST} statements about it")]
    found: list[tuple[str, Asked | str]] = []
    good, rng = 0, random.Random(derive_seed(seed, "questions", entity))
    for number, asked in enumerate(memory.questions(entity, rng)):
        if good == most or number >= 8 * most:
            break
        fault = fault_of(asked, memory)
        good += not fault
        found.append((f"{entity}/{number}", fault or asked))
    return found


def _given(asked: Asked, memory: Memory, distractors: int, rng: random.Random) -> list[Fact]:
    """The facts of a question among others, in random order."""
    others = [fact for name in memory.facts if name != asked.answer for fact in memory.facts[name]]
    others = [fact for fact in dict.fromkeys(others) if fact not in asked.facts]
    given = [*asked.facts, *rng.sample(others, min(distractors, len(others)))]
    rng.shuffle(given)
    return given


def _made(key: str, asked: Asked, given: Sequence[Fact], draft: Draft | None, finder: Finder) -> Made:
    if draft is None:
        return Made(key, reason="what was written cannot be read")
    if words(draft.answer) != words(asked.answer):
        return Made(key, reason="the reasoning comes to another answer")
    said = f"{draft.analysis} {draft.query}"
    if set(words(asked.answer)) & set(words(said)) - set(words(asked.text)):
        return Made(key, reason="the plan knows the answer")
    if not {fact.page for fact in asked.facts} & set(finder.find(draft.query)):
        return Made(key, reason="the first call finds no page that is needed")
    return Made(key, (_plan(asked, draft), _reason(asked, given, draft)))


def _plan(asked: Asked, draft: Draft) -> Line:
    call = {"type": "function", "function": {"name": "search", "arguments": {"query": draft.query}}}
    messages: list[Message] = [
        {"role": "system", "content": SYSTEM, "tools": [SEARCH]},
        {"role": "user", "content": asked.text},
        {"role": "assistant", "content": draft.analysis, "tool_calls": [call]},
    ]
    return episode(messages, "plan", question=asked.kind, entity=asked.answer)


def _reason(asked: Asked, given: Sequence[Fact], draft: Draft) -> Line:
    facts = "\n".join(f"{number}. {fact.text}" for number, fact in enumerate(given, 1))
    first, second = draft.steps
    messages: list[Message] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{asked.text}\n\nKnown facts:\n{facts}"},
        {"role": "assistant", "content": f"{first}\n\n{second}\n\nAnswer: {draft.answer}"},
    ]
    return episode(messages, "reason", question=asked.kind, entity=asked.answer)


def templates(finder: Finder) -> Writer:
    """Drafts in words of our own: true by construction, and all alike."""

    async def write(asked: Asked, given: Sequence[Fact], seed: int) -> Draft:
        start = asked.clues[-1]  # of a bridge what tells of the other
        rare = sorted({*words(start)} - {"a", "b"}, key=lambda word: (-finder.rarity(word), word))[:QUERY]
        query = " ".join(word for word in dict.fromkeys(words(start)) if word in rare)
        numbers = [given.index(fact) + 1 for fact in asked.facts]
        if asked.kind == "bridge":
            aim = f"Two names are not known. I find first whom the second line tells of, then who is {BLANK}."
            steps = (
                f"Fact {numbers[1]} is the second line: it tells of {asked.middle}.",
                f"With {asked.middle} in it the first line is fact {numbers[0]}: {BLANK} is {asked.answer}.",
            )
        else:
            count = "one line" if len(numbers) == 1 else "two lines"
            aim = f"One name is not known, and {count} must fit it. I look for the words that few pages have."
            told = " and ".join(f"fact {number}" for number in numbers)
            steps = (f"What is said of {BLANK} is said in {told}.", f"There the name is {asked.answer}.")
        return Draft(aim, query, steps, asked.answer)

    return write
