"""Who has the memory of the GPUs: engine and learner each their own, or both the same ones in turn.

    rollout.placement = "separate"    nothing is to be done
    rollout.placement = "colocated"   learn: the engine goes to sleep, the learner takes its moments back
                                      play:  the learner puts them away; loading weights wakes the engine

Colocated training is synchronous: with `max_lag = 0` nobody plays while the learner works. NOT RUN YET on a
GPU: what is tested is the order of everything, and real servers on a CPU, which do all but free memory.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, runtime_checkable

from forge_train.config import Config
from forge_train.engine import Engine


@runtime_checkable
class Sleeper(Protocol):
    """An engine that can give its memory back."""

    async def sleep(self) -> None:
        """Give it back until `weights_changed`; raises EngineFailed when that cannot be. Twice is fine."""
        ...


class Parks(Protocol):
    """Whoever holds moments: a learner, a critic."""

    def park(self) -> None:
        """Keep the optimizer's state in main memory while nothing is learned."""
        ...

    def unpark(self) -> None:
        """Take it back to where the weights are."""
        ...


class Placement(Protocol):
    """Told at every change between playing and learning."""

    async def learn(self) -> None:
        """The learner works next, and nobody plays."""
        ...

    async def play(self) -> None:
        """The engine works next: it is about to be given weights."""
        ...


class Separate:
    """Each has memory of its own."""

    async def learn(self) -> None:
        """Nothing is in the way."""

    async def play(self) -> None:
        """Nothing is in the way."""


class Colocated:
    """`engine` and `parks` have the same memory, one after the other."""

    def __init__(self, engine: Sleeper, *parks: Parks) -> None:
        self._engine = engine
        self._parks = parks

    async def learn(self) -> None:
        """The engine goes to sleep, then moments come back."""
        await self._engine.sleep()
        for holder in self._parks:
            await asyncio.to_thread(holder.unpark)

    async def play(self) -> None:
        """Moments go; `weights_changed` wakes the engine."""
        for holder in self._parks:
            await asyncio.to_thread(holder.park)


def placement_of(config: Config, engine: Engine, *learners: Parks | None) -> Placement:
    """The placement that `config` asks for, of `engine` and whoever of `learners` is there."""
    if config.rollout.placement == "separate":
        return Separate()
    assert isinstance(engine, Sleeper), "the config refuses engines that do not sleep"
    return Colocated(engine, *(learner for learner in learners if learner is not None))
