"""Credit for single turns without a critic: what followed a turn, compared with what followed at the others'.

One group in; for each trajectory, one advantage per action out, as in `forge_train.learn.advantages`. What a
turn earned is `Trajectory.rewards` (the outcome in the last, and `turn_weight` times the turn reward in
each), or, where a paper keeps them apart, `turn_rewards` and `outcome`. Discount: `algorithm.turn_gamma`.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from forge_train.config import AlgorithmConfig
from forge_train.learn.comparing import (
    DEFAULTS,
    anchors,
    broadcast,
    by_turn,
    centred,
    normalised,
    returns_to_go,
    size_of,
)
from forge_train.trajectory import Trajectory

Group = Sequence[Trajectory]
MT_GRPO_FLOOR = 1e-4
"""What MT-GRPO's code adds to a standard deviation."""


def turn_rloo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """What was earned from a turn on, minus the mean of the others at the same turn; they earn 0 once they
    ended.

    A_{i,t} = G_{i,t} - 1/(n-1) sum_{j != i} G_{j,t}, G_{i,t} = sum_{k >= t} gamma^{k-t} r_{i,k}, and G_{j,t}
    = 0 for t beyond the end of j. Unbiased, for the baseline of a turn does not depend on what its own member
    did: the mean over those still playing does (who plays on is the policy's choice), and its gradient of the
    choice between going on and stopping is exactly 0. Half the variance of a baseline by trajectory where
    rewards come early: what was earned before a turn is not counted for it.
    """
    size = max(map(size_of, group), default=0.0)
    followed = [returns_to_go(by_turn(t.rewards, t), config.turn_gamma) for t in group]
    rows: list[list[float]] = [[] for _ in group]
    scale = len(group) / (len(group) - 1) if len(group) > 1 else 0.0
    for turn in range(max(map(len, followed), default=0)):
        column = [row[turn] if turn < len(row) else 0.0 for row in followed]
        for i, advantage in enumerate(centred(column, size)):
            if turn < len(followed[i]):
                rows[i].append(scale * advantage)
    return rows


def mt_grpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """The turn's own reward and the outcome, each normalised over the group, then added: MT-GRPO.

    A_t = A^I_t + alpha A^O, and A^O alone for the last turn, which the outcome follows at once; alpha is
    `algorithm.outcome_weight`. A^I_t compares the members that took a turn t. arXiv 2505.11821. Made for a
    fixed number of turns: where the policy chooses how many it takes, the mean by turn index is biased, and
    `turn_rloo` is not.
    """
    outcomes = [t.outcome or 0.0 for t in group]
    most = max(map(abs, outcomes), default=0.0)
    by_outcome = normalised(outcomes, most, config.deviation, MT_GRPO_FLOOR)
    rows = broadcast(group, by_outcome)
    own = [by_turn(t.turn_rewards, t) for t in group]
    for turn in range(max(map(len, rows), default=0)):
        there = [i for i, row in enumerate(rows) if turn < len(row) - 1]
        earned = [own[i][turn] for i in there]
        signal = normalised(earned, max(map(abs, earned), default=0.0), config.deviation, MT_GRPO_FLOOR)
        for i, advantage in zip(there, signal, strict=True):
            rows[i][turn] = advantage + config.outcome_weight * by_outcome[i]
    return rows


def marshal(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """What was earned from a turn on, normalised over all turns of the group: MARSHAL (arXiv 2510.15414).

    A_{i,k} = (R_{i,k} - mean(R)) / std(R), R_{i,k} = sum_{k' >= k} r_{i,k'}: sum, then normalise. Equals GAE
    with gamma = lambda = 1 and the mean in a critic's place.
    """
    followed = [returns_to_go(by_turn(t.rewards, t), 1.0) for t in group]
    size = max(map(size_of, group), default=0.0)
    flat = normalised([g for row in followed for g in row], size, config.deviation)
    found = iter(flat)
    return [[next(found) for _ in row] for row in followed]


def gigpo(group: Group, config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """The episode's comparison, plus that of the turns that began in the same state: GiGPO (arXiv
    2505.10978).

    A_t = A^E + omega A^S_t: A^E = (R - mean(R)) / F over the group, A^S_t the same for R_t = sum_{k >= t}
    gamma^{k-t} r_k over all turns of the group that share an anchor state. A turn that shares its state with
    no other has A^S = 0. omega is `algorithm.turn_share`; F is the standard deviation, or 1 without
    `algorithm.divide`. The state is what the world said last (the paper's), or all that was said
    (`algorithm.anchor`): the same words after another past need not be the same state.
    """
    size = max(map(size_of, group), default=0.0)

    def compared(numbers: Sequence[float]) -> list[float]:
        return normalised(numbers, size, config.deviation) if config.divide else centred(numbers, size)

    rows = broadcast(group, compared([t.episode_return for t in group]))
    followed = [returns_to_go(by_turn(t.rewards, t), config.turn_gamma) for t in group]
    places = [(i, turn) for i, row in enumerate(followed) for turn in range(len(row))]
    states = [state for t in group for state in anchors(t, whole=config.anchor == "history")]
    for together in alike(states, config.anchor_similarity):
        at = [places[n] for n in together]
        for (i, turn), advantage in zip(at, compared([followed[i][turn] for i, turn in at]), strict=True):
            rows[i][turn] += config.turn_share * advantage
    return rows


def alike(states: Sequence[tuple[int, ...]], similarity: float) -> list[list[int]]:
    """Indices of states that are the same, in groups; or, below 1, that resemble the first of theirs so much.

    Resemblance is `difflib`'s ratio, as in GiGPO's code (0.95 there, 0.9 in the paper's search tasks).

    >>> alike([(1, 2), (3,), (1, 2)], 1.0)
    [[0, 2], [1]]
    >>> alike([(1, 2, 3, 4), (1, 2, 3, 5), (9,)], 0.7)
    [[0, 1], [2]]
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for n, state in enumerate(states):
        first = state
        if similarity < 1 and state not in groups:
            first = next((known for known in groups if _resemblance(known, state, similarity)), state)
        groups.setdefault(first, []).append(n)
    return list(groups.values())


def _resemblance(one: tuple[int, ...], other: tuple[int, ...], least: float) -> bool:
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return matcher.real_quick_ratio() >= least and matcher.quick_ratio() >= least and matcher.ratio() >= least
