"""Proofs of questions: where each fact is stated, how many pages that takes, and whether it still holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forge_envs.worlds.search.graph import FactGraph, WebFact
from forge_envs.worlds.search.page import PageLibrary
from forge_envs.worlds.search.question import ProofStep, ResearchQuestion, Statement
from forge_envs.worlds.search.render import RenderedWeb, says
from forge_envs.worlds.search.riddle import Riddle


def proof_of(
    graph: FactGraph, web: RenderedWeb, riddle: Riddle, facts: Sequence[WebFact]
) -> tuple[ProofStep, ...]:
    """The steps of a riddle with all pages that state their facts for the time in question."""
    steps = []
    for clue, fact in zip(riddle.steps, facts, strict=True):
        told = [t for t in web.told.get(fact.number, ()) if says(fact, t, clue.year)]
        steps.append(ProofStep(tuple(Statement(t.page, t.quote) for t in told), graph.told(fact)))
    return tuple(steps)


def pages_needed(proof: Sequence[ProofStep]) -> int:
    """The fewest pages on which all steps are stated; 0 where some step is stated nowhere.

    >>> a, b, c = (Statement(page, "") for page in "abc")
    >>> pages_needed([ProofStep((a, b)), ProofStep((b, c)), ProofStep((a, c))])
    2
    """
    stated: dict[str, int] = {}
    for at, step in enumerate(proof):
        for statement in step.statements:
            stated[statement.page] = stated.get(statement.page, 0) | 1 << at
    whole, kinds = (1 << len(proof)) - 1, set(stated.values())
    reached, pages = {0}, 0
    while whole not in reached:
        further = {have | more for have in reached for more in kinds}
        if further <= reached:
            return 0
        reached, pages = reached | further, pages + 1
    return pages


def faults(question: ResearchQuestion, library: PageLibrary) -> Iterator[str]:
    """What of a proof does not stand in the pages, in words: steps of which no statement is left."""
    for number, step in enumerate(question.proof, 1):
        missing = []
        for statement in step.statements:
            page = library.page(statement.page)
            if page is not None and statement.quote in page.text:
                break
            gone = "there is no such page" if page is None else f"it does not say {statement.quote!r}"
            missing.append(f"{statement.page}: {gone}")
        else:
            told = f" ({step.fact})" if step.fact else ""
            yield f"step {number}{told} is stated nowhere: {'; '.join(missing[:3]) or 'it names no page'}"
