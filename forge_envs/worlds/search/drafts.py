"""A level's questions over a web: drawn, told apart and proved, as lines that a stranger can check."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from forge_envs.worlds.search.answers import same_form
from forge_envs.worlds.search.graph import FactGraph, WebFact, shown_value
from forge_envs.worlds.search.naming import web_seed
from forge_envs.worlds.search.proof import pages_needed, proof_of
from forge_envs.worlds.search.question import ProofStep, ResearchQuestion, Statement
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.render import RenderedWeb
from forge_envs.worlds.search.riddle import Clue, Riddle, RiddleNode, fingerprint
from forge_envs.worlds.search.walk import RULES, RiddleMaker
from forge_envs.worlds.search.wording import word

MOST_TRIES = 4_000
"""Walks without a new question, after which a web has no more."""
ONE_ANSWER = 600
"""An answer is that of at most one in so many questions, or of one: whoever always says it gets nowhere."""


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question in words, and what it asks without words."""

    question: ResearchQuestion
    riddle: Riddle


def draw_questions(
    graph: FactGraph, web: RenderedWeb, level: int, count: int, *seed: object
) -> Iterator[MadeQuestion]:
    """Up to `count` questions of a level, always the same ones; no two ask the same."""
    rng = random.Random(web_seed("questions", level, *seed))
    maker = RiddleMaker(graph)
    seen: set[str] = set()
    answers: Counter[str] = Counter()
    found = dry = 0
    while found < count and dry < MOST_TRIES:
        dry += 1
        drawn = maker.draw(level, rng)
        if drawn is None:
            continue
        riddle, facts = drawn
        mark, answer = fingerprint(riddle), _answer(graph, riddle, facts)
        if mark in seen or answers[answer] >= max(1, count // ONE_ANSWER):
            continue
        made = _made(graph, web, level, riddle, facts, rng)
        if made is None:
            continue
        seen.add(mark)
        answers[answer] += 1
        found, dry = found + 1, 0
        yield made


def _answer(graph: FactGraph, riddle: Riddle, facts: tuple[WebFact, ...]) -> str:
    if riddle.asked:
        return shown_value(relations()[riddle.asked], facts[-1].value)
    for clue, fact in zip(riddle.clues, facts, strict=True):
        if riddle.target in (clue.subject, clue.object):
            number = fact.subject if clue.subject == riddle.target else fact.object
            return graph.entities[number].name
    raise AssertionError("no clue speaks of the target")


def _made(
    graph: FactGraph,
    web: RenderedWeb,
    level: int,
    riddle: Riddle,
    facts: tuple[WebFact, ...],
    rng: random.Random,
) -> MadeQuestion | None:
    """The question with its proof; None where too few pages prove it, or its words tell the answer."""
    proof, rule = proof_of(graph, web, riddle, facts), RULES[level]
    if any(not step.statements for step in proof) or pages_needed(proof) < rule.pages:
        return None
    answer = _answer(graph, riddle, facts)
    text = word(graph, riddle, rng)
    if same_form(answer) in same_form(text):
        return None
    kind = relations()[riddle.asked].object if riddle.asked else riddle.nodes[riddle.target].kind
    accepted = (", ".join(reversed(answer.rsplit(" ", 1))),) if kind == "person" else ()
    return MadeQuestion(ResearchQuestion(text, answer, accepted, kind, proof), riddle)


# -- as text -----------------------------------------------------------------------------------------------


def to_line(made: MadeQuestion) -> str:
    """A question as a line of JSON."""
    question = made.question
    proof = [
        {"fact": step.fact, "statements": [[s.page, s.quote] for s in step.statements]}
        for step in question.proof
    ]
    row = {
        "question": question.text,
        "answer": question.answer,
        "accepted": list(question.accepted),
        "kind": question.kind,
        "proof": proof,
        "riddle": asdict(made.riddle),
    }
    return json.dumps(row, ensure_ascii=False)


def from_line(line: str) -> MadeQuestion:
    """The question of a line that `to_line` wrote."""
    row = json.loads(line)
    proof = tuple(
        ProofStep(tuple(Statement(*pair) for pair in step["statements"]), step["fact"])
        for step in row["proof"]
    )
    question = ResearchQuestion(row["question"], row["answer"], tuple(row["accepted"]), row["kind"], proof)
    return MadeQuestion(question, _riddle(row["riddle"]))


def _riddle(row: dict[str, Any]) -> Riddle:
    nodes = tuple(RiddleNode(**node) for node in row["nodes"])
    clues = tuple(Clue(**clue) for clue in row["clues"])
    return Riddle(nodes, clues, row["target"], row["asked"], row["asked_year"])
