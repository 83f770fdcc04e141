"""How hard tasks are, by how often they were solved: measured before, and while a run goes on.

    passes.json (forge-train difficulty) --+
                                           +--> share of plays that solved a task --> which tasks are played
    groups that updates took --------------+

What is known for an update is what the updates before it took, whatever was played meanwhile: so a resumed
run, which reads it from its journal, draws the same tasks.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_train.config import CurriculumConfig
from forge_train.record.played import Played
from forge_train.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Plays:
    """How often a task was played, and solved.

    >>> Plays(8, 2, first=5).share, Plays(8, 2, first=5).solved_in(4), Plays(8, 2, first=5).solved_in(6)
    (0.25, False, True)
    """

    plays: int
    solved: int
    first: int | None = None
    """Plays before the first that solved it, counted in the order of repetitions; None where none did."""

    @property
    def share(self) -> float | None:
        """Of its plays that solved it; None where there are none."""
        return self.solved / self.plays if self.plays else None

    def solved_in(self, most: int) -> bool:
        """Whether one of the first `most` plays solved it."""
        return self.first is not None and self.first < most


class Difficulty:
    """Shares of solved plays by task, as they were known for each update."""

    def __init__(self, config: CurriculumConfig, before: Mapping[str, Mapping[str, Plays]]) -> None:
        """`before`: by world and task what was measured before the run."""
        self._config = config
        self._before = before
        self._taken: dict[int, list[Played]] = {}
        self._newest: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        """Of a task the groups that updates took, in order: update, plays, solved."""

    def learned(self, update: int, groups: Sequence[Played]) -> None:
        """What `update` took; one that is repeated takes the same, and counts once."""
        if self._taken.get(update) == list(groups):
            return
        last = all(update > before for before in self._taken)
        self._taken[update] = list(groups)
        self._newest = self._newest if last else {}
        for step in [update] if last else sorted(self._taken):
            for one in self._taken[step]:
                if one.plays:
                    row = self._newest.setdefault((one.world, one.task), [])
                    row.append((step, one.plays, one.solved))

    def share(self, world: str, task: str, known: int) -> float | None:
        """Share of a task's plays that solved it, by what updates before `known` took, or else before the
        run; None where it was never played."""
        if self._config.online:
            plays = solved = 0
            for step, n, c in reversed(self._newest.get((world, task), ())):
                if step < known and plays < self._config.window:
                    plays, solved = plays + n, solved + c
            if plays:
                return solved / plays
        found = self._before.get(world, {}).get(task)
        return found.share if found else None

    def fits(self, world: str, task: str, known: int) -> bool:
        """Whether a task's share lies in `rates`, neither always nor never solved; or is not known."""
        if self._config.rates is None:
            return True
        share = self.share(world, task, known)
        low, high = self._config.rates
        return share is None or (low <= share <= high and 0 < share < 1)

    def hard(self, world: str, task: str) -> bool:
        """Whether no play of the first few solved a task, and one of many did: GLM-4.5's second stage."""
        found = self._before.get(world, {}).get(task)
        few, many = self._config.hard
        return found is not None and not found.solved_in(few) and found.solved_in(many)

    def grown(self, world: str, tasks: Sequence[str], update: int, seed: int) -> list[str]:
        """The tasks of `update` in a set that grows: those solved before, then more of the others.

        Kimi-Dev (arXiv 2509.23045) app. C.1: `grow_by` more every `grow_every` updates, in an order that the
        seed decides. A task that was not measured counts as not solved.
        """
        config, known = self._config, self._before.get(world, {})
        begun = [t for t in tasks if t in known and known[t].solved_in(config.grow_from)]
        rest = sorted(set(tasks).difference(begun))
        random.Random(derive_seed(seed, "grow", world)).shuffle(rest)
        there = {*begun, *rest[: config.grow_by * (update // config.grow_every)]}
        return [t for t in tasks if t in there]


def read_passes(path: Path | str) -> dict[str, dict[str, Plays]]:
    """What `forge-train difficulty` measured, by world and task. Raises ValueError."""
    try:
        data = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        return {
            world: {task: Plays(**found) for task, found in tasks.items()}
            for world, tasks in data["worlds"].items()
        }
    except FileNotFoundError:
        raise ValueError(
            f"curriculum.passes = {str(path)!r}: no such file; forge-train difficulty writes it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"curriculum.passes = {str(path)!r} cannot be read ({type(error).__name__}: {error}); "
            "forge-train difficulty writes such files"
        ) from None


def as_passes(worlds: Mapping[str, Mapping[str, Plays]], **told: Any) -> str:
    """The text of a file that `read_passes` reads, with what else is to be told of it.

    >>> print(as_passes({"w": {"t": Plays(4, 1, 2)}}, by="gold"))
    {"by": "gold", "worlds": {
      "w": {
        "t": {"plays": 4, "solved": 1, "first": 2}
      }
    }}
    """
    told_first = "".join(f"{json.dumps(key)}: {json.dumps(value)}, " for key, value in told.items())
    tables = []
    for world, tasks in worlds.items():
        rows = [
            f'    {json.dumps(task)}: {{"plays": {one.plays}, "solved": {one.solved}, '
            f'"first": {json.dumps(one.first)}}}'
            for task, one in tasks.items()
        ]
        tables.append(f"  {json.dumps(world)}: {{\n" + ",\n".join(rows) + "\n  }")
    return "{" + told_first + '"worlds": {\n' + ",\n".join(tables) + "\n}}"
