"""Groups whose episodes branch: some begin inside of others, and play only what comes after.

    members from the beginning --> turns are chosen --> from each, episodes that go on --> (again, by rounds)

A branch is a trajectory of its own: what it shares with its origin it heard, token by token as it was, and
the actions and rewards from there on are its own. So an engine that keeps what it computed, and a learner
that packs a group as a tree, compute what is shared once, and every action is trained once. Where a branch
began stands in its `info`, under "branch" (`forge_train.trajectory.Branch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from forge_train.config import BRANCHED, BranchingConfig, Config
from forge_train.play.branch_points import Point, choose
from forge_train.play.episode import Player, gather, play, same_opening
from forge_train.play.moments import Moment, WatchedPlayer, WatchedSeat
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.trajectory import Branch, Trajectory, branch_of


@runtime_checkable
class Growing(Protocol):
    """Where members of a group sit, of which there may be more than was said."""

    def more(self, count: int) -> None:
        """So many members come yet."""
        ...


@dataclass(frozen=True, slots=True)
class Forking:
    """How the groups of a run branch."""

    advantage: str
    """The estimator they are played for: it decides what is chosen."""
    config: BranchingConfig


@dataclass(frozen=True, slots=True)
class _Start:
    """An episode that is to be played."""

    branch: Branch
    seed: int
    """The policy's."""
    world_seed: int
    after: Moment | None = None


class _Played:
    """An episode that was played, and the moments it can be taken back to."""

    def __init__(self, start: _Start, trajectory: Trajectory, moments: list[Moment]) -> None:
        self.start = start
        self.trajectory = trajectory
        self.moments = moments


async def play_branched(
    world: World,
    player: Player,
    task: str,
    *,
    forking: Forking,
    group: str,
    size: int,
    seed: int,
    deadline: float,
    turns: int = 0,
    limit: AbstractAsyncContextManager[Any] | None = None,
    ended: Callable[[], None] | None = None,
) -> list[Trajectory]:
    """Play `task` `size` times from its opening, and go on from some turns of what was played.

    As `play_group`, whose arguments these are; the members from the beginning come first, in order.
    `deadline` is that of each episode.
    """
    played: list[_Played] = []
    starts = [_Start(Branch(i, i), own := derive_seed(seed, i), own) for i in range(size)]
    done = 0

    def following() -> list[_Start]:
        return _following(played, forking, done, seed)

    while starts:
        round_ = _Round(world, player, task, forking, group, deadline, turns, limit, ended)
        starts = await round_.play(starts, played, following)
        done += 1
    members = [one.trajectory for one in played]
    same_opening(world, task, [t for t in members if branch_of(t, 0).root])
    return members


@dataclass(frozen=True, slots=True)
class _Round:
    """Episodes of a group that are played at once; the arguments of `play_branched`."""

    world: World
    player: Player
    task: str
    forking: Forking
    group: str
    deadline: float
    turns: int
    limit: AbstractAsyncContextManager[Any] | None
    ended: Callable[[], None] | None

    async def play(
        self, starts: list[_Start], played: list[_Played], following: Callable[[], list[_Start]]
    ) -> list[_Start]:
        """Play them all, put them in `played`, in order, and return what follows."""
        found: list[_Played | None] = [None] * len(starts)
        after: list[_Start] = []

        async def member(i: int) -> None:
            async with self.limit or nullcontext():
                found[i] = await self.one(starts[i])
                if all(found):  # nobody may look between the last of these and the next
                    played.extend(one for one in found if one is not None)
                    after.extend(following())
                    if isinstance(self.limit, Growing):
                        self.limit.more(len(after))
            if self.ended is not None:
                self.ended()

        await gather(member(i) for i in range(len(starts)))
        return after

    async def one(self, start: _Start) -> _Played:
        """One episode, from its beginning or from a moment."""
        after = start.after
        scene, conversation = (after.scene, after.conversation) if after else (None, None)
        seat = WatchedSeat(
            self.world, self.task, start.world_seed, after=scene, replay=self.forking.config.replay
        )
        watched = WatchedPlayer(self.player, conversation)
        trajectory = await play(
            self.world,
            watched,
            self.task,
            seed=start.seed,
            group=self.group,
            deadline=self.deadline,
            seat=seat,
            turns=max(self.turns - start.branch.turn, 0),
        )
        trajectory.info["branch"] = start.branch.as_info()
        broken = trajectory.ending in ("failed", "cancelled")
        moments = [] if broken else [Moment(*both) for both in zip(seat.scenes, watched.kept, strict=False)]
        return _Played(start, trajectory, moments)


def _following(played: list[_Played], forking: Forking, done: int, seed: int) -> list[_Start]:
    """What is played after `done` rounds: their turns are chosen from all that was played."""
    turns = {i: len(one.moments) for i, one in enumerate(played) if one.moments}
    trajectories = [one.trajectory for one in played]
    points = choose(forking.advantage, forking.config, trajectories, turns, done, seed)
    starts: list[_Start] = []
    for point in points:
        for k in range(point.first, point.first + point.count):
            number = len(played) + len(starts)
            starts.append(_start(played, point, k, number, forking, seed))
    return starts


def _start(played: list[_Played], point: Point, k: int, number: int, forking: Forking, seed: int) -> _Start:
    """The k-th episode that goes on from a point; its seed depends on the place, not on when it is played."""
    if point.member is None:
        own = derive_seed(seed, "anew", k)
        return _Start(Branch(number, number), own, own)
    origin = played[point.member]
    place = origin.start.branch
    turn = point.turn - place.turn
    branch = Branch(
        id=number,
        tree=place.tree,
        of=place.id,
        turn=point.turn,
        earned=place.earned + sum(origin.trajectory.rewards[:turn]),
        peer=forking.advantage == "branch" and forking.config.peers,
    )
    return _Start(
        branch,
        derive_seed(seed, "branch", place.id, point.turn, k),
        origin.start.world_seed,
        origin.moments[turn],
    )


def forking_of(config: Config) -> Forking | None:
    """How the groups of a run of `config` branch; None where they do not."""
    if config.algorithm.advantage not in BRANCHED:
        return None
    return Forking(config.algorithm.advantage, config.branching)


def group_deadline(forking: Forking | None, deadline: float) -> float:
    """Seconds that a group may take, each of whose episodes may take `deadline`: branches come later."""
    return deadline * (1 if forking is None else 1 + forking.config.rounds)


def refuse_unbranched(config: Config, worlds: Mapping[str, World]) -> None:
    """Raise ValueError for a world that cannot be taken back to an earlier turn, before anything is played.

    The first task of each is begun, snapshot and restored in another environment.
    """
    if forking_of(config) is None or config.branching.replay:
        return
    for setting in config.worlds:
        world = worlds[setting.label]
        reason = _why_not(world, world.tasks(setting.split, 1))
        if reason is not None:
            raise ValueError(
                f'algorithm.advantage = "{config.algorithm.advantage}": world {world.name} cannot be '
                f"snapshot ({reason}). Set branching.replay = true if it is a function of seed and actions, "
                'without a model or a clock in it; else use an advantage without branches, e.g. "turn_rloo"'
            )


def _why_not(world: World, tasks: Iterable[str]) -> str | None:
    """Why an episode of a world cannot be taken back; None where it can."""
    env, other = world.acquire(), world.acquire()
    try:
        if left_out := env.unwrapped.metadata.get("snapshot_leaves_out"):
            return f"its snapshot leaves out {left_out}"
        for task in tasks:
            start = world.start(task, 0)
            env.reset(**start)
            if not hasattr(env.unwrapped, "snapshot") or not hasattr(env.unwrapped, "restore"):
                return "it has no snapshot() and restore(bytes)"
            try:
                other.reset(**start)
                other.unwrapped.restore(bytes(env.unwrapped.snapshot()))  # type: ignore[attr-defined]
            except Exception as error:
                return f"{type(error).__name__}: {error}"
    finally:
        world.release(env)
        world.release(other)
    return None
