"""What each sentence does (refuses, wants a yes, asks, offers more, reports), and whether a line is a yes.

The weights were fitted to labelled phrases by `benchmarks/hearing_fit.py`. A sum above zero is heard.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge_envs.worlds.desk.hearing.clauses import around, features, heard, mannered, phrase_words, turns
from forge_envs.worlds.desk.hearing.words import VALUES, Sentence, Word, normal, sentences

ACTS = ("refusal", "confirm", "question", "more", "done", "agrees")
SCALE = 50
"""Weights are whole numbers of this part, so that a sum is the same in whatever order it is taken."""
_BITS = 32
_PLACES = range(0, _BITS * len(ACTS), _BITS)
_MIDDLE = 1 << (_BITS - 1)
_ZEROS = sum([_MIDDLE << at for at in _PLACES])
"""What a sum begins with, so that none is negative and borrows from the next one."""


@functools.cache
def _weights() -> dict[str, int]:
    """The weights of each feature for all of `ACTS`, side by side in one number: one addition adds them all.

    "*" has what every sentence starts from.
    """
    lines = (Path(__file__).parent / "weights.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return {
        name: sum([int(number) << at for number, at in zip(numbers.split(), _PLACES, strict=True)])
        for name, numbers in rows
    }


def sums(features: Iterable[str]) -> list[int]:
    """How much speaks for each of `ACTS`."""
    return _apart(_total(features))


def _total(features: Iterable[str]) -> int:
    weights = _weights()
    return sum([weights.get(name, 0) for name in set(features)])


def _apart(total: int) -> list[int]:
    total += _weights()["*"] + _ZEROS
    return [(total >> at) % (1 << _BITS) - _MIDDLE for at in _PLACES]


def acts(said: Sequence[Sentence]) -> tuple[list[list[int]], bool]:
    """How much speaks for each of `ACTS`, sentence by sentence; and whether manners are in it.

    What a sentence shows on its own is remembered without its ids, numbers and names, which nothing here
    looks at: agents, and the gold of thousands of tasks most of all, say the same about many an order.
    """
    alone = [_alone(sentence.mark, tuple(map(_nameless, sentence.words))) for sentence in said]
    bare, merged = [one.sentence for one in alone], [one.merged for one in alone]
    weighed = [_apart(one.total + _total(around(bare, merged, n))) for n, one in enumerate(alone)]
    return weighed, any([one.mannered for one in alone])


@dataclass(frozen=True, slots=True)
class _Alone:
    """A sentence as it is heard by itself."""

    sentence: Sentence
    merged: Sequence[Word]
    total: int
    mannered: bool


@functools.lru_cache(maxsize=16384)
def _alone(mark: str, words: tuple[Word, ...]) -> _Alone:
    sentence = Sentence("", words, mark)
    merged = turns(sentence)
    return _Alone(sentence, merged, _total(features(sentence, merged)), mannered([sentence]))


@functools.lru_cache(maxsize=16384)
def _nameless(word: Word) -> Word:
    """The word, or one that is heard as it is and stands for all of its role that nothing here knows."""
    if word.stem in VALUES:
        return VALUES[word.stem]
    return word if word.said in _heeded() or word.stem in _heeded() else _unheeded(word.role)


@functools.cache
def _heeded() -> frozenset[str]:
    """All words that a weight or a turn of speech looks at."""
    return frozenset([part for name in _weights() for part in name.split()]) | phrase_words()


@functools.cache
def _unheeded(role: str) -> Word:
    return Word("<any>", "<any>", role)


@functools.lru_cache(maxsize=1024)
def agrees(line: str) -> bool:
    """Whether a customer's line is a yes.

    >>> [agrees(line) for line in ("Yes.", "Sure, go ahead!", "No. Use my paypal.", "Not yet.")]
    [True, True, False, False]
    """
    said = sentences(normal(line))
    return bool(said) and sums([name for part in heard(said) for name in part])[-1] > 0
