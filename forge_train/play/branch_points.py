"""From which turns of a group's episodes the policy goes on again: chosen once the episodes are over.

Every choice is a function of the group's seed and of what was played, so that a group that is played again
branches in the same places. What may be chosen are turns in which an action was asked for; a member that a
machine failed has none.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from forge_train.config import BranchingConfig
from forge_train.learn.comparing import anchors, earned_the_same, equal, size_of
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory, branch_of


@dataclass(frozen=True, slots=True)
class Point:
    """A turn to go on from; `member` by its place in the group, None for an episode from the beginning."""

    member: int | None
    turn: int
    """Counted from the beginning of the episode, the turns before a branch included."""
    count: int = 1
    """How many go on from there."""
    first: int = 0
    """Of these, the number of the first: a turn may be chosen more than once."""


Turns = Mapping[int, int]
"""How many turns of each member, by its place in the group, can be come back to."""


def choose(
    advantage: str, config: BranchingConfig, group: Sequence[Trajectory], turns: Turns, done: int, seed: int
) -> list[Point]:
    """The points of the round after `done` rounds of branches; none when the group is complete."""
    if done >= (config.rounds if advantage == "tree_grpo" else 1):
        return []
    draw = random.Random(derive_seed(seed, "branches", done))
    match advantage:
        case "branch":
            return _affordable(_wanted(config, group, turns, draw), config, group, draw)
        case "arpo":
            return _where_entropy_rose(config, group, turns, draw)
        case _:
            return _nodes(config, group, turns, draw)


def surprise(trajectory: Trajectory, action: int, first: int) -> list[float]:
    """-log p of the first tokens of an action, in nats: their mean is an estimate of the policy's entropy."""
    found = [
        -logprob
        for segment in trajectory.segments
        for logprob, written in zip(segment.logprobs, segment.action, strict=True)
        if written == action
    ]
    return found[:first]


def _wanted(
    config: BranchingConfig, group: Sequence[Trajectory], turns: Turns, draw: random.Random
) -> Iterator[Point]:
    """Turns after the first of each episode, as `branching.at` says."""
    if config.at == "undecided":
        yield from _undecided(config, group, turns)
        return
    best = _best(group, turns)
    for member, trajectory in enumerate(group):
        later = range(1, turns.get(member, 0))
        match config.at:
            case "every":
                chosen = list(later)
            case "random":
                chosen = [turn for turn in later if draw.random() < config.chance]
            case "entropy":
                unsure = {turn: _mean(surprise(trajectory, turn, config.first_tokens)) for turn in later}
                chosen = sorted(sorted(later, key=lambda turn: -unsure[turn])[: config.points])
            case "best":
                chosen = list(later) if member in best else []
        for turn in chosen:
            yield Point(member, turn, config.continuations)


def _undecided(config: BranchingConfig, group: Sequence[Trajectory], turns: Turns) -> Iterator[Point]:
    """Later states that several members came through, and from which they earned unequally, each once."""
    came: dict[tuple[int, ...], list[Point]] = {}
    for member, count in sorted(turns.items()):
        for turn, state in enumerate(anchors(group[member], whole=True)[:count]):
            if turn:
                came.setdefault(state, []).append(Point(member, turn, config.continuations))
    for points in came.values():
        earned = [math.fsum(group[p.member].rewards[p.turn :]) for p in points if p.member is not None]
        if not equal(earned, max(size_of(group[p.member]) for p in points if p.member is not None)):
            yield points[0]


def _best(group: Sequence[Trajectory], turns: Turns) -> set[int]:
    """The members that earned most; none where all earned the same."""
    members = [group[member] for member in turns]
    if not members or earned_the_same(members):
        return set()
    most = max(t.episode_return for t in members)
    return {member for member in turns if equal([group[member].episode_return, most], size_of(group[member]))}


def _affordable(
    wanted: Iterator[Point], config: BranchingConfig, group: Sequence[Trajectory], draw: random.Random
) -> list[Point]:
    """As many of them as the bounds allow, drawn at random."""
    points = list(wanted)
    if not config.episodes and not config.tokens:
        return points
    order = draw.sample(range(len(points)), len(points))
    episodes, tokens, kept = config.episodes or float("inf"), config.tokens or float("inf"), []
    for i in order:
        point = points[i]
        assert point.member is not None
        cost = point.count * _said_from(group[point.member], point.turn)
        if point.count <= episodes and cost <= tokens:
            episodes, tokens = episodes - point.count, tokens - cost
            kept.append(i)
    return [points[i] for i in sorted(kept)]


def _said_from(trajectory: Trajectory, turn: int) -> int:
    """Tokens that the policy said from a turn on."""
    return sum(1 for segment in trajectory.segments for action in segment.action if action >= turn)


def _where_entropy_rose(
    config: BranchingConfig, group: Sequence[Trajectory], turns: Turns, draw: random.Random
) -> list[Point]:
    """ARPO (arXiv 2507.19849): branch at turn t with probability alpha + beta dH_t, until all have a place.

    dH_t = (H_t - H_0) / `rise_unit`, H the sum over the first tokens, as in its code. Turns are gone through
    in the order in which they came, and each may start up to `continuations`; what is left starts anew.
    """
    left, points = config.episodes, []
    for turn in range(1, max(turns.values(), default=0)):
        for member, count in sorted(turns.items()):
            if turn >= count:
                continue
            begun, now = (sum(surprise(group[member], t, config.first_tokens)) for t in (0, turn))
            chance = config.chance + config.rise * (now - begun) / config.rise_unit
            starts = sum(draw.random() < chance for _ in range(min(config.continuations, left)))
            left -= starts
            if starts:
                points.append(Point(member, turn, starts))
    return [*points, *([Point(None, 0, left)] if left else [])]


def _nodes(
    config: BranchingConfig, group: Sequence[Trajectory], turns: Turns, draw: random.Random
) -> list[Point]:
    """Tree-GRPO (arXiv 2509.21240) §3.2: of each tree N of the nodes it has, drawn with replacement.

    A node is a state in which an action was taken. That in which a branch began is its origin's.
    """
    trees: dict[int, list[tuple[int, int]]] = {}
    for member, trajectory in enumerate(group):
        place = branch_of(trajectory, member)
        own = range(place.turn, place.turn + turns.get(member, 0))
        trees.setdefault(place.tree, []).extend(
            (member, turn) for turn in own if place.root or turn != own[0]
        )
    points = []
    for nodes in trees.values():
        started = _counted(group)
        for member, turn in draw.choices(nodes, k=config.points) if nodes else ():
            key = (branch_of(group[member], member).id, turn)
            points.append(Point(member, turn, 1, started.get(key, 0)))
            started[key] = started.get(key, 0) + 1
    return points


def _counted(group: Sequence[Trajectory]) -> dict[tuple[int, int], int]:
    """How many branches began at each turn so far."""
    found: dict[tuple[int, int], int] = {}
    for i, trajectory in enumerate(group):
        place = branch_of(trajectory, i)
        if not place.root:
            key = (place.of, place.turn)
            found[key] = found.get(key, 0) + 1
    return found


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0
