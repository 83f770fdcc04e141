"""Questions about the entities of a memory: what is said of somebody, with the name left out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from forge_train.recipes.synthesis.memory import Fact, words

BLANK, OTHER = "[A]", "[B]"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its answer, and the statements that it takes."""

    text: str
    answer: str
    kind: str
    """one: a statement; two: two of different pages or of one; bridge: over another entity."""
    facts: tuple[Fact, ...]
    clues: tuple[str, ...]
    """The statements as the question tells them."""
    middle: str = ""
    """The entity that a bridge goes over."""


class Memory:
    """An entity memory, and what of it says who is meant."""

    def __init__(self, facts: Mapping[str, Sequence[Fact]]) -> None:
        self.facts = facts
        self._fits: dict[str, set[str]] = {}
        for entity, known in facts.items():
            for fact in known:
                self._fits.setdefault(fact.without(entity, BLANK), set()).add(entity)

    def fitting(self, clues: Sequence[str]) -> set[str]:
        """Entities of which all of these are said."""
        return set.intersection(*(self._fits.get(clue, set()) for clue in clues))

    def questions(self, entity: str, rng: random.Random) -> Iterator[Asked]:
        """Different questions whose answer is this entity, in random order: K questions a memory, not K
        answers a question."""
        known = list(self.facts[entity])
        found = [self._one(entity, fact) for fact in known]
        found += [self._two(entity, a, b) for i, a in enumerate(known) for b in known[i + 1 :]]
        for fact in known:
            for other, _ in fact.names:
                if other != entity:
                    found += [self._bridge(entity, fact, other, b) for b in self.facts.get(other, ())]
        rng.shuffle(found)
        yield from found

    def _one(self, entity: str, fact: Fact) -> Asked:
        clue = fact.without(entity, BLANK)
        return Asked(f"Who or what is {BLANK}?\n{clue}", entity, "one", (fact,), (clue,))

    def _two(self, entity: str, a: Fact, b: Fact) -> Asked:
        clues = tuple(fact.without(entity, BLANK) for fact in (a, b))
        text = f"Both is said of {BLANK}. Who or what is it?\n{clues[0]}\n{clues[1]}"
        return Asked(text, entity, "two", (a, b), clues)

    def _bridge(self, entity: str, fact: Fact, other: str, about: Fact) -> Asked:
        first = Fact(fact.without(other, OTHER), fact.names, fact.page).without(entity, BLANK)
        second = about.without(other, OTHER)
        lead = f"Who or what is {BLANK}? It is named with {OTHER}, which the second line tells of."
        text = f"{lead}\n{first}\n{second}"
        return Asked(text, entity, "bridge", (fact, about), (first, second), other)


def fault_of(asked: Asked, memory: Memory) -> str:
    """Why a question is none; empty if it is one."""
    telling = {word for word in words(asked.answer) if len(word) > 3}
    if telling & set(words(asked.text.partition("\n")[2])):
        return "the answer stands in the question"
    if asked.kind == "bridge":
        fact, about = asked.facts
        if asked.answer in dict(about.names) or fact.text == about.text:
            return "both statements tell of the answer"
        fits = {
            one
            for middle in memory.fitting([about.without(asked.middle, BLANK)])
            for one in memory.facts
            if one != middle and any(_bridges(f, one, middle, asked.clues[0]) for f in memory.facts[one])
        }
    else:
        fits = memory.fitting(asked.clues)
    return "" if fits == {asked.answer} else "another answer fits as well"


def _bridges(fact: Fact, entity: str, middle: str, clue: str) -> bool:
    names = dict(fact.names)
    if entity not in names or middle not in names:
        return False
    return Fact(fact.without(middle, OTHER), fact.names, fact.page).without(entity, BLANK) == clue
