"""Credit from branches: what else the policy did in the same state, and what came of it.

One group in; for each trajectory, one advantage per action out, as in `forge_train.learn.advantages`. Some of
the group began inside of another (`forge_train.play.branching`): they hold its tokens up to there as heard,
and the actions and rewards from there on as their own. So every action stands once, and is trained once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from forge_train.config import AlgorithmConfig
from forge_train.learn.comparing import (
    DEFAULTS,
    ROUNDING,
    anchors,
    by_turn,
    centred,
    count_actions,
    normalised,
    returns_to_go,
    size_of,
)
from forge_train.trajectory import Branch, Trajectory, branch_of

Group = Sequence[Trajectory]


def branch(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """What followed an action, minus what followed others in its very state.

    At a chosen turn t, in state s_t, K episodes go on with actions of their own. With G the discounted return
    from t on:

    siblings: A_k = G_k - mean of the other siblings' G, one left out as in `rloo` (which it is, of the group
    that begins in s_t). What the origin did there is one more sibling where the turn was chosen without a
    look at it (`Branch.peer`). Given s_t all are drawn alike, so E[A_k | s_t, a_k] = Q(s_t, a_k) - V(s_t).

    values: from a chosen turn t to the next one t', A = r_t + ... + gamma^(t'-t) V(s_t') - V(s_t), V(s) the
    mean G of those that went on from s: VinePPO (arXiv 2410.01679) Eq. 7 where every turn is chosen. V(s_t')
    knows nothing of the action but its state, and V(s_t) nothing at all, so this is unbiased as well.

    states: as values, of all that came through the same state, see `_by_state`.

    The first turn is shared by the whole group: its members are each other's siblings there, and V is the
    mean of the others. A comparison holds until the next one, for nothing in it depends on the actions after
    its turn but what came of them; so without branches this is `rloo`. Which actions of the branches
    themselves are trained is said by `branch_train`.
    """
    places = [branch_of(t, i) for i, t in enumerate(group)]
    size = max(map(size_of, group), default=0.0)
    if config.branch_form == "states":
        return _by_state(group, places, config)
    rows = [[0.0] * count_actions(t) for t in group]
    roots = [i for i, place in enumerate(places) if place.root]
    for i, advantage in zip(
        roots, _left_out([_followed(group[i], config) for i in roots], size), strict=True
    ):
        rows[i] = [advantage] * len(rows[i])
    sets = _sets(places)
    at = {place.id: i for i, place in enumerate(places)}
    train = config.branch_train
    if train == "auto":
        train = "none" if config.branch_form == "values" else "all"
    for (of, turn), members in sorted(sets.items()):
        returns = [_followed(group[i], config) for i in members]
        origin = at.get(of) if config.branch_form == "siblings" and places[members[0]].peer else None
        if origin is not None:
            returns.append(_followed(group[origin], config, turn))
        compared = _left_out(returns, size)
        for i, advantage in zip(members, compared, strict=False):
            kept = {"none": 0, "first": 1, "all": len(rows[i])}[train]
            rows[i][:kept] = [advantage] * kept
        if origin is not None:
            rows[origin][turn:] = [compared[-1]] * (len(rows[origin]) - turn)
    if config.branch_form == "values":
        for i in roots:
            value = {t: _mean(_followed(group[j], config) for j in m) for (of, t), m in sets.items()
                     if of == places[i].id}  # fmt: skip
            others = [_followed(group[j], config) for j in roots if j != i]
            if others:
                rows[i] = _between_values(group[i], {0: _mean(others)} | value, size, config)
    return rows


def _by_state(group: Group, places: Sequence[Branch], config: AlgorithmConfig) -> list[list[float]]:
    """From one value to the next, each the mean of all that came through that state.

    A_{i,t} = r_{i,t} + gamma V(s_{i,t+1}) - V_{-i}(s_{i,t}). V(s) is the mean of what followed at all members
    whose tokens so far are the same, whether they began there or came through, and V_{-i} leaves i out.
    Members of a group come through the same states by themselves as long as they say the same, so that the
    comparison costs no sampling; branches join it. Unbiased: V(s_{t+1}) knows of the action only the state it
    led to, V_{-i}(s_t) nothing. A turn in a state in which nobody else was has no credit: that weighs states,
    and leaves out what is mostly noise, the words after a mistake that nobody else made. Where turns were
    chosen by what followed (`Branch.peer`), those that went on are compared among themselves.
    """
    size = max(map(size_of, group), default=0.0)
    gamma, kept = config.turn_gamma, {"none": 0, "first": 1}.get(config.branch_train)
    rewards = [by_turn(t.rewards, t) for t in group]
    to_go = [returns_to_go(row, gamma) for row in rewards]
    rows = [[0.0] * len(row) for row in rewards]
    states = [
        [(place.root or place.peer, state) for state in anchors(t, whole=True)]
        for t, place in zip(group, places, strict=True)
    ]
    followed: dict[tuple[bool, tuple[int, ...]], list[float]] = {}
    for row, came in zip(to_go, states, strict=True):
        for later, state in zip(row, came, strict=True):
            followed.setdefault(state, []).append(later)
    for i, came in enumerate(states):
        for turn, state in enumerate(came[: None if places[i].root else kept]):
            here = followed[state]
            if len(here) == 1:
                continue
            others = (math.fsum(here) - to_go[i][turn]) / (len(here) - 1)
            then = _mean(followed[came[turn + 1]]) if turn + 1 < len(came) else 0.0
            difference = rewards[i][turn] + gamma * then - others
            rows[i][turn] = 0.0 if abs(difference) <= ROUNDING * size else difference
    return rows


def _sets(places: Sequence[Branch]) -> dict[tuple[int, int], list[int]]:
    """Who went on from the same turn: by origin and turn, their places in the group."""
    sets: dict[tuple[int, int], list[int]] = {}
    for i, place in enumerate(places):
        if not place.root:
            sets.setdefault((place.of, place.turn), []).append(i)
    return sets


def _left_out(returns: Sequence[float], size: float) -> list[float]:
    """Each minus the mean of the others; 0 where there are none, or all are equal."""
    scale = len(returns) / (len(returns) - 1) if len(returns) > 1 else 0.0
    return [scale * c for c in centred(returns, size)]


def _followed(trajectory: Trajectory, config: AlgorithmConfig, turn: int = 0) -> float:
    """Discounted return of a trajectory's own turns from `turn` on."""
    returns = returns_to_go(by_turn(trajectory.rewards, trajectory)[turn:], config.turn_gamma)
    return returns[0] if returns else 0.0


def _between_values(
    trajectory: Trajectory, value: dict[int, float], size: float, config: AlgorithmConfig
) -> list[float]:
    """Differences of the values at an episode's chosen turns, for each of its actions."""
    rewards, chosen, gamma = by_turn(trajectory.rewards, trajectory), sorted(value), config.turn_gamma
    row: list[float] = []
    for begin, end in zip(chosen, [*chosen[1:], len(rewards)], strict=True):
        earned = math.fsum(gamma**k * r for k, r in enumerate(rewards[begin:end]))
        difference = earned + gamma ** (end - begin) * value.get(end, 0.0) - value[begin]
        row += [0.0 if abs(difference) <= ROUNDING * size else difference] * (end - begin)
    return row


def arpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """GRPO over all episodes of a group, those that began inside of others included: ARPO.

    A_i = (R_i - mean(R)) / (std(R) + 1e-6), R the return of a whole episode, what it shares included. An
    action that d episodes share has the mean of their advantages ("hard"), or their sum
    (`algorithm.shared_prefix`), which is what "soft" adds up to, the paper's default: there each trains its
    copy. arXiv 2507.19849 §3.2.
    """
    places = [branch_of(t, i) for i, t in enumerate(group)]
    return _to_prefixes(group, places, _normalised(group, places, config), config)


def tree_grpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """Compared within its tree, and with all: Tree-GRPO (arXiv 2509.21240) Eq. 5 and 6.

    A_i = (R_i - mean_tree(R)) / std_tree(R) + (R_i - mean(R)) / std(R), R the return of a whole episode. A
    tree of one episode has nothing to compare: its first part is 0 (in the authors' code it would be R_i
    itself). Shared actions as in `arpo`; the paper trains each copy.
    """
    places = [branch_of(t, i) for i, t in enumerate(group)]
    leaves = _normalised(group, places, config)
    for tree in dict.fromkeys(place.tree for place in places):
        own = [i for i, place in enumerate(places) if place.tree == tree]
        found = _normalised([group[i] for i in own], [places[i] for i in own], config)
        for i, advantage in zip(own, found, strict=True):
            leaves[i] += advantage
    return _to_prefixes(group, places, leaves, config)


def _normalised(group: Group, places: Sequence[Branch], config: AlgorithmConfig) -> list[float]:
    """GRPO's advantages of whole episodes, what was earned before a branch included."""
    returns = [place.earned + t.episode_return for place, t in zip(places, group, strict=True)]
    size = max((abs(place.earned) + size_of(t) for place, t in zip(places, group, strict=True)), default=0.0)
    return normalised(returns, size, config.deviation)


def _to_prefixes(
    group: Group, places: Sequence[Branch], leaves: Sequence[float], config: AlgorithmConfig
) -> list[list[float]]:
    """From one advantage an episode to one an action: of all episodes that the action is part of."""
    begun: dict[int, list[int]] = {}
    for i, place in enumerate(places):
        begun.setdefault(place.of, []).append(i)

    def below(i: int, turn: int) -> list[float]:
        """Advantages of the episodes that share the turn-th action of the i-th."""
        later = [j for j in begun.get(places[i].id, ()) if places[j].turn > turn]
        return [leaves[i], *(a for j in later for a in below(j, places[j].turn - 1))]

    rows = []
    for i, trajectory in enumerate(group):
        first = places[i].turn
        shared = [below(i, turn) for turn in range(first, first + count_actions(trajectory))]
        total = [math.fsum(numbers) for numbers in shared]
        mean = config.shared_prefix == "mean"
        rows.append([t / len(numbers) if mean else t for t, numbers in zip(total, shared, strict=True)])
    return rows


def _mean(numbers: Iterable[float]) -> float:
    found = list(numbers)
    return math.fsum(found) / len(found)
