"""Which task comes next: worlds by weight, tasks by shuffled epochs, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forge_train.config import Config
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Draw:
    """The `index`-th group of a run: where it plays, what, and for the how-manieth time.

    >>> Draw(index=7, world="retail", task="t3", epoch=0).group
    '7/retail/t3'
    """

    index: int
    world: str
    task: str
    epoch: int

    @property
    def group(self) -> str:
        """The name its trajectories share."""
        return f"{self.index}/{self.world}/{self.task}"


class Curriculum:
    """An endless, seeded sequence of draws; `draw(i)` depends on `i` alone, so a resumed run continues it.

    Worlds take turns in proportion to their weights (the one furthest behind its share is next, the
    first of equals); each world's tasks come once an epoch, in an order shuffled anew.

    >>> c = Curriculum({"a": ["x", "y"], "b": ["z"]}, {"a": 2.0, "b": 1.0}, seed=0)
    >>> [c.draw(i).world for i in range(6)], c.draw(0) == c.draw(0)
    (['a', 'a', 'b', 'a', 'a', 'b'], True)
    """

    def __init__(
        self, tasks: Mapping[str, Sequence[str]], weights: Mapping[str, float], *, seed: int
    ) -> None:
        for world, names in tasks.items():
            if not names:
                raise ValueError(f"world {world!r} has no tasks in this split: choose another split")
        self._tasks = tasks
        self._weights = weights
        self._seed = seed
        self._draws: list[Draw] = []
        self._counts = dict.fromkeys(tasks, 0)
        self._orders: dict[str, list[str]] = {}

    def draw(self, index: int) -> Draw:
        """The `index`-th draw, from 0."""
        while len(self._draws) <= index:
            self._draws.append(self._next(len(self._draws)))
        return self._draws[index]

    def _next(self, index: int) -> Draw:
        world = min(self._tasks, key=lambda name: (self._counts[name] + 1) / self._weights[name])
        epoch, place = divmod(self._counts[world], len(self._tasks[world]))
        self._counts[world] += 1
        if place == 0:
            order = list(self._tasks[world])
            random.Random(derive_seed(self._seed, "epoch", world, epoch)).shuffle(order)
            self._orders[world] = order
        return Draw(index, world, self._orders[world][place], epoch)


def curriculum_of(config: Config, worlds: Mapping[str, World]) -> Curriculum:
    """The tasks of a run of `config`, whose worlds are given by label."""
    return Curriculum(
        {w.label: worlds[w.label].tasks(w.split, w.tasks) for w in config.worlds},
        {w.label: w.weight for w in config.worlds},
        seed=config.run.seed,
    )
