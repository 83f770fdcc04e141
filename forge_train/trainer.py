"""The algorithm, top to bottom.

    tasks -> admission -> play_group -> finished groups, oldest first -> advantages -> update
               ^                                                                          |
               +------------------ version <- engine <- weights <-------------------------+

Synchronous training is the case in which admission lets no group start before the weights it will train
are in place. Everything here runs on one event loop: groups play while others wait, an update holds all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_train.advantages import ESTIMATORS
from forge_train.config import GROUP_ESTIMATORS, AlgorithmConfig
from forge_train.curriculum import Curriculum
from forge_train.engine import Engine
from forge_train.learner import Learner
from forge_train.rollout import Player, derive_seed, play_group
from forge_train.trajectory import Ending, Trajectory
from forge_train.world import World

Metrics = dict[str, Any]

OUT_OF_ROOM: frozenset[Ending] = frozenset({"context", "tokens"})


class IdentityError(RuntimeError):
    """Engine and learner disagree about the same weights: what is learned would be wrong."""


class BugError(RuntimeError):
    """Worlds raised more often than the run tolerates; the text carries the first traceback."""


@dataclass(slots=True)
class Trainer:
    """One policy learning in some worlds. `step()` is one turn of the loop above."""

    worlds: dict[str, World]
    player: Player
    engine: Engine
    learner: Learner
    algorithm: AlgorithmConfig
    curriculum: Curriculum
    seed: int
    group_size: int
    groups: int
    """Groups of one update."""
    temperature: float
    """What the player samples at, so that the learner scores the same distribution."""
    deadline: float
    """Seconds one episode may take."""
    limit: asyncio.Semaphore
    """Episodes in flight."""
    identity_tolerance: float
    """Largest mean |learner logprob - engine logprob| on tokens sampled by the learner's own weights."""
    max_bugs: int = 0
    dispatched: int = 0
    """Groups started since the run began; a resumed run starts where its checkpoint stood."""
    playing: deque[asyncio.Task[list[Trajectory]]] = field(default_factory=deque)
    bugs: int = 0

    async def step(self, step: int) -> tuple[Metrics, list[list[Trajectory]], list[list[list[float]]]]:
        """Play, learn, hand the new weights to the engine.

        Returns metrics, the groups that were played, and their advantages (per group, member, action;
        an empty list for a member that was not trained on).
        """
        began = time.perf_counter()
        self.admit(step)
        groups = [await self.playing.popleft() for _ in range(self.groups)]
        played = time.perf_counter()

        self.check_bugs(groups)
        credit = [self.credit(group) for group in groups]
        trained = [(t, a) for group, rows in zip(groups, credit, strict=True)
                   for t, a in zip(group, rows, strict=True) if a]  # fmt: skip
        version = self.learner.version
        trajectories = [t for t, _ in trained]
        stats = self.learner.update(
            trajectories, [a for _, a in trained], self.algorithm, temperature=self.temperature
        )
        self.check_identity(stats, trajectories, version)
        updated = time.perf_counter()

        await self.engine.weights_changed(self.learner.version)
        ended = time.perf_counter()
        metrics = {
            **summary(groups),
            **stats,
            "version": version,
            "trained": len(trained),
            "seconds": {
                "generate": played - began,
                "update": updated - played,
                "weights": ended - updated,
                "total": ended - began,
            },
        }
        return metrics, groups, credit

    def admit(self, step: int) -> None:
        """Start groups: those that the update of `step` consumes, no more."""
        while self.dispatched < (step + 1) * self.groups:
            draw = self.curriculum.draw(self.dispatched)
            play = play_group(
                self.worlds[draw.world],
                self.player,
                draw.task,
                group=draw.group,
                size=self.group_size,
                seed=derive_seed(self.seed, "group", draw.group),
                deadline=self.deadline,
                limit=self.limit,
            )
            self.playing.append(asyncio.create_task(play, name=draw.group))
            self.dispatched += 1

    def credit(self, group: Sequence[Trajectory]) -> list[list[float]]:
        """Advantages of each member by action; empty for members that are not trained on.

        Only members with a verdict are compared: a failed machine is no reward of 0, and an episode that
        ran out of room counts only when the config says so. A group of which fewer than two survive has
        nothing to compare and is left out.
        """
        endings = OUT_OF_ROOM if self.algorithm.train_out_of_tokens else frozenset()
        members = [i for i, t in enumerate(group) if t.trainable or t.ending in endings]
        rows: list[list[float]] = [[] for _ in group]
        if len(members) < 2 and self.algorithm.advantage in GROUP_ESTIMATORS:
            return rows
        estimated = ESTIMATORS[self.algorithm.advantage]([group[i] for i in members])
        for i, advantages in zip(members, estimated, strict=True):
            rows[i] = advantages
        return rows

    def check_bugs(self, groups: Sequence[Sequence[Trajectory]]) -> None:
        """Stop the run when worlds raised more often than `max_bugs`."""
        errors = [t.info["error"] for group in groups for t in group if "error" in t.info]
        bugs = [error for error in errors if error["kind"] == "bug"]
        self.bugs += len(bugs)
        if self.bugs > self.max_bugs and bugs:
            raise BugError(
                f"{self.bugs} episodes failed by a bug in a world and run.max_bugs = {self.max_bugs}; "
                f"the first of this step:\n{bugs[0].get('traceback', bugs[0])}"
            )

    def check_identity(self, stats: Metrics, trained: Sequence[Trajectory], version: int) -> None:
        """Engine and learner must give tokens sampled by the same weights the same logprobs."""
        on_policy = all(v == version for t in trained for v in t.versions)
        gap = stats.get("logprob_gap", 0.0)
        if on_policy and not gap <= self.identity_tolerance:  # NaN is no agreement
            raise IdentityError(
                f"engine and learner disagree on the logprobs of version {version}: mean gap {gap:.2g}, "
                f"tolerance {self.identity_tolerance:.2g}. The engine may hold stale weights or a stale "
                "cache, or samples from another distribution (temperature, top_p, top_k)"
            )

    async def close(self) -> None:
        """Stop what is in flight."""
        for task in self.playing:
            task.cancel()
        await asyncio.gather(*self.playing, return_exceptions=True)
        self.playing.clear()


def summary(groups: Sequence[Sequence[Trajectory]]) -> Metrics:
    """What was played: means over trajectories with a verdict, endings over all of them."""
    everyone = [t for group in groups for t in group]
    judged = [t for t in everyone if t.trainable or t.ending in OUT_OF_ROOM]
    by_world: dict[str, list[Trajectory]] = {}
    for t in judged:
        by_world.setdefault(t.info["world"], []).append(t)
    flat = [{t.episode_return for t in g if t.trainable} for g in groups]
    return {
        "success": _mean([t.outcome or 0.0 for t in judged]),
        "return": _mean([t.episode_return for t in judged]),
        "turn_reward": _mean([sum(t.turn_rewards) for t in judged]),
        "turns": _mean([float(len(t.versions)) for t in judged]),
        "tokens_per_episode": _mean([float(t.sampled) for t in judged]),
        "sampled_tokens": sum(t.sampled for t in everyone),
        "episodes": len(everyone),
        "zero_groups": sum(len(returns) < 2 for returns in flat),
        "endings": dict(Counter(t.ending for t in everyone)),
        "worlds": {name: {"success": _mean([t.outcome or 0.0 for t in ts])} for name, ts in by_world.items()},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
