"""What a question asks, without words: nodes, clues between them, and which node or value is wanted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from forge_envs.worlds.search.relations import relations


@dataclass(frozen=True, slots=True)
class RiddleNode:
    """Somebody or something a question speaks of: by name, or as an unknown of a kind."""

    kind: str
    named: int = -1
    """The entity's number where its name is said."""


@dataclass(frozen=True, slots=True)
class Clue:
    """A fact that is said to hold: from node `subject` to node `object`, or with a value in a range."""

    relation: str
    subject: int
    object: int = -1
    low: str = ""
    high: str = ""
    """Values from `low` to `high`, both included, where the object is no node."""
    words: str = ""
    """How the range is said, as "the early nineties"."""
    year: int = 0
    """When it held, for facts that change; 0 is now."""


@dataclass(frozen=True, slots=True)
class Riddle:
    """A question as constraints: which `target` fits all clues, or what its value of `asked` is."""

    nodes: tuple[RiddleNode, ...]
    clues: tuple[Clue, ...]
    target: int
    asked: str = ""
    asked_year: int = 0

    @property
    def steps(self) -> tuple[Clue, ...]:
        """All facts that the answer needs: the clues, and the one that is asked for."""
        if not self.asked:
            return self.clues
        return (*self.clues, Clue(self.asked, self.target, low="", high="~", year=self.asked_year))

    @property
    def circles(self) -> int:
        """How many independent circles its links make; 0 for a tree."""
        links = [clue for clue in self.clues if clue.object >= 0]
        group = list(range(len(self.nodes)))
        joined = 0
        for clue in links:
            one, other = _root(group, clue.subject), _root(group, clue.object)
            if one != other:
                group[one], joined = other, joined + 1
        return len(links) - joined

    def ordered(self) -> Riddle:
        """The riddle with its clues in the order in which somebody who reads on can follow them.

        From what is named (or without a name from the first that has a value) along the links, what is said
        of each before what it leads to.
        """
        left = sorted(self.clues, key=lambda clue: clue.object >= 0)
        known = {at for at, node in enumerate(self.nodes) if node.named >= 0}
        known = known or {clue.subject for clue in left[:1]}
        done: list[Clue] = []
        while left:
            clue = next((c for c in left if {c.subject, c.object} & known), left[0])
            left.remove(clue)
            done.append(clue)
            known |= {clue.subject, clue.object} - {-1}
        return replace(self, clues=tuple(done))

    def without(self, clue: Clue) -> Riddle:
        """The riddle with a clue less, and without all that nothing joins to the target any more."""
        clues = [c for c in self.clues if c is not clue]
        kept, before = {self.target}, 0
        while len(kept) > before:
            before = len(kept)
            kept |= {n for c in clues for n in (c.subject, c.object) if {c.subject, c.object} & kept} - {-1}
        place = {node: at for at, node in enumerate(sorted(kept))} | {-1: -1}
        moved = [
            replace(c, subject=place[c.subject], object=place[c.object]) for c in clues if c.subject in kept
        ]
        nodes = tuple(self.nodes[node] for node in sorted(kept))
        return replace(self, nodes=nodes, clues=tuple(moved), target=place[self.target])


def _root(group: list[int], node: int) -> int:
    while group[node] != node:
        node = group[node]
    return node


def fingerprint(riddle: Riddle, *, shape: bool = False) -> str:
    """The Weisfeiler-Lehman hash of a riddle's graph: equal for riddles that differ in nothing but order.

    Colour refinement (Weisfeiler and Lehman 1968; Shervashidze et al., JMLR 12 (2011), algorithm 1): each
    node's colour is hashed with those of its neighbours, as often as there are nodes; the hash is that of the
    sorted colours. Names, ranges and years are labels; with `shape` only kinds and relations are.
    """
    table = relations()
    colours = []
    for at, node in enumerate(riddle.nodes):
        label = str(min(node.named, 0) if shape else node.named)
        colours.append(
            _hash(node.kind, label, riddle.asked if at == riddle.target else "no", at == riddle.target)
        )
    edges: list[tuple[int, str, int]] = []
    for clue in riddle.clues:
        label = _hash(clue.relation, *(() if shape else (clue.low, clue.high, clue.year)))
        if clue.object < 0:
            edges.append((clue.subject, label, -1))
            continue
        back = label if table[clue.relation].symmetric else _hash("back", label)
        edges += [(clue.subject, label, clue.object), (clue.object, back, clue.subject)]
    for _ in riddle.nodes:
        seen: list[list[str]] = [[] for _ in colours]
        for one, label, other in edges:
            seen[one].append(_hash(label, colours[other] if other >= 0 else "value"))
        colours = [_hash(colour, *sorted(near)) for colour, near in zip(colours, seen, strict=True)]
    return _hash(*sorted(colours), *(() if shape else (riddle.asked_year,)))


def _hash(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()
