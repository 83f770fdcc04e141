"""What the words of a sentence stand for: entities, dates, numbers, nouns, and signs of a relation."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from forge_envs.worlds.report.phrases import ALSO_SAID, ALSO_TOLD, plainly_dated
from forge_envs.worlds.search.graph import MONTHS, FactGraph
from forge_envs.worlds.search.relations import KINDS, WebRelation, relations
from forge_envs.worlds.search.words import STOP_WORDS, folded, plain_words, root

_TOKEN = re.compile(r"\d[\d,]*\d|[^\W_]+")
_MONTHS = {name: at for at, month in enumerate(MONTHS, 1) for name in (month, month[:3])} | {"Sept": 9}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_NTH = "(?:st|nd|rd|th)?"
_DAY = re.compile(
    rf"\b(?:(?P<iso>\d{{4}}-\d\d-\d\d)"
    rf"|(?P<day>\d{{1,2}}){_NTH} (?:of )?(?P<month>{_MONTH})\.?,? (?P<year>\d{{4}})"
    rf"|(?P<month2>{_MONTH})\.? (?P<day2>\d{{1,2}}){_NTH},? (?P<year2>\d{{4}}))\b"
)
_TEMPLATE = re.compile(r"\{\w+\}|[^\W_]+")
_BREAK = re.compile("[,;:]")
_MARK = "ʘday"
"""Stands for a day while a sentence is taken apart; a letter that no page has."""
_ARTICLES = frozenset(("The", "A", "An"))
_WEAK = "people name day first year say take took receive place set home date among between before after"
"""Words that say no relation by themselves."""
_COMMON = 3
"""A word of more relations than this is a sign of none."""
_NEGATING = """
not no never neither nor none nobody nothing without cannot isn wasn weren aren don doesn didn hasn hadn false
falsely untrue wrongly denies denied hardly barely
"""
NEGATIONS = frozenset(_NEGATING.split())
"""Words that turn a fact around; pages say none of them of a fact."""
_JOIN = """
additionally moreover furthermore besides finally lastly first second third next later earlier today currently
presently now however meanwhile there here both like further born known according today's one two three
"""
_JOINING = frozenset(_JOIN.split())
"""Words that a sentence may begin with, and that are no names."""


@dataclass(frozen=True)
class Reading:
    """A sentence, understood as far as the web's own words go."""

    entities: tuple[int, ...]
    """Numbers of those named, in order."""
    days: frozenset[str]
    """As 2011-05-07."""
    numbers: frozenset[int]
    """Years among them."""
    nouns: frozenset[str]
    """Values such as "a painter"."""
    words: frozenset[str]
    """Roots of words in which some relation is told."""
    strange: tuple[str, ...]
    """Capitalised words that belong to no name, but for the sentence's first."""
    first: str
    """The sentence's first word where it may be a name, else ""."""
    negated: bool
    pattern: tuple[str, ...]
    """The sentence's tokens in small letters; an entity as @ and its number, a day as # and its digits."""
    parts: tuple[tuple[str, ...], ...] = ()
    """The pattern cut at commas and at "and", each part with an entity if any has one."""

    @property
    def claims(self) -> bool:
        """Whether it says anything that can be true or false."""
        return bool(self.entities or self.days or self.numbers or self.nouns or self.strange)


class Lexicon:
    """The words of one web."""

    def __init__(self, graph: FactGraph) -> None:
        self.graph = graph
        self._names: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for entity in graph.entities:
            tokens = tuple(_TOKEN.findall(entity.name))
            self._names.setdefault(tokens[0].lower(), []).append((tokens, entity.number))
        for known in self._names.values():
            known.sort(key=lambda one: -len(one[0]))
        self._nouns: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        kinds = relations()
        for fact in {(f.relation, f.value): f for f in graph.facts if f.object < 0}.values():
            if kinds[fact.relation].object == "noun":
                tokens = tuple(_TOKEN.findall(fact.value.lower()))
                bare = tokens[1:] if tokens[0] in ("a", "an") else tokens
                known_nouns = self._nouns.setdefault(bare[0], [])
                if (bare, fact.value) not in known_nouns:
                    known_nouns.append((bare, fact.value))
        for nouns in self._nouns.values():
            nouns.sort(key=lambda one: (-len(one[0]), one[1]))

    @cached_property
    def tells(self) -> dict[str, frozenset[str]]:
        """From the root of a word to the relations that are told in it."""
        found: dict[str, set[str]] = {}
        for relation in relations().values():
            for word in _words_of(relation):
                found.setdefault(root(word), set()).add(relation.key)
            for word in ALSO_SAID.get(relation.key, "").split():
                found.setdefault(root(word), set()).add(relation.key)
        return {word: frozenset(of) for word, of in found.items()}

    @cached_property
    def signs(self) -> dict[str, frozenset[str]]:
        """Of these words, those that are a sign: of few relations, and not the name of a kind."""
        weak = {root(one) for word in (*KINDS, *_WEAK.split()) for one in (word, f"{word}s")}
        return {word: of for word, of in self.tells.items() if len(of) <= _COMMON and word not in weak}

    def read(self, sentence: str) -> Reading:
        """What a sentence names and says."""
        days: list[str] = []

        def mark(found: re.Match[str]) -> str:
            days.append(_iso(found))
            return f" {_MARK}{len(days) - 1} "

        text = _DAY.sub(mark, plainly_dated(sentence.replace(_MARK, "")))
        spans = [found.span() for found in _TOKEN.finditer(text)]
        tokens = [text[start:end] for start, end in spans]
        breaks: list[int] = []
        entities: list[int] = []
        numbers, nouns, words = set[int](), set[str](), set[str]()
        strange, pattern = list[str](), list[str]()
        at, negated, first = 0, False, ""
        while at < len(tokens):
            token = tokens[at]
            if at and _BREAK.search(text, spans[at - 1][1], spans[at][0]):
                breaks.append(len(pattern))
            name = _longest(self._names.get(token.lower(), ()), tokens, at)
            if name is not None:
                entities.append(name[1])
                if pattern and pattern[-1] == "the":
                    pattern.pop()
                pattern.append(f"@{name[1]}")
                at += name[0]
                continue
            if token.startswith(_MARK):
                pattern.append(f"#{days[int(token[len(_MARK) :])]}")
                at += 1
                continue
            low = folded(token)
            pattern.append(low.replace(",", ""))
            negated = negated or low in NEGATIONS
            noun = next(
                (one for one in self._nouns.get(low, ()) if _same(one[0], tokens[at : at + len(one[0])])),
                None,
            )
            if token[0].isdigit():
                digits = token.replace(",", "")
                if digits.isdecimal():
                    numbers.add(int(digits[:15]))
                else:
                    strange.append(token)
            elif noun is not None:
                nouns.add(noun[1])
                pattern += [folded(one) for one in tokens[at + 1 : at + len(noun[0])]]
                at += len(noun[0])
                continue
            elif (word := root(low)) in self.tells:
                words.add(word)
            elif token[0].isupper() and low not in STOP_WORDS | _JOINING:
                if at:
                    strange.append(token)
                else:
                    first = token
            at += 1
        return Reading(
            tuple(dict.fromkeys(entities)), frozenset(days), frozenset(numbers), frozenset(nouns),
            frozenset(words), tuple(strange), first, negated, tuple(pattern), _parts(pattern, breaks),
        )  # fmt: skip

    def words_of(self, key: str) -> frozenset[str]:
        """All words in which a relation is told, by pages and by others."""
        relation = relations()[key]
        told = " ".join((relation.label, *_templates(relation), ALSO_SAID.get(key, "")))
        return frozenset(plain_words(re.sub(r"\{\w+\}", " ", told)))

    def fits(self, key: str, words: frozenset[str], *, surely: bool = False) -> bool:
        """Whether the words of a sentence can say a relation; `surely`, one of them is a sign of it.

        A noun says its relation by itself.
        """
        known = self.signs if surely else self.tells
        return relations()[key].object == "noun" or any(key in known.get(word, ()) for word in words)


def claimed(relation: WebRelation, pattern: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Who is said to have a relation to what, in the words in which the web tells such facts.

    Both as a reading's pattern has them: @12 an entity, #2011-05-07 a day, digits a number.
    """
    for template in _templates(relation):
        way = _TEMPLATE.findall(template.lower())
        for at in range(len(pattern) - len(way) + 1):
            slots = {"{s}": "", "{o}": ""}
            for part, word in zip(way, pattern[at : at + len(way)], strict=True):
                if part in slots and (word[0] in "@#" or word[0].isdigit()):
                    slots[part] = word
                elif part in slots or (part[0] != "{" and part != word):
                    break
            else:
                yield slots["{s}"], slots["{o}"]


def _templates(relation: WebRelation) -> tuple[str, ...]:
    """Sentences in which pages tell a relation."""
    out = [f"{{s}} {does}" for does in (*relation.does, *relation.did)]
    back = [f"{{o}} {done}" for done in (*relation.done, *relation.was_done)]
    # What is said of one side only names the other one inside.
    return (*relation.told, *relation.told_then, *out, *back, *ALSO_TOLD.get(relation.key, ()))


def _words_of(relation: WebRelation) -> set[str]:
    """The words in which a relation is told, without those that say how."""
    told = " ".join((relation.label, *_templates(relation)))
    words = (folded(word) for word in _TOKEN.findall(re.sub(r"\{\w+\}", " ", told)))
    return {word for word in words if word not in STOP_WORDS}


def _parts(pattern: Sequence[str], breaks: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """A pattern cut at marks and at "and", but between two years; each part has an entity if any has."""
    cuts = set(breaks)
    for at, word in enumerate(pattern):
        years = [*pattern[at - 1 : at], *pattern[at + 1 : at + 2]] if at else []
        if word == "and" and not all(one.isdecimal() for one in years):
            cuts.add(at)
    places = [0, *sorted(cuts), len(pattern)]
    found: list[tuple[str, ...]] = []
    for start, end in itertools.pairwise(places):
        part = tuple(pattern[start:end])
        if found and not (any(word[0] == "@" for word in part) and any(word[0] == "@" for word in found[-1])):
            found[-1] += part
        elif part:
            found.append(part)
    return tuple(found)


def _longest(
    names: Sequence[tuple[tuple[str, ...], int]], tokens: Sequence[str], at: int
) -> tuple[int, int] | None:
    """How many tokens the longest name has that stands at a place, and whose it is."""
    for name, number in names:
        there = tokens[at : at + len(name)]
        # An article may be small inside a sentence.
        if (
            len(there) == len(name)
            and there[1:] == list(name[1:])
            and (there[0] == name[0] or name[0] in _ARTICLES)
        ):
            return len(name), number
    return None


def _same(noun: Sequence[str], tokens: Sequence[str]) -> bool:
    return list(noun) == [folded(token) for token in tokens]


def _iso(found: re.Match[str]) -> str:
    if found["iso"]:
        return found["iso"]
    day, month, year = (
        found["day"] or found["day2"],
        found["month"] or found["month2"],
        found["year"] or found["year2"],
    )
    return f"{year}-{_MONTHS[month]:02d}-{int(day):02d}"
