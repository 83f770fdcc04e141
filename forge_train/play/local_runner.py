"""The runner that plays groups here, on the loop that asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from forge_train.play.branching import Forking, play_branched
from forge_train.play.curriculum import Draw
from forge_train.play.episode import Player, TokenPlayer, play_group
from forge_train.play.grounded import Grounding
from forge_train.play.limits import limited
from forge_train.play.waves import Waves
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.trajectory import GROUNDED, Trajectory


class LocalRunner:
    """Plays the group of any draw, here."""

    def __init__(
        self,
        worlds: Mapping[str, World],
        player: Player,
        *,
        seed: int,
        group_size: int,
        deadline: float,
        in_flight: int,
        ended: Callable[[], None] | None = None,
        waves: Waves | None = None,
        forking: Forking | None = None,
        grounding: Grounding | None = None,
    ) -> None:
        """`seed` is the run's, `deadline` in seconds an episode; at most `in_flight` episodes at a time.

        `ended` is called whenever one has ended. With `waves` all that are begun play at once, in waves.
        With `forking` some begin inside of others; with `grounding` a group of which nothing is kept has
        further members.
        """
        self.worlds = worlds
        self.player = player
        self.seed = seed
        self.group_size = group_size
        self.deadline = deadline
        self._ended = ended
        self._waves = waves
        self._play = partial(play_branched, forking=forking) if forking else play_group
        self._grounding = grounding
        self._limit = asyncio.Semaphore(in_flight)

    async def __call__(self, draw: Draw) -> list[Trajectory]:
        """Play the group of `draw`; its seeds depend on the run's and on its name, on nothing else."""
        player, seed = limited(self.player, draw), group_seed(self.seed, draw)
        group = await self._members(self._play, player, draw, self.group_size, seed)
        if self._grounding and self._grounding.wanted(group):
            assert isinstance(player, TokenPlayer), "the config refuses [agent] with it"
            other, count = self._grounding.player(player), self._grounding.plays
            more = await self._members(play_group, other, draw, count, derive_seed(seed, GROUNDED))
            for one in more:
                one.info[GROUNDED] = True
            group += more
        for one in group:
            one.temperature = draw.temperature
        return group

    async def _members(
        self,
        play: Callable[..., Awaitable[list[Trajectory]]],
        player: Player,
        draw: Draw,
        size: int,
        seed: int,
    ) -> list[Trajectory]:
        """So many plays of a draw."""
        return await play(
            self.worlds[draw.world],
            player,
            draw.task,
            group=draw.group,
            size=size,
            seed=seed,
            deadline=self.deadline,
            turns=draw.turns,
            limit=self._waves.seat() if self._waves else self._limit,
            ended=self._ended,
        )


def group_seed(seed: int, draw: Draw) -> int:
    """Seed of the group of `draw` in the run of `seed`."""
    return derive_seed(seed, "group", draw.group)
