"""A target under audit: its processes, where episodes begin, and how one gets around in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from forge_envs.audit.child import Child, Died, Hung, Parent, Raised
from forge_envs.audit.play import Act, Reply, Sitting
from forge_envs.audit.target import Target

Place = tuple[int, str | None]
"""Where an episode begins: its seed, and its task in targets that have tasks."""
NOT_AN_ANSWER = (Raised, Hung, Died)


@dataclass(frozen=True)
class Budget:
    """How much is tried."""

    seed: int = 0
    timeout: float = 20.0
    """Seconds that a target has for one answer."""
    sessions: int = 8
    """How many sessions are opened at once or one after the other."""
    places: int = 3
    """Episodes that are played in each way."""
    turns: int = 12
    """Actions of one episode, at most."""


class Rig:
    """One target and its processes. Use it in `with`: none of them is left."""

    def __init__(self, target: Target, budget: Budget) -> None:
        """Start it and begin one episode. Raises NotStarted, or what the first session raises."""
        self.target, self.budget = target, budget
        self._parents: dict[int, Parent] = {}
        self._all: list[Child] = []
        self._main = self.fresh()
        try:
            self.about: dict[str, Any] = self._main.ask("describe")
            self.ids: list[str] = self._main.ask("tasks", n=budget.places)
        except BaseException:
            self.close()
            raise

    def fresh(self, hashing: int = 0) -> Child:
        """A process of its own, in which nothing has happened yet. Raises NotStarted."""
        if hashing not in self._parents:
            self._parents[hashing] = self.target.load(self.budget.timeout, hashing)
        child = self._parents[hashing].fork()
        self._all.append(child)
        return child

    def errors(self) -> str:
        """The end of what the target wrote to standard error."""
        return "\n".join(parent.errors() for parent in self._parents.values())

    @property
    def main(self) -> Child:
        """The process that checks share, new if the last one died."""
        try:
            self._main.ask("usage")
        except NOT_AN_ANSWER:
            self._main.close()
            self._main = self.fresh()
        return self._main

    @contextlib.contextmanager
    def apart(self, hashing: int = 0) -> Iterator[Child]:
        """A fresh process that ends with the block."""
        child = self.fresh(hashing)
        try:
            yield child
        finally:
            child.close()
            self._all.remove(child)

    @contextlib.contextmanager
    def session(self, child: Child | None = None) -> Iterator[Sitting]:
        """A session that is closed with the block, so that a target with one slot has it free again."""
        session = Sitting(child or self.main)
        try:
            yield session
        finally:
            with contextlib.suppress(*NOT_AN_ANSWER):
                session.close()

    def close(self) -> None:
        """End every process."""
        for child in [*self._all, *self._parents.values()]:
            child.close()
        self._all.clear()
        self._parents.clear()

    # -- where and how -----------------------------------------------------------------------------

    @property
    def places(self) -> list[Place]:
        """Where the episodes begin that are played."""
        seed = self.budget.seed
        if self.ids:
            return [(seed, task) for task in self.ids]
        return [(seed + i, None) for i in range(self.budget.places)]

    def gold(self, place: Place) -> list[Act] | None:
        """What solves an episode, where anybody knows."""
        seed, task = place
        texts = self.main.ask("gold", task=task, seed=seed)
        return None if texts is None else [Act(say=text) for text in texts]

    def wander(self, session: Sitting, salt: int = 0) -> list[Act]:
        """Actions that get around: what the target samples, with the first half of gold where it is known."""
        sampled = [session.sample(self.budget.seed + salt + i) for i in range(self.budget.turns)]
        usable = [act for act in sampled if act.say is not None or act.act is not None]
        gold = self.gold((session.began[0] or 0, session.began[1])) or []
        return [*gold[: len(gold) // 2], *usable][: self.budget.turns]

    @cached_property
    def twins(self) -> list[tuple[Sitting, Sitting]]:
        """Every place played alike in two fresh processes that hash differently."""
        with self.apart(0) as one, self.apart(1) as two:
            pairs = []
            for seed, task in self.places:
                with self.session(one) as first:
                    first.reset(seed, task)
                    actions = self.wander(first)
                    first.play(actions)
                with self.session(two) as second:
                    second.reset(seed, task)
                    second.play(actions)
                pairs.append((first, second))
        return pairs


def differ(one: list[Reply], two: list[Reply]) -> int | None:
    """The first turn in which two plays are not the same."""
    for i, (a, b) in enumerate(zip(one, two, strict=False)):
        if not a.same(b):
            return i
    return None if len(one) == len(two) else min(len(one), len(two))
