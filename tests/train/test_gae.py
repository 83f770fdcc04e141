"""Advantages from values: the recursion, what a step is, what comes after the last."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import CRITIC_ESTIMATORS as NAMES
from forge_train.config import AlgorithmConfig
from forge_train.learn.gae import CRITIC_ESTIMATORS, Decay, Episode, Targets, bilevel_gae, gae, targets_of
from forge_train.trajectory import Segment, TokenAdvantages, Trajectory, by_action

NUMBERS = st.floats(-5, 5)
UNIT = st.floats(0, 1)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12)
PLAIN = AlgorithmConfig(advantage="gae", across="none")


def played(*turns: tuple[int, float], heard: int = 2, segments: int = 1) -> Trajectory:
    """A trajectory of (tokens, reward) turns with `heard` tokens of the world before each."""
    trajectory = Trajectory("g", segments=[Segment() for _ in range(segments)])
    for action, (tokens, reward) in enumerate(turns):
        segment = trajectory.segments[action * segments // len(turns)]
        segment.hear([1] * heard)
        segment.act([2] * tokens, [-1.0] * tokens, action)
        trajectory.rewards.append(reward)
        trajectory.versions.append(0)
    return trajectory


def one(trajectory: Trajectory, values: list[float], **algorithm: object) -> Targets:
    config = AlgorithmConfig.model_validate({"advantage": "gae", "across": "none"} | algorithm)
    return targets_of([trajectory], [values], config)[0]


# --- the recursion ---------------------------------------------------------------------------------


def test_golden_turns() -> None:
    ours = gae([0, 0, 1], [0.2, 0.4, 0.6, 0.0], 0.99, 0.9)
    assert ours == pytest.approx([0.686406, 0.5504, 0.4], abs=1e-6)


def test_golden_bilevel() -> None:
    values = [i / 10 for i in range(1, 11)]
    episode = Episode([*values, 0.0], rewards=[1.0, 1.0], ends=[5, 10])
    expected = [1.85, 1.75, 1.65, 1.55, 1.45, 0.4, 0.3, 0.2, 0.1, 0]
    for turn_lam in (1.0, 0.3):  # the second turn's advantage is 0, so that nothing of it reaches the first
        ours = bilevel_gae(episode, Decay(gamma=1, lam=1, turn_gamma=0.95, turn_lam=turn_lam))
        assert ours == pytest.approx(expected, abs=1e-9)


@given(ROWS, NUMBERS, UNIT, UNIT)
def test_is_the_discounted_sum_of_surprises(rows, last, gamma, lam):
    rewards, values = [r for r, _ in rows], [*(v for _, v in rows), last]
    surprises = [r + gamma * values[t + 1] - values[t] for t, r in enumerate(rewards)]
    expected = [
        math.fsum((gamma * lam) ** k * surprise for k, surprise in enumerate(surprises[t:]))
        for t in range(len(rewards))
    ]
    assert gae(rewards, values, gamma, lam) == pytest.approx(expected, abs=1e-9)


@given(ROWS, NUMBERS)
def test_with_lambda_one_it_is_what_came_less_what_was_expected(rows, last):
    rewards, values = [r for r, _ in rows], [*(v for _, v in rows), last]
    to_go = list(accumulate([*reversed(rewards)], initial=last))[:0:-1]
    expected = [total - value for total, value in zip(to_go, values, strict=False)]
    assert gae(rewards, values, 1.0, 1.0) == pytest.approx(expected, abs=1e-9)


@given(ROWS, NUMBERS, UNIT)
def test_with_lambda_zero_it_is_one_surprise(rows, last, gamma):
    rewards, values = [r for r, _ in rows], [*(v for _, v in rows), last]
    expected = [r + gamma * values[t + 1] - values[t] for t, r in enumerate(rewards)]
    assert gae(rewards, values, gamma, 0.0) == pytest.approx(expected, abs=1e-9)


# --- what a step is --------------------------------------------------------------------------------


def test_a_registry_and_the_config_know_the_same_names() -> None:
    assert set(CRITIC_ESTIMATORS) == NAMES


def test_tokens_earn_their_turns_reward_at_the_last_one() -> None:
    estimated = one(played((2, 0.5), (3, 1.0)), [0.0] * 6, gae_lambda=0.0)
    assert isinstance(estimated.advantages, TokenAdvantages)
    assert estimated.advantages == [0.0, 0.5, 0.0, 0.0, 1.0]
    assert estimated.at == [0, 1, 2, 3, 4]


def test_turns_stand_on_the_value_before_their_first_token() -> None:
    estimated = one(
        played((2, 0.0), (3, 1.0)), [0.1, 9.0, 0.4, 9.0, 9.0, 0.0],
        advantage="turn_gae", turn_gamma=1.0, turn_lambda=0.0,
    )  # fmt: skip
    assert not isinstance(estimated.advantages, TokenAdvantages)
    assert estimated.advantages == pytest.approx([0.3, 0.6])
    assert estimated.at == [0, 2] and estimated.values == [0.1, 0.4]
    assert estimated.returns == pytest.approx([1.0, 1.0]), "the critic's lambda is its own"


@pytest.mark.parametrize("name", sorted(NAMES))
@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4), NUMBERS), min_size=1, max_size=5), st.data())
def test_what_the_world_says_and_where_history_was_cut_are_no_steps(name, turns, data):
    total = sum(tokens for tokens, _ in turns)
    values = data.draw(st.lists(NUMBERS, min_size=total + 1, max_size=total + 1))
    plain = one(played(*turns), values, advantage=name)
    talkative = one(played(*turns, heard=7), values, advantage=name)
    in_pieces = one(played(*turns, segments=min(2, len(turns))), values, advantage=name)
    assert plain == talkative == in_pieces


@pytest.mark.parametrize("name", ["turn_gae", "bilevel_gae"])
def test_a_turn_that_earned_exactly_nothing_is_a_turn(name: str) -> None:
    """An implementation that looks for rewards to find where turns end would see one turn, not three."""
    turns, values = [(1, 0.0), (1, 0.0), (1, 1.0)], [0.2, 0.4, 0.6, 0.0]
    nothing = one(played(*turns), values, advantage=name, turn_gamma=0.99, turn_lambda=0.9)
    assert nothing.advantages == pytest.approx([0.686406, 0.5504, 0.4], abs=1e-6)
    little = one(
        played(*[(n, r or 1e-9) for n, r in turns]), values,
        advantage=name, turn_gamma=0.99, turn_lambda=0.9,
    )  # fmt: skip
    assert little.advantages == pytest.approx(nothing.advantages, abs=1e-6)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_only_the_last_value_says_whether_the_episode_went_on(name: str) -> None:
    values = [0.2, 0.4, 0.6]
    over = one(played((1, 0.0), (2, 0.0)), [*values, 0.0], advantage=name, turn_gamma=1.0, turn_lambda=1.0)
    cut = one(played((1, 0.0), (2, 0.0)), [*values, 0.8], advantage=name, turn_gamma=1.0, turn_lambda=1.0)
    assert [c - o for c, o in zip(cut.advantages, over.advantages, strict=True)] == pytest.approx(
        [0.8] * len(over.advantages)
    )
    assert [c - o for c, o in zip(cut.returns, over.returns, strict=True)] == pytest.approx(
        [0.8] * len(over.returns)
    )


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_critic_that_is_right_finds_nothing_better_than_expected(name: str) -> None:
    trajectory = played((2, 0.25), (3, 0.75))
    values = {
        "gae": [1.0, 1.0, 0.75, 0.75, 0.75, 0.0],
        "turn_gae": [1.0, 5.0, 0.75, 5.0, 5.0, 0.0],
        "bilevel_gae": [1.0, 1.0, 0.75, 0.75, 0.75, 0.0],
    }[name]
    estimated = one(trajectory, values, advantage=name, turn_gamma=1.0)
    assert estimated.advantages == pytest.approx([0.0] * len(estimated.advantages))
    assert estimated.returns == pytest.approx(estimated.values)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_an_episode_without_a_word_teaches_nothing(name: str) -> None:
    assert one(Trajectory("g"), [0.0], advantage=name) == Targets([], [], [], [])


# --- the step as a whole ---------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 4), NUMBERS), min_size=1, max_size=3), min_size=1, max_size=4)
)
def test_whitening_is_over_all_steps_and_leaves_returns_alone(plays):
    trajectories = [played(*turns) for turns in plays]
    values = [[0.5] * (t.sampled + 1) for t in trajectories]
    plain = targets_of(trajectories, values, PLAIN)
    white = targets_of(trajectories, values, PLAIN.model_copy(update={"across": "whiten"}))
    assert [e.returns for e in white] == [e.returns for e in plain]
    assert all(isinstance(e.advantages, TokenAdvantages) for e in white)
    before, after = ([a for e in es for a in e.advantages] for es in (plain, white))
    assert math.fsum(after) / len(after) == pytest.approx(0, abs=1e-6)
    if max(before) - min(before) > 0.1:
        assert math.fsum(a * a for a in after) / len(after) == pytest.approx(1, abs=1e-4)


def test_the_critics_lambda_is_apart_from_the_policys() -> None:
    values, config = [0.1, 0.2, 0.3, 0.0], PLAIN.model_copy(update={"gae_lambda": 0.0})
    trajectory = played((3, 1.0))
    (decoupled,) = targets_of([trajectory], [values], config, returns_lambda=1.0)
    (coupled,) = targets_of([trajectory], [values], config, returns_lambda=0.0)
    assert decoupled.returns == pytest.approx([1.0, 1.0, 1.0])
    assert coupled.returns == pytest.approx([0.2, 0.3, 1.0])
    assert decoupled.advantages == coupled.advantages == pytest.approx([0.1, 0.1, 0.7])


def test_what_does_not_fit_is_refused() -> None:
    trajectory = played((2, 0.0), (1, 1.0))
    with pytest.raises(ValueError, match="3 values for 3 tokens"):
        targets_of([trajectory], [[0.0] * 3], PLAIN)
    with pytest.raises(ValueError, match="1 lists of values for 2 trajectories"):
        targets_of([trajectory, trajectory], [[0.0] * 4], PLAIN)
    trajectory.rewards.append(1.0)
    with pytest.raises(ValueError, match="3 rewards for 2 actions"):
        targets_of([trajectory], [[0.0] * 4], PLAIN)
    torn = played((1, 0.0), (1, 0.0))
    torn.segments[0].act([2], [-1.0], 0)
    with pytest.raises(ValueError, match="action 0 stands where action 2 is due"):
        targets_of([torn], [[0.0] * 4], PLAIN)


def test_by_action_is_the_mean_over_an_actions_tokens() -> None:
    trajectory = played((2, 0.0), (1, 1.0))
    assert by_action(trajectory, TokenAdvantages([1.0, 3.0, -1.0])) == [2.0, -1.0]
    assert by_action(trajectory, [5.0, 6.0]) == [5.0, 6.0]


def test_advantages_that_differ_by_rounding_whiten_to_nothing() -> None:
    returns = (0.6, 0.1 + 0.2 + 0.3)
    group = [Trajectory("g", [Segment([1, 2], [0.0, -1.0], [-1, 0])], rewards=[r]) for r in returns]
    algorithm = AlgorithmConfig(advantage="gae")
    found = targets_of(group, [[0.0, 0.0], [0.0, 0.0]], algorithm)
    assert [list(e.advantages) for e in found] == [[0.0], [0.0]]
