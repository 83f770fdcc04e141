"""The loop: what is compared with what, what is left out, and when it refuses to go on."""

from __future__ import annotations

import pytest

from forge_train.config import AlgorithmConfig
from forge_train.engines.identity import IdentityError, check_gap
from forge_train.learn.advantages import ESTIMATORS
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum
from forge_train.record.step_metrics import summary, time_to_groups
from forge_train.trainer import BugError, Trainer
from forge_train.trajectory import Ending, Segment, Trajectory


def trajectory(outcome: float | None, ending: Ending = "terminated", version: int = 0) -> Trajectory:
    segment = Segment()
    segment.hear([1, 2])
    segment.act([3, 4], [-0.5, -0.5], 0)
    return Trajectory(
        group="g",
        segments=[segment],
        rewards=[outcome or 0.0],
        turn_rewards=[0.0],
        outcome=outcome,
        ending=ending,
        versions=[version],
        info={"world": "w"},
    )


def trainer(**algorithm: object) -> Trainer:
    """A trainer of which only the arithmetic is used."""
    return Trainer(
        runner=None,  # type: ignore[arg-type]
        engine=None,  # type: ignore[arg-type]
        learner=None,  # type: ignore[arg-type]
        algorithm=AlgorithmConfig.model_validate(algorithm),
        curriculum=Curriculum({"w": ["t"]}, {"w": 1.0}, seed=0),
        admission=Admission(groups=1, max_lag=0),
        temperature=1.0,
        identity_tolerance=1e-3,
        patience=1.0,
    )


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_failed_machines_are_no_reward_of_zero(name: str) -> None:
    good, bad = trajectory(1.0), trajectory(0.0)
    failed, late = trajectory(None, "failed"), trajectory(None, "deadline")
    mixed = trainer(advantage=name).credit([good, failed, bad, late])
    assert mixed[1] == mixed[3] == []
    assert [mixed[0], mixed[2]] == trainer(advantage=name).credit([good, bad])
    assert mixed[0][0] > 0 >= mixed[2][0]


def test_out_of_room_counts_only_when_the_config_says_so() -> None:
    group = [trajectory(1.0), trajectory(1.0), trajectory(None, "tokens"), trajectory(None, "context")]
    assert trainer().credit(group)[2:] == [[], []]
    counted = trainer(masked=["deadline"]).credit(group)
    assert counted[2][0] < 0 < counted[0][0]


def test_a_group_with_one_survivor_has_nothing_to_compare() -> None:
    assert trainer().credit([trajectory(1.0), trajectory(None, "failed")]) == [[], []]


@pytest.mark.parametrize(("survivors", "trained"), [(2, 0), (3, 3), (5, 5)])
def test_a_partial_group_is_trained_when_enough_survive(survivors: int, trained: int) -> None:
    picky = trainer()
    picky.min_members = 3
    alive = [trajectory(float(i % 2)) for i in range(survivors)]
    rows = picky.credit([*alive, *(trajectory(None, "failed") for _ in range(5 - survivors))])
    assert [bool(row) for row in rows] == [i < trained for i in range(5)]
    if trained:
        assert rows[:survivors] == trainer().credit(alive), "those that failed are in no mean"


def test_engine_and_learner_must_agree_on_policy() -> None:
    now, old = [trajectory(1.0, version=3)], [trajectory(1.0, version=2)]

    def measured(gap: float) -> dict[str, float]:
        return {"logprob_gap": gap, "logprob_gap_max": gap, "tokens_trained": 50.0}

    check_gap(measured(1e-6), now, 3, 1e-3)
    check_gap(measured(1.8), old, 3, 1e-3)  # off policy the gap is real
    for gap in (1.8, float("nan")):
        with pytest.raises(IdentityError, match="version 3"):
            check_gap(measured(gap), now, 3, 1e-3)


def test_bugs_are_budgeted_and_the_first_is_told() -> None:
    broken = trajectory(None, "failed")
    broken.info["error"] = {"kind": "bug", "traceback": "ZeroDivisionError in the till"}
    with pytest.raises(BugError, match="in the till"):
        trainer().check_bugs([[broken]])
    tolerant = trainer()
    tolerant.max_bugs = 1
    tolerant.check_bugs([[broken]])
    with pytest.raises(BugError, match="2 episodes"):
        tolerant.check_bugs([[broken]])


def test_every_trajectory_is_counted_in_exactly_one_ending() -> None:
    groups = [[trajectory(1.0), trajectory(0.0)], [trajectory(None, "failed"), trajectory(None, "tokens")]]
    told = summary(groups)
    assert told["endings"] == {"terminated": 2, "failed": 1, "tokens": 1}
    assert told["episodes"] == 4
    assert told["success"] == pytest.approx(1 / 3), "the failed machine is in no mean"


def test_what_episodes_waited_for_is_told_whatever_the_learner_did() -> None:
    group = [trajectory(1.0), trajectory(0.0), trajectory(None, "failed")]
    for member, (engine, world) in zip(group, ((4.0, 1.0), (2.0, 0.0)), strict=False):
        member.info |= {"generate_seconds": engine, "world_seconds": world}
    told = summary([group])
    assert (told["generate_seconds"], told["world_seconds"]) == (3.0, 0.5), "what was lost has no seconds"
    assert time_to_groups(9.0, [group], overlapped=True) == {"wait": 9.0}
    shares = time_to_groups(9.0, [group[:2]], overlapped=False)
    assert shares == pytest.approx({"generate": 54 / 7, "world": 9 / 7})


def test_a_step_that_machines_took_away_has_no_success() -> None:
    told = summary([[trajectory(None, "failed"), trajectory(None, "failed")]])
    assert (told["success"], told["return"], told["turns"]) == (None, None, None), "nothing is known: not 0"
    assert told["endings"] == {"failed": 2}
