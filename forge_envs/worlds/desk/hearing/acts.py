"""What each sentence does (refuses, wants a yes, asks, offers more, reports), and whether a line is a yes.

The weights were fitted to labelled phrases by `benchmarks/hearing_fit.py`. A sum above zero is heard.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from forge_envs.worlds.desk.hearing.clauses import heard, mannered
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
    weights = _weights()
    total = sum([weights.get(name, 0) for name in set(features)], weights["*"] + _ZEROS)
    return [(total >> at) % (1 << _BITS) - _MIDDLE for at in _PLACES]


def acts(said: Sequence[Sentence]) -> tuple[list[list[int]], bool]:
    """How much speaks for each of `ACTS`, sentence by sentence; and whether manners are in it.

    The result is shared: it is only to be read.

    What was said is remembered without its ids and numbers, which nothing here looks at: agents, and the gold
    of thousands of tasks most of all, say the same about one order and the next.
    """
    return _weighed(tuple([(sentence.mark, tuple(map(_nameless, sentence.words))) for sentence in said]))


@functools.lru_cache(maxsize=8192)
def _weighed(said: tuple[tuple[str, tuple[Word, ...]], ...]) -> tuple[list[list[int]], bool]:
    bare = [Sentence("", words, mark) for mark, words in said]
    return [sums(features) for features in heard(bare)], mannered(bare)


def _nameless(word: Word) -> Word:
    return VALUES.get(word.stem, word)


@functools.lru_cache(maxsize=1024)
def agrees(line: str) -> bool:
    """Whether a customer's line is a yes.

    >>> [agrees(line) for line in ("Yes.", "Sure, go ahead!", "No. Use my paypal.", "Not yet.")]
    [True, True, False, False]
    """
    said = sentences(normal(line))
    return bool(said) and sums([name for part in heard(said) for name in part])[-1] > 0
