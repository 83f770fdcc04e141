"""Advantages: statistics over one group's returns, one number per action."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import AlgorithmConfig
from forge_train.learn import advantages
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.comparing import count_actions
from forge_train.trajectory import Segment, Trajectory

RETURNS = st.floats(-10, 10)
GROUPS = st.lists(st.tuples(RETURNS, st.integers(1, 5)), min_size=2, max_size=8)


def play(total: float, turns: int = 1) -> Trajectory:
    return Trajectory("g", rewards=[0.0] * (turns - 1) + [total], outcome=total)


PLAIN = AlgorithmConfig(best_of=2, turn_gamma=1.0)
BY_TURN = ("turn_rloo", "mt_grpo", "marshal", "gigpo")
"""Tell the turns of a trajectory apart."""
ALONE = ("reinforce++", "kept")
"""Compare nothing within a group."""
COMPARING = [name for name in ESTIMATORS if name not in ALONE]
EVEN = [name for name in COMPARING if name not in (*BY_TURN, "opo")]
CENTRED = [name for name in EVEN if name != "max_k"]


def estimate(name: str, group: list[Trajectory], **keys: object) -> list[list[float]]:
    return ESTIMATORS[name](group, PLAIN.model_copy(update=keys))


def grpo(group: list[Trajectory]) -> list[list[float]]:
    return estimate("grpo", group)


def dr_grpo(group: list[Trajectory]) -> list[list[float]]:
    return estimate("dr_grpo", group)


def rloo(group: list[Trajectory]) -> list[list[float]]:
    return estimate("rloo", group)


def firsts(advantages: list[list[float]]) -> list[float]:
    return [row[0] for row in advantages]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_gives_each_action_a_number(name):
    group = [play(1.0, 3), play(0.0, 1), play(0.5, 2)]
    assert [len(row) for row in estimate(name, group)] == [3, 1, 2]
    assert estimate(name, []) == []


@pytest.mark.parametrize("name", EVEN)
class TestEveryEstimatorOfWholeEpisodes:
    @given(GROUPS)
    def test_gives_each_action_of_a_trajectory_the_same_number(self, name, members):
        group = [play(total, turns) for total, turns in members]
        for trajectory, row in zip(group, estimate(name, group), strict=True):
            assert len(row) == len(trajectory.rewards)
            assert len(set(row)) == 1

    @given(RETURNS, st.integers(1, 8))
    def test_equal_returns_are_exactly_zero(self, name, total, size):
        assert firsts(estimate(name, [play(total)] * size)) == [0.0] * size

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
        group = [Trajectory("g", rewards=row, outcome=sum(row)) for row in rewards]
        assert not any(any(row) for row in estimate(name, group))

    def test_a_small_difference_is_one(self, name):
        assert any(firsts(estimate(name, [play(1.0), play(1.0 + 1e-4)])))
        assert any(firsts(estimate(name, [play(1e-12), play(2e-12)]))), "small is not equal"

    def test_a_lone_member_has_nothing_to_be_compared_with(self, name):
        assert estimate(name, [play(1.0, turns=3)]) == [[0.0] * 3]

    @given(GROUPS, st.randoms(use_true_random=False))
    def test_order_of_the_group_does_not_matter(self, name, members, rng):
        group = [play(total) for total, _ in members]
        order = rng.sample(range(len(group)), len(group))
        before = firsts(estimate(name, group))
        after = firsts(estimate(name, [group[i] for i in order]))
        assert after == pytest.approx([before[i] for i in order], abs=1e-6)

    @given(GROUPS)
    def test_turns_do_not_enter_the_statistics(self, name, members):
        long = [play(total, turns) for total, turns in members]
        short = [play(total) for total, _ in members]
        assert firsts(estimate(name, long)) == firsts(estimate(name, short))


@pytest.mark.parametrize("name", CENTRED)
@given(GROUPS)
def test_advantages_of_a_group_sum_to_zero(name, members):
    group = [play(total) for total, _ in members]
    assert math.fsum(firsts(estimate(name, group))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", BY_TURN)
@given(st.lists(st.tuples(RETURNS, RETURNS), min_size=1, max_size=3), st.integers(1, 5))
def test_members_that_earned_the_same_at_every_turn_teach_nothing(name, turns, size):
    rewards, own = [r for r, _ in turns], [o for _, o in turns]
    group = [Trajectory("g", rewards=rewards, turn_rewards=own, outcome=rewards[-1])] * size
    rows = estimate(name, group)
    if name in ("marshal", "gigpo"):  # they compare the turns of one with each other, too
        assert rows == [rows[0]] * size
    else:
        assert not any(any(row) for row in rows)


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


# -- other baselines -----------------------------------------------------------------------------------


def test_the_biased_deviation():
    rows = estimate("grpo", [play(r) for r in (1.0, 0.0, 0.0, 1.0)], deviation="biased")
    assert firsts(rows) == pytest.approx([0.999998, -0.999998, -0.999998, 0.999998], abs=1e-6)


def spoken(total: float, tokens: int) -> Trajectory:
    segment = Segment()
    segment.act([1] * tokens, [-1.0] * tokens, action=0)
    return Trajectory("g", segments=[segment], rewards=[total])


def test_opo_weighs_by_length():
    group = [spoken(1.0, 10), spoken(0.0, 30)]  # baseline 10 / 40
    assert firsts(estimate("opo", group)) == pytest.approx([0.75, -0.25])


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=6), st.integers(2, 3))
def test_max_k_is_the_mean_over_all_draws_of_others(totals, k):
    expected = []
    for i, total in enumerate(totals):
        draws = list(itertools.combinations(totals[:i] + totals[i + 1 :], k - 1))
        expected.append(k * sum(max(*draw, total) - max(draw) for draw in draws) / len(draws))
    if max(totals) - min(totals) > 1e-3:
        rows = estimate("max_k", [play(t) for t in totals], best_of=k)
        assert firsts(rows) == pytest.approx(expected, abs=1e-9)


def test_max_k_of_a_group_that_lost_members_is_the_best_of_those_left():
    group = [play(0.0), play(1.0), play(0.5)]
    assert estimate("max_k", group, best_of=5) == estimate("max_k", group, best_of=3)


def parted(outcome: float, **parts: float) -> Trajectory:
    return Trajectory("g", rewards=[outcome], outcome=outcome, info={"parts": parts})


def test_gdpo_normalises_each_part_by_itself():
    group = [parted(1.0, form=100.0), parted(0.0, form=100.0), parted(0.0), parted(1.0)]
    a = 0.866024
    assert firsts(estimate("gdpo", group)) == pytest.approx([2 * a, 0.0, -2 * a, 0.0], abs=1e-5)
    only = firsts(estimate("gdpo", group, parts={"outcome": 1.0, "form": 0.5}))
    assert only == pytest.approx([1.5 * a, -0.5 * a, -1.5 * a, 0.5 * a], abs=1e-5)


# -- a whole update ------------------------------------------------------------------------------------


@given(st.lists(GROUPS, min_size=1, max_size=4), st.sampled_from(["scale", "whiten"]))
def test_across_an_update_each_trajectory_counts_once(groups, how):
    rows = [[[total] * turns for total, turns in group] for group in groups]
    once = [[[total] for total, _ in group] for group in groups]
    config = PLAIN.model_copy(update={"across": how})
    assert [firsts(g) for g in advantages.across(rows, config)] == [
        pytest.approx(firsts(g), abs=1e-9) for g in advantages.across(once, config)
    ]


def test_whitened_advantages_have_mean_0_and_deviation_1():
    config = PLAIN.model_copy(update={"advantage": "reinforce++"})
    (found,) = advantages.across([[[3.0], [1.0], [], [2.0, 2.0]]], config)
    assert [row[0] if row else None for row in found] == pytest.approx(
        [1.224745, -1.224745, None, 0.0], abs=1e-5
    )
    assert found[2] == []


def test_an_update_in_which_all_is_equal_is_not_divided_by_nothing():
    for how in ("scale", "whiten"):
        config = PLAIN.model_copy(update={"across": how})
        found = advantages.across([[[0.0], [0.0]], [[0.0]]], config)
        assert found == [[[0.0], [0.0]], [[0.0]]]
