"""Credit for single turns: exact in expectation where the policy chooses how long it plays."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import AlgorithmConfig
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.comparing import returns_to_go
from forge_train.learn.turn_credit import alike, anchors, gigpo, mt_grpo
from forge_train.trajectory import Segment, Trajectory

GO, STOP = 0.7, 0.3
"""Probabilities of going on and of stopping, the same at each of at most three turns."""
PLAIN = AlgorithmConfig(turn_gamma=1.0)


def episodes() -> list[tuple[float, list[int], Trajectory]]:
    """Every episode of a toy in which each turn may go on (1, earns 1 and costs 0.4 later) or stop (0)."""
    found = []
    for length in (1, 2, 3):
        for last in (0, 1):
            if last == 1 and length < 3:
                continue  # who goes on plays on, up to the third turn
            choices = [1] * (length - 1) + [last]
            rewards = [float(c) - 0.4 * (turn > 0) for turn, c in enumerate(choices)]
            chance = math.prod(GO if c else STOP for c in choices)
            found.append((chance, choices, Trajectory("g", rewards=rewards, outcome=rewards[-1])))
    return found


def slope(choice: int) -> float:
    """d log pi(choice) / d logit of going on."""
    return 1 - GO if choice else -GO


def truth() -> float:
    """Gradient of the expected return, from its definition."""
    return sum(
        chance * sum(map(slope, choices)) * trajectory.episode_return
        for chance, choices, trajectory in episodes()
    )


def expected(name: str, size: int = 3, **keys: object) -> float:
    """What an estimator gives on average over all groups of `size`, exactly."""
    config, total = PLAIN.model_copy(update=keys), 0.0
    for members in itertools.product(episodes(), repeat=size):
        rows = ESTIMATORS[name]([t for _, _, t in members], config)
        gradient = sum(
            a * slope(c) for (_, choices, _), row in zip(members, rows, strict=True)
            for a, c in zip(row, choices, strict=True)
        )  # fmt: skip
        total += math.prod(chance for chance, _, _ in members) * gradient / size
    return total


def test_turn_credit_is_unbiased_where_the_policy_chooses_when_to_stop():
    assert sum(chance for chance, _, _ in episodes()) == pytest.approx(1)
    assert abs(truth()) > 0.2
    assert expected("turn_rloo") == pytest.approx(truth(), abs=1e-12)
    assert expected("rloo") == pytest.approx(truth(), abs=1e-12)


def test_the_mean_over_those_still_playing_is_not():
    """What `mt_grpo` and its kind do with a turn's own reward; here by hand, without their deviation."""
    biased = 0.0
    for members in itertools.product(episodes(), repeat=3):
        chance = math.prod(c for c, _, _ in members)
        for turn in range(3):
            alive = [
                (choices[turn], sum(t.rewards[turn:])) for _, choices, t in members if turn < len(choices)
            ]
            mean = sum(g for _, g in alive) / max(len(alive), 1)
            scale = len(alive) / (len(alive) - 1) if len(alive) > 1 else 0.0
            biased += chance * sum(scale * (g - mean) * slope(c) for c, g in alive) / 3
    assert abs(biased - truth()) > 0.04


def variance(name: str) -> float:
    """Variance of the gradient of a group of three."""
    second = 0.0
    for members in itertools.product(episodes(), repeat=3):
        rows = ESTIMATORS[name]([t for _, _, t in members], PLAIN)
        gradient = sum(
            a * slope(c) for (_, choices, _), row in zip(members, rows, strict=True)
            for a, c in zip(row, choices, strict=True)
        )  # fmt: skip
        second += math.prod(chance for chance, _, _ in members) * (gradient / 3) ** 2
    return second - truth() ** 2


def test_turn_credit_varies_less_than_credit_by_episode():
    assert variance("turn_rloo") < 0.5 * variance("rloo")


REWARDS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=4)


@given(st.lists(REWARDS, min_size=2, max_size=5))
def test_turn_rloo_by_its_definition(group):
    members = [Trajectory("g", rewards=row) for row in group]
    rows = ESTIMATORS["turn_rloo"](members, PLAIN.model_copy(update={"turn_gamma": 0.9}))
    size = max(sum(map(abs, row)) for row in group)
    for i, row in enumerate(rows):
        for turn, advantage in enumerate(row):
            to_go = [sum(0.9 ** (k - turn) * r for k, r in enumerate(other) if k >= turn) for other in group]
            others = to_go[:i] + to_go[i + 1 :]
            assert advantage == pytest.approx(to_go[i] - sum(others) / len(others), abs=1e-5 * size + 1e-9)


@given(st.lists(st.tuples(st.floats(-1, 1, width=32)), min_size=2, max_size=5))
def test_with_one_turn_it_is_rloo(group):
    members = [Trajectory("g", rewards=list(row)) for row in group]
    assert ESTIMATORS["turn_rloo"](members, PLAIN) == ESTIMATORS["rloo"](members, PLAIN)


@given(st.lists(REWARDS, min_size=2, max_size=5))
def test_marshal_has_mean_0_over_all_turns(group):
    rows = ESTIMATORS["marshal"]([Trajectory("g", rewards=row) for row in group], PLAIN)
    assert math.fsum(a for row in rows for a in row) == pytest.approx(0, abs=1e-6)


# -- states that are the same --------------------------------------------------------------------------


def test_an_anchor_is_what_was_said_last_or_all_that_was_said():
    s = Segment()
    s.hear([1, 2])
    s.act([7], [-1.0], action=0)
    s.hear([3])
    s.act([8, 9], [-1.0] * 2, action=1)
    trajectory = Trajectory("g", segments=[s], rewards=[0.0, 1.0])
    assert anchors(trajectory, whole=False) == [(1, 2), (3,)]
    assert anchors(trajectory, whole=True) == [(1, 2), (1, 2, 7, 3)]


@given(st.lists(st.lists(st.integers(0, 2), max_size=4).map(tuple), max_size=8))
def test_every_state_is_in_exactly_one_group(states):
    for similarity in (1.0, 0.8):
        groups = alike(states, similarity)
        assert sorted(n for group in groups for n in group) == list(range(len(states)))
        if similarity == 1.0:
            assert len(groups) == len(set(states))


def test_without_shared_states_gigpo_is_grpo():
    members = []
    for n, earned in enumerate((1.0, 0.0, 0.5)):
        s = Segment()
        s.hear([n])
        s.act([7], [-1.0], action=0)
        members.append(Trajectory("g", segments=[s], rewards=[earned]))
    assert ESTIMATORS["gigpo"](members, PLAIN) == ESTIMATORS["grpo"](members, PLAIN)


# -- golden numbers ------------------------------------------------------------------------------------


def test_mt_grpo_normalises_each_signal_by_itself():
    a = 0.865875  # 0.5 / (sqrt(1/3) + 1e-4)
    members = [
        Trajectory("g", rewards=[0.0, o], turn_rewards=[own, 0.0], outcome=o)
        for own, o in ((1.0, 1.0), (0.0, 1.0), (0.0, 0.0), (1.0, 0.0))
    ]
    found = mt_grpo(members)
    assert [row[0] for row in found] == pytest.approx([1.731751, 0.0, -1.731751, 0.0], abs=1e-5)
    assert [row[1] for row in found] == pytest.approx([a, a, -a, -a], abs=1e-5)


def test_gigpo_discounts_what_follows_a_step():
    assert returns_to_go([0.0, 0.0, 10.0], 0.95) == pytest.approx([9.025, 9.5, 10.0])


def test_gigpo_compares_turns_that_began_in_the_same_state():
    def member(first: int, second: int, earned: float) -> Trajectory:
        s = Segment()
        s.hear([first])
        s.act([50], [-1.0], action=0)
        s.hear([second])
        s.act([51], [-1.0], action=1)
        return Trajectory("g", segments=[s], rewards=[0.0, earned])

    config = AlgorithmConfig(divide=False, turn_gamma=0.5)
    rows = gigpo([member(1, 2, 1.0), member(1, 3, 0.0), member(1, 2, 0.5)], config)
    # Episodes: 0.5, -0.5, 0. The first turns share their state: to go 0.5, 0, 0.25, mean 0.25. Of the second
    # turns, the one that answers 3 is alone; the others earned 1 and 0.5.
    assert rows[0] == pytest.approx([0.5 + 0.25, 0.5 + 0.25])
    assert rows[1] == pytest.approx([-0.5 - 0.25, -0.5])
    assert rows[2] == pytest.approx([0.0 + 0.0, 0.0 - 0.25])
