"""Riddles in English: one sentence where one carries it, else a few short ones and a question."""

from __future__ import annotations

import random

from forge_envs.worlds.search.graph import FactGraph
from forge_envs.worlds.search.relations import KINDS, WebRelation, relations
from forge_envs.worlds.search.riddle import Clue, Riddle

NAMING = {"trade", "genre"}
"""Values that are what somebody or something is called by: "the painter", "the novel"."""
_LAST = ("What is the name of {x}?", "Name {x}.", "What is {x} called?")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def word(graph: FactGraph, riddle: Riddle, rng: random.Random) -> str:
    """A riddle as a question."""
    return _Wording(graph, riddle, rng).question()


class _Wording:
    def __init__(self, graph: FactGraph, riddle: Riddle, rng: random.Random) -> None:
        self.graph, self.riddle, self.rng = graph, riddle, rng
        self.table = relations()
        self.nouns = [KINDS[node.kind] for node in riddle.nodes]
        self.left = list(riddle.clues)
        for clue in riddle.clues:
            if clue.relation in NAMING:
                self.nouns[clue.subject] = clue.words.split(" ", 1)[1]
                self.left.remove(clue)
        self.told_of: dict[str, list[int]] = {}
        """Unknowns of each noun in the order in which they were spoken of."""

    def question(self) -> str:
        links = [clue for clue in self.riddle.clues if clue.object >= 0]
        star = all(self.riddle.target in (c.subject, c.object) for c in self.left)
        chain = len(links) <= 2 and not any(c.object < 0 for c in self.left)
        if chain and (not star or len(links) < 2 or self.riddle.asked):
            return self._nested()
        if star and not self.riddle.asked and len(self.left) <= 3 and self._known_around():
            return self._starred()
        return self._told()

    # -- one sentence ----------------------------------------------------------------------------------

    def _nested(self) -> str:
        """A chain: `Who founded the firm that sponsored the 3rd Orsa Regatta?`"""
        riddle, target = self.riddle, self.riddle.target
        if riddle.asked:
            return self._ask(self.table[riddle.asked], riddle.asked_year, self._phrase(target, None))
        clue = next(c for c in self.left if target in (c.subject, c.object))
        other = self._phrase(clue.object if clue.subject == target else clue.subject, clue)
        if clue.object == target:
            return self._ask(self.table[clue.relation], clue.year, other, self.nouns[target])
        return f"Which {self.nouns[target]} {self._clause(clue, target, other)}?"

    def _phrase(self, node: int, come_from: Clue | None) -> str:
        """A node by name, or by the clues that lead on from it."""
        name = self._named(node)
        if name:
            return name
        clues = [c for c in self.left if c is not come_from and node in (c.subject, c.object)]
        parts = []
        for clue in clues:
            other = clue.object if clue.subject == node else clue.subject
            parts.append(self._clause(clue, node, self._phrase(other, clue)))
        if not parts:
            return f"{_article(self.nouns[node])} {self.nouns[node]}"
        pronoun = "who" if self.riddle.nodes[node].kind == "person" else "that"
        return f"the {self.nouns[node]} {pronoun} {' and '.join(parts)}"

    def _known_around(self) -> bool:
        nodes = {n for c in self.left for n in (c.subject, c.object)} - {-1, self.riddle.target}
        return all(self._named(node) for node in nodes)

    def _starred(self) -> str:
        """All clues say something of the target itself."""
        target = self.riddle.target
        parts = []
        for clue in self.left:
            other = clue.object if clue.subject == target else clue.subject
            parts.append(self._clause(clue, target, self._named(other) if other >= 0 else clue.words))
        listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"Which {self.nouns[target]} {listed}?"

    # -- several sentences -----------------------------------------------------------------------------

    def _told(self) -> str:
        """Clue after clue, from what is known to what is asked."""
        riddle = self.riddle
        sentences: list[tuple[int, list[str]]] = []
        told = {at for at, node in enumerate(riddle.nodes) if node.named >= 0}
        left = list(self.left)
        while left:
            clue = min(left, key=lambda c: self._turn(c, told, sentences))
            left.remove(clue)
            node, other = clue.subject, clue.object
            turned = other >= 0 and bool(self._words(clue, other))
            if turned and (other not in told or self._is_last(other, sentences)) and node in told:
                node, other = other, node
            said = self._refer(node, told)
            against = clue.words if clue.object < 0 else self._refer(other, told)
            part = self._clause(clue, node, against)
            if self._is_last(node, sentences) and len(sentences[-1][1]) < 2:
                sentences[-1][1].append(part)
            else:
                sentences.append((node, [f"{said} {part}"]))
        text = " ".join(f"{_capital(' and '.join(parts))}." for _, parts in sentences)
        the = self._refer(riddle.target, told)
        if riddle.asked:
            return f"{text} {self._ask(self.table[riddle.asked], riddle.asked_year, the)}"
        return f"{text} {self.rng.choice(_LAST).format(x=the)}"

    def _turn(
        self, clue: Clue, told: set[int], sentences: list[tuple[int, list[str]]]
    ) -> tuple[bool, bool, int]:
        """Which clue is next: one of somebody known, then one of whom the last sentence spoke."""
        known = clue.subject in told or clue.object in told
        return not known, not self._is_last(clue.subject, sentences), self.left.index(clue)

    def _is_last(self, node: int, sentences: list[tuple[int, list[str]]]) -> bool:
        return bool(sentences) and sentences[-1][0] == node

    def _refer(self, node: int, told: set[int]) -> str:
        """A node as a sentence speaks of it: by name, as somebody new, or as who was told of before."""
        if self._named(node):
            return self._named(node)
        noun = self.nouns[node]
        alike = self.told_of.setdefault(noun, [])
        if node in told:
            return f"the {_ORDINALS[alike.index(node)]} {noun}" if len(alike) > 1 else f"the {noun}"
        told.add(node)
        alike.append(node)
        return f"a {_ORDINALS[len(alike) - 1]} {noun}" if len(alike) > 1 else f"{_article(noun)} {noun}"

    # -- parts -----------------------------------------------------------------------------------------

    def _named(self, node: int) -> str:
        number = self.riddle.nodes[node].named
        return self.graph.entities[number].mention if number >= 0 else ""

    def _words(self, clue: Clue, node: int) -> tuple[str, ...]:
        """What can be said of a node by a clue."""
        relation = self.table[clue.relation]
        if node == clue.subject:
            return relation.did if clue.year else relation.does
        return relation.was_done if clue.year else relation.done

    def _clause(self, clue: Clue, node: int, other: str) -> str:
        words = self.rng.choice(self._words(clue, node))
        if clue.year and (
            " who " in other or " that " in other
        ):  # else the year might be that of the other clause
            words = f"in {{year}} {words.removesuffix(' in {year}')}"
        return words.format(s=other, o=other, year=clue.year)

    def _ask(self, relation: WebRelation, year: int, whom: str, noun: str = "") -> str:
        words = self.rng.choice(relation.ask_then if year else relation.ask)
        return words.format(s=whom, year=year)


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
