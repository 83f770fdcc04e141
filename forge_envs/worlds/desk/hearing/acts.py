"""What each sentence does (refuses, wants a yes, asks, offers more, reports), and whether a line is a yes.

The weights were fitted to labelled phrases by `benchmarks/hearing_fit.py`. A sum above zero is heard.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forge_envs.worlds.desk.hearing.clauses import heard
from forge_envs.worlds.desk.hearing.words import Sentence, normal, sentences

ACTS = ("refusal", "confirm", "question", "more", "done", "agrees")
SCALE = 50
"""Weights are stored as whole numbers of this part."""


@functools.cache
def _weights() -> tuple[dict[str, int], NDArray[np.float32]]:
    """The row of each feature, and the rows; the first is what every sentence starts from."""
    lines = (Path(__file__).parent / "weights.tsv").read_text("utf-8").splitlines()
    names, numbers = zip(*[line.split("\t") for line in lines], strict=True)
    rows = np.array([number.split() for number in numbers], dtype=np.float32)
    return {name: n for n, name in enumerate(names)}, rows / np.float32(SCALE)


def sums(features: Sequence[str]) -> NDArray[np.float32]:
    """How much speaks for each of `ACTS`."""
    rows, weights = _weights()
    found: NDArray[np.float32] = weights[[0, *[rows[name] for name in set(features) if name in rows]]].sum(
        axis=0
    )
    return found


def acts(said: Sequence[Sentence]) -> list[list[float]]:
    """How much speaks for each of `ACTS`, sentence by sentence."""
    found: list[list[float]] = [sums(features).tolist() for features in heard(said)]
    return found


@functools.lru_cache(maxsize=1024)
def agrees(line: str) -> bool:
    """Whether a customer's line is a yes.

    >>> [agrees(line) for line in ("Yes.", "Sure, go ahead!", "No. Use my paypal.", "Not yet.")]
    [True, True, False, False]
    """
    said = sentences(normal(line))
    return bool(said) and float(sums([name for part in heard(said) for name in part])[-1]) > 0
