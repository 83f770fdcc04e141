"""What is added to rewards: DAPO's and k1.5's golden numbers, and what must not change with it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import AlgorithmConfig, ShapingConfig
from forge_train.learn.advantages import gdpo, grpo
from forge_train.learn.shaping import (
    OF_MACHINES,
    length_rewards,
    length_weight,
    parts_told,
    shaped,
    soft_overlong,
    turn_share,
)
from forge_train.trajectory import Ending, Segment, Trajectory

DAPO = ShapingConfig(overlong_limit=20480, overlong_buffer=4096)
ALL = ShapingConfig(
    overlong_limit=8, overlong_buffer=4, length_weight=0.5, turn_penalty=0.1, turns_free=1, turns_most=3,
    budget_penalty=0.25,
)  # fmt: skip


def episode(outcome: float | None, length: int, turns: int = 1, ending: Any = "terminated") -> Trajectory:
    segment = Segment()
    segment.hear([1])
    segment.act([2] * length, [-1.0] * length, 0)
    rewards = [0.0] * (turns - 1) + [outcome or 0.0]
    return Trajectory("g", [segment], rewards, [0.0] * turns, outcome, ending, [0] * turns)


def test_golden_4_overlong() -> None:
    lengths = [16000, 16384, 18432, 20480]
    assert [soft_overlong(n, 20480, 4096) for n in lengths] == [0, 0, -0.5, -1]
    group = shaped([episode(1.0, n) for n in lengths], DAPO)
    assert [t.rewards for t in group] == [[1.0], [1.0], [0.5], [0.0]]
    assert [t.info["parts"] for t in group] == [{"overlong": v} for v in (0.0, 0.0, -0.5, -1.0)]


def test_golden_5_length() -> None:
    assert length_rewards([100, 300, 500], [True, True, False]) == [0.5, 0.0, -0.5]
    group = [episode(1.0, 100), episode(1.0, 300), episode(0.0, 500)]
    shaped(group, ShapingConfig(length_weight=1.0))
    assert [t.info["parts"]["length_reward"] for t in group] == [0.5, 0.0, -0.5]
    assert length_rewards([7, 7], [True, False]) == [0.0, 0.0]
    assert length_rewards([100, 500], [False, True]) == [0.0, -0.5], "a failure is never rewarded"


LENGTHS = st.lists(st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=9)


@given(LENGTHS, st.randoms(use_true_random=False))
def test_length_rewards_do_not_depend_on_the_order_of_members(rows: Any, rng: Any) -> None:
    shuffled = rng.sample(rows, len(rows))
    one, other = (dict(zip(r, length_rewards(*map(list, zip(*r, strict=True))), strict=True))
                  for r in (rows, shuffled))  # fmt: skip
    assert one == other
    for (length, solved), earned in one.items():
        assert -0.5 <= earned <= (0.5 if solved else 0.0)
        assert all(earned >= e for (n, s), e in one.items() if s == solved and n > length)


@given(st.integers(0, 60), st.integers(1, 40), st.integers(1, 40))
def test_overlong_only_falls_and_by_no_more_than_one(length: int, limit: int, buffer: int) -> None:
    value = soft_overlong(length, max(limit, buffer), buffer)
    assert -1 <= soft_overlong(length + 1, max(limit, buffer), buffer) <= value <= 0


def test_solved_episodes_alone_lose_by_turns() -> None:
    config = ShapingConfig(turn_penalty=0.1, turns_free=80, turns_most=200)
    group = [episode(o, 1, n) for o, n in ((1.0, 80), (1.0, 140), (1.0, 300), (0.0, 200), (None, 300))]
    shaped(group, config)
    assert [t.episode_return for t in group] == pytest.approx([1.0, 0.95, 0.9, 0.0, 0.0])
    assert [turn_share(n, 80, 200) for n in (80, 140, 300)] == [0.0, 0.5, 1.0]


def test_what_was_cut_off_at_its_budget_is_penalised_and_nothing_else_is() -> None:
    group = [episode(None, 50, ending="tokens"), episode(None, 30, ending="tokens"),
             episode(1.0, 50), episode(None, 50, ending="context")]  # fmt: skip
    shaped(group, ShapingConfig(budget_penalty=0.5), budget=50)
    assert [t.episode_return for t in group] == [-0.5, 0.0, 1.0, 0.0]


ENDINGS = st.sampled_from(get_args(Ending))
EPISODES = st.lists(
    st.builds(episode, st.sampled_from([None, 0.0, 1.0]), st.integers(1, 12), st.integers(1, 5), ENDINGS),
    min_size=2,
    max_size=6,
)


@given(EPISODES)
def test_outcomes_and_turn_rewards_stay_and_the_sum_of_parts_is_what_was_added(
    group: list[Trajectory],
) -> None:
    before = [(t.outcome, list(t.turn_rewards), t.episode_return, t.ending) for t in group]
    shaped(group, ALL, budget=9)
    for t, (outcome, turn_rewards, earned, ending) in zip(group, before, strict=True):
        assert (t.outcome, t.turn_rewards, t.ending) == (outcome, turn_rewards, ending)
        added = sum(t.info.get("parts", {}).values())
        assert t.episode_return == pytest.approx(earned + added)
        if ending in OF_MACHINES:
            assert "parts" not in t.info


@given(EPISODES)
@settings(max_examples=30, deadline=None)
def test_nothing_is_added_by_default(group: list[Trajectory]) -> None:
    before = [t.as_dict() for t in group]
    assert [t.as_dict() for t in shaped(group, ShapingConfig(), budget=9)] == before


@given(st.integers(1, 9), st.integers(2, 6), st.floats(0, 1))
def test_members_that_are_alike_earn_alike_and_teach_nothing(length: int, size: int, outcome: float) -> None:
    group = shaped([episode(outcome, length) for _ in range(size)], ALL, budget=9)
    assert not any(map(any, grpo(group)))


def test_parts_have_names_that_gdpo_reads() -> None:
    group = shaped([episode(1.0, 2), episode(1.0, 6), episode(1.0, 4)], ShapingConfig(length_weight=0.1))
    rows = gdpo(group, AlgorithmConfig(advantage="gdpo", parts={"length_reward": 1.0}))
    assert [row[0] for row in rows] == pytest.approx([1.0, -1.0, 0.0], abs=1e-4)


def test_the_length_reward_is_warmed_up() -> None:
    config = ShapingConfig(length_weight=1.0, length_from=3, length_warmup=2)
    assert [length_weight(config, u) for u in range(6)] == [0, 0, 0, 0.5, 1, 1]
    early, late = ([episode(1.0, 2), episode(1.0, 4)] for _ in range(2))
    shaped(early, config, update=2)
    shaped(late, config, update=3)
    assert [t.episode_return for t in early + late] == [1, 1, 1.25, 0.75]


def test_the_log_has_the_mean_of_each_part() -> None:
    group = shaped([episode(1.0, 16000), episode(0.0, 18432)], DAPO)
    assert parts_told([group, [episode(1.0, 3)]]) == {"shaping_overlong": -0.25}
