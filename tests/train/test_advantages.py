"""Advantages: statistics over one group's returns, one number per action."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.learn.advantages import ESTIMATORS, count_actions, dr_grpo, grpo, rloo
from forge_train.trajectory import Segment, Trajectory

RETURNS = st.floats(-10, 10)
GROUPS = st.lists(st.tuples(RETURNS, st.integers(1, 5)), min_size=2, max_size=8)


def play(total: float, turns: int = 1) -> Trajectory:
    return Trajectory("g", rewards=[0.0] * (turns - 1) + [total])


def firsts(advantages: list[list[float]]) -> list[float]:
    return [row[0] for row in advantages]


@pytest.mark.parametrize("name", ESTIMATORS)
class TestEveryEstimator:
    @given(GROUPS)
    def test_gives_each_action_of_a_trajectory_the_same_number(self, name, members):
        group = [play(total, turns) for total, turns in members]
        for trajectory, row in zip(group, ESTIMATORS[name](group), strict=True):
            assert len(row) == len(trajectory.rewards)
            assert len(set(row)) == 1

    @given(RETURNS, st.integers(1, 8))
    def test_equal_returns_are_exactly_zero(self, name, total, size):
        assert firsts(ESTIMATORS[name]([play(total)] * size)) == [0.0] * size

    @pytest.mark.parametrize(
        "rewards",
        [
            [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.1, 0.3]],
            [[0.3 * 0.1, 0.3 * 0.2, -0.3], [-0.3, 0.3 * 0.1, 0.3 * 0.2]],
            [[0.1, 0.2, -0.3], [0.0, 0.0, 0.0]],
            [[float(np.float32(0.1)), float(np.float32(0.7))], [float(np.float32(0.8)), 0.0]],
        ],
        ids=["another order", "another turn", "to nothing", "single precision"],
    )
    def test_returns_that_differ_by_rounding_are_equal(self, name, rewards):
        group = [Trajectory("g", rewards=row) for row in rewards]
        assert not any(any(row) for row in ESTIMATORS[name](group))

    def test_a_small_difference_is_one(self, name):
        assert all(firsts(ESTIMATORS[name]([play(1.0), play(1.0 + 1e-4)])))
        assert all(firsts(ESTIMATORS[name]([play(1e-12), play(2e-12)]))), "small is not equal"

    def test_a_lone_member_has_nothing_to_be_compared_with(self, name):
        assert ESTIMATORS[name]([play(1.0, turns=3)]) == [[0.0] * 3]

    def test_an_empty_group_is_empty(self, name):
        assert ESTIMATORS[name]([]) == []

    @given(GROUPS, st.randoms(use_true_random=False))
    def test_order_of_the_group_does_not_matter(self, name, members, rng):
        group = [play(total) for total, _ in members]
        order = rng.sample(range(len(group)), len(group))
        before = firsts(ESTIMATORS[name](group))
        after = firsts(ESTIMATORS[name]([group[i] for i in order]))
        assert after == pytest.approx([before[i] for i in order], abs=1e-6)

    @given(GROUPS)
    def test_advantages_of_a_group_sum_to_zero(self, name, members):
        group = [play(total) for total, _ in members]
        assert math.fsum(firsts(ESTIMATORS[name](group))) == pytest.approx(0, abs=1e-6)

    @given(GROUPS)
    def test_turns_do_not_enter_the_statistics(self, name, members):
        long = [play(total, turns) for total, turns in members]
        short = [play(total) for total, _ in members]
        assert firsts(ESTIMATORS[name](long)) == firsts(ESTIMATORS[name](short))


@given(GROUPS)
def test_rloo_leaves_the_member_out_of_its_baseline(members):
    totals = [total for total, _ in members]
    others = [math.fsum(totals[:i] + totals[i + 1 :]) / (len(totals) - 1) for i in range(len(totals))]
    expected = [total - mean for total, mean in zip(totals, others, strict=True)]
    assert firsts(rloo([play(t) for t in totals])) == pytest.approx(expected, abs=1e-9)


@given(GROUPS)
def test_rloo_is_the_centred_return_scaled(members):
    group = [play(total) for total, _ in members]
    scale = len(group) / (len(group) - 1)
    assert firsts(rloo(group)) == pytest.approx([scale * a for a in firsts(dr_grpo(group))], abs=1e-9)


@given(GROUPS, st.floats(0.5, 20))
def test_grpo_forgets_the_scale_of_rewards(members, scale):
    group = firsts(grpo([play(total) for total, _ in members]))
    scaled = firsts(grpo([play(scale * total) for total, _ in members]))
    if max(t for t, _ in members) - min(t for t, _ in members) > 0.1:
        assert scaled == pytest.approx(group, abs=1e-3)


def test_turn_rewards_are_part_of_the_return_once():
    group = [Trajectory("g", rewards=[0.5, 0.5]), Trajectory("g", rewards=[0.0])]
    assert dr_grpo(group) == [[0.5, 0.5], [-0.5]]


def test_an_action_without_a_reward_still_counts():
    segment = Segment()
    segment.hear([1])
    segment.act([2], [-1.0], action=0)
    segment.act([3], [-1.0], action=1)
    assert count_actions(Trajectory("g", segments=[segment], rewards=[0.0])) == 2
    assert count_actions(Trajectory("g")) == 0
