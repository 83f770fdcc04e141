"""What each sentence does (refuses, wants a yes, asks, offers more, reports), and whether a line is a yes.

The weights were fitted to labelled phrases by `benchmarks/hearing_fit.py`. A sum above zero is heard.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from forge_envs.worlds.desk.hearing.clauses import heard
from forge_envs.worlds.desk.hearing.words import Sentence, normal, sentences

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


def acts(said: Sequence[Sentence]) -> list[list[int]]:
    """How much speaks for each of `ACTS`, sentence by sentence."""
    return [sums(features) for features in heard(said)]


@functools.lru_cache(maxsize=1024)
def agrees(line: str) -> bool:
    """Whether a customer's line is a yes.

    >>> [agrees(line) for line in ("Yes.", "Sure, go ahead!", "No. Use my paypal.", "Not yet.")]
    [True, True, False, False]
    """
    said = sentences(normal(line))
    return bool(said) and sums([name for part in heard(said) for name in part])[-1] > 0
