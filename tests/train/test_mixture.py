"""What an update trains of its groups: places dealt anew, groups left out, episodes recalled."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import AlgorithmConfig, CurriculumConfig, LossConfig, OptimConfig
from forge_train.learn.advantages import grpo
from forge_train.learn.learner import Learner
from forge_train.learn.mixture import Mixture, duplicated, spread, widest
from forge_train.trajectory import Segment, Trajectory
from tests.train.models import VOCAB, qwen3

FEW = settings(max_examples=12, deadline=None)
PLACES = st.lists(st.booleans(), min_size=1, max_size=24)


def member(outcome: float, name: str = "g", *, seed: int = 0, temperature: float | None = None) -> Trajectory:
    rng = random.Random(f"{name}/{seed}")
    trajectory = Trajectory(name, outcome=outcome, info={"world": "w", "task": name})
    segment = Segment()
    for action in range(rng.randint(1, 3)):
        segment.hear([rng.randrange(VOCAB) for _ in range(rng.randint(1, 4))])
        said = [rng.randrange(VOCAB) for _ in range(rng.randint(1, 5))]
        segment.act(said, [rng.uniform(-6, -2) for _ in said], action)
        trajectory.rewards.append(0.0)
        trajectory.versions.append(0)
    trajectory.segments.append(segment)
    trajectory.rewards[-1] = outcome
    trajectory.temperature = temperature
    return trajectory


def groups_of(*outcomes: list[float]) -> list[list[Trajectory]]:
    return [[member(o, f"g{i}", seed=j) for j, o in enumerate(row)] for i, row in enumerate(outcomes)]


def mixed(config: CurriculumConfig, groups: list[list[Trajectory]], step: int = 0) -> Any:
    return Mixture(config, seed=3).of(step, groups, [grpo(group) for group in groups])


# --- DUPO ------------------------------------------------------------------------------------------


@given(PLACES, st.integers(0, 99))
def test_every_place_holds_a_group_with_spread_when_any_has_one(useful: list[bool], seed: int) -> None:
    counts = duplicated(useful, seed=seed)
    assert sum(counts) == len(useful), "the batch keeps its size"
    if any(useful):
        assert all((count > 0) == teaches for count, teaches in zip(counts, useful, strict=True))
        there = [count for count, teaches in zip(counts, useful, strict=True) if teaches]
        assert max(there) - min(there) <= 1
    else:
        assert counts == [1] * len(useful)


@given(PLACES, st.randoms(use_true_random=False))
def test_how_many_places_there_are_does_not_depend_on_their_order(useful: list[bool], rng: Any) -> None:
    shuffled = list(useful)
    rng.shuffle(shuffled)
    assert sorted(duplicated(useful, seed=1)) == sorted(duplicated(shuffled, seed=1))


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=4), min_size=1, max_size=5))
@FEW
def test_no_group_of_the_batch_earned_all_the_same_when_any_did_not(outcomes: list[list[float]]) -> None:
    groups = groups_of(*outcomes)
    found = mixed(CurriculumConfig(duplicate=True), groups)
    varied = [len(set(row)) > 1 for row in outcomes]
    names = {t.group for t in found.trajectories}
    if any(varied):
        assert names == {f"g{i}" for i, one in enumerate(varied) if one}
        assert all(any(map(any, rows)) or not any(rows) for rows in found.credit)
    weights = found.weights or [1.0] * len(found.trajectories)
    places = sum(weights[i] for i, t in enumerate(found.trajectories) if t is groups[int(t.group[1:])][0])
    assert places == len(groups)


def gradient(
    learner: Learner, trajectories: list[Trajectory], advantages: list[Any], loss: LossConfig, **options: Any
) -> torch.Tensor:
    caught: list[torch.Tensor] = []
    flat = lambda: torch.cat([p.grad.flatten() for p in learner.model.parameters()])  # noqa: E731
    learner.optimizer.register_step_pre_hook(lambda *_: caught.append(flat()))
    learner.update(trajectories, advantages, loss, **options)
    return caught[0]


def fresh(**optim: Any) -> Learner:
    return Learner(qwen3(), OptimConfig(**({"grad_clip": 1e9} | optim)))


@pytest.mark.parametrize("denominator", ["token", "turn", "trajectory", "constant"])
@pytest.mark.parametrize("micro", [16, 4096])
def test_counting_a_group_several_times_is_training_copies_of_it(denominator: str, micro: int) -> None:
    constant = 7.0 if denominator == "constant" else None
    loss = LossConfig(denominator=denominator, constant=constant)
    groups = groups_of([1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    found = mixed(CurriculumConfig(duplicate=True), groups)
    assert found.weights == [2.0] * 6 and found.metrics["duplicated_groups"] == 2
    weighed = [1.0, 2.0, 3.0, 1.0, 1.0, 2.0]  # any numbers, not only those that all agree
    for weights in (found.weights, weighed):
        got = gradient(fresh(micro_tokens=micro), found.trajectories, found.advantages, loss, weights=weights)
        copies = [(t, a) for t, a, w in zip(found.trajectories, found.advantages, weights, strict=True)
                  for _ in range(int(w))]  # fmt: skip
        want = gradient(fresh(), [t for t, _ in copies], [a for _, a in copies], loss)
        assert (got - want).norm() <= 1e-5 * want.norm() > 0
    plain = gradient(fresh(), found.trajectories, found.advantages, loss)
    assert (plain - want).norm() > 1e-3 * want.norm(), "weights that change nothing would show nothing"


# --- StarPO-S ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12), st.floats(0.05, 1.0))
def test_the_widest_groups_are_kept_and_no_other_is_wider(spreads: list[float], share: float) -> None:
    kept = widest(spreads, share)
    assert sum(kept) == max(int(share * len(spreads)), 1)
    inside = [s for s, k in zip(spreads, kept, strict=True) if k]
    outside = [s for s, k in zip(spreads, kept, strict=True) if not k]
    assert not outside or min(inside) >= max(outside)


def test_groups_left_out_give_no_gradient_and_stand_in_no_mean() -> None:
    groups = groups_of([1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    found = mixed(CurriculumConfig(top_spread=0.25), groups)
    assert [t.group for t in found.trajectories] == ["g1"] * 4
    assert [any(map(any, rows)) for rows in found.credit] == [False, True, False, False]
    assert found.metrics == {"left_out_groups": 3, "trained": 4}
    alone = gradient(fresh(), groups[1], grpo(groups[1]), LossConfig())
    options = {} if found.weights is None else {"weights": found.weights}
    assert torch.equal(
        gradient(fresh(), found.trajectories, found.advantages, LossConfig(), **options), alone
    )


def test_the_spread_of_a_group_is_that_of_the_members_that_are_trained() -> None:
    group = groups_of([1.0, 0.0, 0.0, 1.0])[0]
    assert spread(group, grpo(group)) == pytest.approx(0.57735, abs=1e-5)
    assert spread(group, [[1.0], [], [], [1.0]]) == 0.0
    assert spread(group, [[], [1.0], [], []]) == 0.0


# --- recall -----------------------------------------------------------------------------------------


RECALL = CurriculumConfig(recall=2, recall_from=2, recall_steps=2)


def test_solved_episodes_of_the_last_updates_are_trained_again_with_the_advantage_they_had() -> None:
    mixture = Mixture(RECALL, seed=0)
    taken = [[[member(float(j == 0), f"u{step}", seed=j) for j in range(3)]] for step in range(5)]
    for step, groups in enumerate(taken):
        found = mixture.of(step, groups, [grpo(group) for group in groups])
        again = found.trajectories[3:]
        names = {t.group for t in again}
        if step < 2:
            assert not again and found.recalled == 0
            continue
        assert len(again) == found.recalled == 2 and names == {f"u{step - 1}", f"u{step - 2}"}
        assert all(t.outcome == 1.0 for t in again)
        assert [a for a in found.advantages[3:]] == [grpo(taken[int(t.group[1:])][0])[0] for t in again]
        share = sum(t.sampled for t in again) / sum(t.sampled for t in found.trajectories)
        assert found.metrics["recalled_share"] == pytest.approx(share)


def test_nothing_that_failed_and_nothing_without_an_advantage_is_recalled() -> None:
    mixture = Mixture(CurriculumConfig(recall=9), seed=0)
    for step, row in enumerate(([1.0, 1.0], [0.0, 0.0], [0.0, 1.0])):
        groups = groups_of(row)
        mixture.of(step, groups, [grpo(group) for group in groups])
    found = mixture.of(3, groups_of([0.0, 1.0]), [grpo(g) for g in groups_of([0.0, 1.0])])
    assert [t.outcome for t in found.trajectories[2:]] == [1.0]


@given(st.integers(0, 9))
@FEW
def test_what_is_recalled_depends_on_seed_and_update_alone(seed: int) -> None:
    def recalled(skip: int) -> list[int]:
        mixture = Mixture(RECALL.model_copy(update={"recall": 3}), seed=seed)
        for step in range(skip, 4):
            groups = groups_of([1.0, 0.0, 1.0], [1.0, 0.0, 0.0])
            last = mixture.of(step, groups, [grpo(group) for group in groups])
        return [t.sampled for t in last.trajectories[6:]]

    assert recalled(0) == recalled(1), "a run that goes on begins with the updates that count"


# --- temperatures -----------------------------------------------------------------------------------


def test_each_trajectory_is_scored_at_the_temperature_it_was_sampled_at() -> None:
    learner, warm = fresh(), [0.5, None, 2.0, None]
    mix = [member(1.0, "g", seed=i, temperature=t) for i, t in enumerate(warm)]
    scores = learner.logprobs(mix, temperature=1.5)
    for trajectory, row, t in zip(mix, scores, warm, strict=True):
        plain = member(1.0, "g", seed=int(mix.index(trajectory)))
        assert row == learner.logprobs([plain], temperature=t or 1.5)[0]
    assert scores[0] != learner.logprobs(mix[:1] and [member(1.0, "g", seed=0)], temperature=1.5)[0]


def test_the_gradient_of_several_temperatures_is_the_sum_of_each_ones() -> None:
    loss = LossConfig(denominator="constant", constant=4.0)
    mix = [member(1.0, "g", seed=i, temperature=t) for i, t in enumerate([0.5, 2.0, 0.5, 2.0])]
    advantages = [[0.5] * 3, [-1.0] * 3, [1.0] * 3, [0.25] * 3]
    whole = gradient(fresh(), mix, advantages, loss)
    parts = [gradient(fresh(), mix[i::2], advantages[i::2], loss) / 2 for i in (0, 1)]
    assert (whole - sum(parts)).norm() <= 1e-5 * whole.norm() > 0


def test_what_is_stored_keeps_its_temperature() -> None:
    for temperature in (None, 0.7):
        one = member(1.0, temperature=temperature)
        assert Trajectory.from_dict(one.as_dict()) == one
    assert "temperature" not in member(1.0).as_dict()


def test_by_default_nothing_is_left_out_and_nothing_counts_twice() -> None:
    groups = groups_of([1.0, 0.0], [1.0, 1.0])
    found = mixed(CurriculumConfig(), groups)
    assert found.weights is None and found.metrics == {} and found.recalled == 0
    assert found.trajectories == [t for group in groups for t in group]
    assert found.credit == [grpo(group, AlgorithmConfig()) for group in groups]
