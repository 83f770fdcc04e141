"""Which tasks there are: of a source, a language and a split, in an order that never changes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np

from forge_envs.worlds.polyglot.builtin import Builtin
from forge_envs.worlds.polyglot.checkout import Checkout
from forge_envs.worlds.polyglot.exercise import Puzzle
from forge_envs.worlds.polyglot.languages import LANGUAGES

SPLITS = ("train", "test")


class Puzzles(Protocol):
    """Where tasks come from."""

    def ids(self, split: str | None, n: int | None) -> list[str]:
        """The first `n` ids of a split, of all splits where it is None."""
        ...

    def find(self, task_id: str) -> Puzzle:
        """The task of an id. Raises TaskError."""
        ...

    def draw(self, split: str, rng: np.random.Generator) -> Puzzle:
        """A task of a split at random."""
        ...


class Exercises:
    """Exercises of the built-in set or of a checkout, of one language or of all."""

    def __init__(self, source: str, language: str) -> None:
        self._source = Builtin() if source == "builtin" else _checkout(source)
        self._languages = list(LANGUAGES) if language == "all" else [language]

    def ids(self, split: str | None, n: int | None) -> list[str]:
        """Languages in turn, so that the first few ids show all of them."""
        splits = SPLITS if split is None else (split,)
        return list(chain.from_iterable(self._in_turn(one) for one in splits))[:n]

    def find(self, task_id: str) -> Puzzle:
        """Any exercise of the source, whatever its language and split. Raises TaskError."""
        return self._source.find(task_id)

    def draw(self, split: str, rng: np.random.Generator) -> Puzzle:
        """Each exercise is as likely as any other."""
        return self.find(str(rng.choice(self.ids(split, None))))

    def _in_turn(self, split: str) -> Iterator[str]:
        rows = [self._source.ids(language, split) for language in self._languages]
        return (task for column in zip_longest(*rows) for task in column if task is not None)


@lru_cache(maxsize=8)
def _checkout(folder: str) -> Checkout:
    return Checkout(Path(folder).expanduser())
