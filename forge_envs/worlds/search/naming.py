"""Names that nothing else has: made of syllables and word lists, with a hash that decides their split."""

from __future__ import annotations

import functools
import hashlib
import random
import tomllib
from importlib import resources

SPLITS = ("train", "test")


def web_seed(*parts: object) -> int:
    """A stable 63-bit seed of `parts`, the same in every process and on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def split_of_name(name: str) -> str:
    """The split in which a name may occur: no web of the other one has it, whatever its seed and size.

    >>> split_of_name("The Silent Orchard") == split_of_name("the silent orchard")
    True
    """
    return SPLITS[hashlib.blake2b(name.lower().encode(), digest_size=1).digest()[0] % 2]


@functools.cache
def word_lists() -> dict[str, tuple[str, ...]]:
    """The lists of `names.toml`, read once."""
    text = resources.files(__package__).joinpath("names.toml").read_text(encoding="utf-8")
    return {key: tuple(words) for key, words in tomllib.loads(text).items()}


class Namer:
    """Draws names of one split, each once."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self._rng, self._split = rng, split
        self._taken: set[str] = set()
        self._words = word_lists()

    def _pick(self, words: str) -> str:
        return self._rng.choice(self._words[words])

    def _stem(self) -> str:
        rng = self._rng
        parts = [self._pick("openings"), self._pick("vowels"), self._pick("middles")]
        if rng.random() < 0.35:
            parts += [self._pick("vowels"), self._pick("middles")]
        return "".join(parts)

    def name(self, kind: str) -> str:
        """A name of a kind of entities."""
        while True:
            name = getattr(self, f"_{kind}")()
            if name not in self._taken and split_of_name(name) == self._split:
                self._taken.add(name)
                return str(name)

    def series(self) -> str:
        """The name of a series of events, whose editions are numbered."""
        return f"{self.name('stem_alone')} {self._pick('sports')}"

    def edition(self, series: str, number: int) -> str:
        """The name of one edition; `series` has decided its split."""
        return f"{ordinal(number)} {series}"

    def _stem_alone(self) -> str:
        return self._stem() + self._rng.choice("aeio")

    def _person(self) -> str:
        return f"{self._pick('first_names')} {self._stem()}{self._pick('person_ends')}"

    def _town(self) -> str:
        return f"{self._stem()}{self._pick('town_ends')}"

    def _region(self) -> str:
        return f"{self._stem()}{self._pick('region_ends')}"

    def _firm(self) -> str:
        return f"{self._stem_alone()} {self._pick('firm_ends')}"

    def _prize(self) -> str:
        return f"{self._stem_alone()} {self._pick('prizes')}"

    def _school(self) -> str:
        return f"{self._stem_alone()} {self._pick('schools')}"

    def _landmark(self) -> str:
        return f"{self._stem_alone()} {self._pick('landmarks')}"

    def _work(self) -> str:
        dice = self._rng.random()
        noun = self._pick("nouns")
        if dice < 0.4:
            return f"The {self._pick('adjectives')} {noun}"
        if dice < 0.7:
            return f"The {self._pick('adjectives')} {noun} of {self._stem_alone()}"
        if dice < 0.85:
            return f"{_article(noun)} {noun} for {self._pick('first_names')}"
        return f"{self._pick('adjectives')} {noun}, {self._pick('adjectives')} {self._pick('nouns')}"


def _article(noun: str) -> str:
    return "An" if noun[0] in "AEIOU" else "A"


def ordinal(number: int) -> str:
    """A number as it stands in a row.

    >>> ordinal(1), ordinal(12), ordinal(22), ordinal(103)
    ('1st', '12th', '22nd', '103rd')
    """
    end = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{end}"
