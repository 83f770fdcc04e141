"""Which task comes next: worlds by weight or in turn, tasks by shuffled epochs or by how hard they are."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from forge_train.config import Config, CurriculumConfig, TemperatureConfig
from forge_train.play.difficulty import Difficulty, Plays, read_passes
from forge_train.play.schedules import cooled, horizon
from forge_train.play.world_pool import World
from forge_train.record.played import Played, RunSoFar
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Draw:
    """The `index`-th group of a run: where it plays, what, for the how-manieth time, and how.

    >>> Draw(index=7, world="retail", task="t3", epoch=0).group
    '7/retail/t3'
    """

    index: int
    world: str
    task: str
    epoch: int
    update: int = 0
    """The update it is started for."""
    temperature: float | None = None
    """What it is sampled at, where that is not `rollout.temperature`."""
    turns: int = 0
    """Turns after which its episodes end; 0: the world says."""
    tokens: int = 0
    """Tokens that an episode may sample; 0: no limit of its own."""

    @property
    def group(self) -> str:
        """The name its trajectories share."""
        return f"{self.index}/{self.world}/{self.task}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What draws follow beside tasks and weights; by default nothing."""

    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    start: float = 1.0
    """`rollout.temperature`."""
    latest: int = 0
    """Updates by which a group may be late, and so by which what decides about it is old."""
    budgets: Mapping[str, int] | None = None
    """Tokens of an episode by world."""
    passes: Mapping[str, Mapping[str, Plays]] | None = None
    """How often tasks were solved before the run."""


class Curriculum:
    """An endless, seeded sequence of draws: a function of the index, of the update each draw is for, and of
    what earlier updates took; a resumed run is told all three and goes on with the same draws.

    Worlds take turns in proportion to their weights (the one furthest behind its share is next, the
    first of equals), or update by update as `curriculum.cycle` says; each world's tasks come once an epoch,
    in an order shuffled anew, those left out that `[curriculum]` leaves out.

    >>> c = Curriculum({"a": ["x", "y"], "b": ["z"]}, {"a": 2.0, "b": 1.0}, seed=0)
    >>> [c.draw(i).world for i in range(6)], c.draw(0) == c.draw(0)
    (['a', 'a', 'b', 'a', 'a', 'b'], True)
    """

    def __init__(
        self,
        tasks: Mapping[str, Sequence[str]],
        weights: Mapping[str, float],
        *,
        seed: int,
        terms: Terms | None = None,
    ) -> None:
        for world, names in tasks.items():
            if not names:
                raise ValueError(f"world {world!r} has no tasks in this split: choose another split")
        self._tasks = tasks
        self._weights = weights
        self._seed = seed
        self._terms = terms or Terms()
        self._config = self._terms.curriculum
        self._difficulty = Difficulty(self._config, self._terms.passes or {})
        self._draws: list[Draw] = []
        self._counts = dict.fromkeys(tasks, 0)
        self._epochs = dict.fromkeys(tasks, -1)
        self._left: dict[str, list[str]] = {world: [] for world in tasks}
        """Tasks still to come in the epoch under way, the next one last."""
        self._times: dict[tuple[str, str], int] = {}
        self._warmed: dict[int, float] = {}
        self._opened: dict[tuple[str, int], list[str]] = {}
        """What `open` said since the last update was taken."""
        self._refuse_empty()

    def draw(self, index: int, update: int = 0) -> Draw:
        """The `index`-th draw, from 0; one that is new is for `update`."""
        while len(self._draws) <= index:
            self._draws.append(self._next(len(self._draws), update))
        return self._draws[index]

    def learned(self, update: int, groups: Sequence[Sequence[Trajectory]]) -> None:
        """`update` took these groups, those without a lesson included."""
        self._opened.clear()
        played = (Played.of(group) for group in groups)
        self._difficulty.learned(update, [one for one in played if one is not None])

    def remember(self, past: RunSoFar) -> None:
        """The run was begun before: go on with the draws that follow."""
        for update, played in past.taken.items():
            self._difficulty.learned(update, played)
        self._warmed.update(past.warmed)
        for index, update in enumerate(past.updates):
            self.draw(index, update)

    def warmed(self, update: int, temperature: float) -> None:
        """Held-out tasks chose this temperature after `update` updates."""
        self._warmed[update] = temperature

    def temperature(self, update: int) -> float | None:
        """What groups of `update` are sampled at; None where it never moves."""
        terms = self._terms
        if not terms.temperature.moves:
            return None
        # While groups are late, an evaluation goes on beside draws that may not know it yet.
        known = self._known(update) - (terms.latest > 0)
        chosen = [step for step in self._warmed if step <= known]
        return self._warmed[max(chosen)] if chosen else cooled(terms.temperature, terms.start, update)

    def open(self, world: str, update: int) -> list[str]:
        """The tasks of a world that may be played for `update`; all where none would be left."""
        if (world, update) not in self._opened:
            self._opened[world, update] = self._open(world, update)
        return self._opened[world, update]

    def _open(self, world: str, update: int) -> list[str]:
        tasks, config = list(self._tasks[world]), self._config
        if config.hard_from is not None and update >= config.hard_from:
            return [t for t in tasks if self._difficulty.hard(world, t)]
        if config.grow_by:
            return self._difficulty.grown(world, tasks, update, self._seed)
        known = self._known(update)
        return [t for t in tasks if self._difficulty.fits(world, t, known)] or tasks

    def _known(self, update: int) -> int:
        """Updates that were surely taken when a group for `update` starts: what they took may decide."""
        return max(0, update - self._terms.latest)

    def _next(self, index: int, update: int) -> Draw:
        world = self._world(update)
        self._counts[world] += 1
        if self._config.order == "prioritised":
            task, epoch = self._prioritised(world, update)
        else:
            task, epoch = self._in_turn(world, update)
        return Draw(
            index,
            world,
            task,
            epoch,
            update,
            temperature=self.temperature(update),
            turns=horizon(self._config.horizons, update),
            tokens=(self._terms.budgets or {}).get(world, 0),
        )

    def _world(self, update: int) -> str:
        if self._config.cycle:
            return self._config.cycle[update % len(self._config.cycle)]
        return min(self._tasks, key=lambda name: (self._counts[name] + 1) / self._weights[name])

    def _in_turn(self, world: str, update: int) -> tuple[str, int]:
        """The next task of the epoch that is open; a new epoch where none is left."""
        may = set(self.open(world, update)) if self._config.picks else None
        while True:
            left, epoch = self._left[world], self._epochs[world]
            every = self._config.revisit
            again = bool(every) and self._config.rates is not None and epoch % every == every - 1
            while left:
                task = left.pop()
                if may is None or task in may or again:
                    return task, epoch
            self._epochs[world] += 1
            order = list(self._tasks[world])
            random.Random(derive_seed(self._seed, "epoch", world, epoch + 1)).shuffle(order)
            self._left[world] = order[::-1]

    def _prioritised(self, world: str, update: int) -> tuple[str, int]:
        """A task in proportion to 1 - s, s the share of its plays that solved it (0 where none is known).

        Kimi k1.5 (arXiv 2501.12599) sec. 2.3.4. Where all are always solved each is as likely as another.
        """
        tasks, known = self.open(world, update), self._known(update)
        weights = [1 - (self._difficulty.share(world, task, known) or 0.0) for task in tasks]
        lot = random.Random(derive_seed(self._seed, "prioritised", world, self._counts[world]))
        task = lot.choices(tasks, weights if any(weights) else None)[0]
        times = self._times[world, task] = self._times.get((world, task), -1) + 1
        return task, times

    def _refuse_empty(self) -> None:
        """Raise ValueError where what was measured leaves a world without tasks."""
        config = self._config
        for world, tasks in self._tasks.items():
            found = (self._terms.passes or {}).get(world, {})
            measured = sum(task in found for task in tasks)
            if config.passes and not measured:
                raise ValueError(
                    f"curriculum.passes = {config.passes!r} holds none of the {len(tasks)} tasks of world "
                    f"{world!r}: measure them with forge-train difficulty"
                )
            if config.hard_from is not None and not self.open(world, config.hard_from):
                few, many = config.hard
                raise ValueError(
                    f"curriculum.hard_from = {config.hard_from}: of {measured} measured tasks of world "
                    f"{world!r} none failed {few} times and was then solved within {many} plays; measure "
                    "with more --samples, or leave it out"
                )
            if config.grow_by and not self.open(world, 0):
                raise ValueError(
                    f"curriculum.grow_by = {config.grow_by}: of {measured} measured tasks of world {world!r} "
                    f"none was solved in its first {config.grow_from} plays, so there is nothing to begin "
                    "with; begin with easier tasks, or a better policy"
                )


def curriculum_of(config: Config, worlds: Mapping[str, World], past: RunSoFar | None = None) -> Curriculum:
    """The tasks of a run of `config`, whose worlds are given by label. Raises ValueError."""
    found = Curriculum(
        {w.label: worlds[w.label].tasks(w.split, w.tasks) for w in config.worlds},
        {w.label: w.weight for w in config.worlds},
        seed=config.run.seed,
        terms=Terms(
            curriculum=config.curriculum,
            temperature=config.temperature,
            start=config.rollout.temperature,
            latest=config.rollout.latest,
            budgets={w.label: w.budget for w in config.worlds},
            passes=read_passes(config.curriculum.passes) if config.curriculum.passes else None,
        ),
    )
    found.remember(past or RunSoFar())
    return found
