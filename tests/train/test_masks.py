"""Who is trained, and who is compared, by how an episode ended."""

from statistics import mean, stdev
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forge_train.config import AlgorithmConfig, CriticConfig, LossConfig
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.masks import OF_THE_POLICY, UNGRADED, compare, masked_share, trained_endings
from forge_train.trajectory import Ending, Trajectory
from tests.train.test_learner import gradient, made, plays, same

CHOICES = ["max_turns", "context", "tokens", "deadline"]
MASKED = st.sets(st.sampled_from(CHOICES)).map(sorted)
ENDINGS = st.lists(st.sampled_from(get_args(Ending)), min_size=2, max_size=8)
NAMES = st.sampled_from(["grpo", "dr_grpo", "rloo", "turn_rloo"])


def play(earned: float, ending: Ending = "terminated") -> Trajectory:
    return Trajectory("g", rewards=[earned], turn_rewards=[0.0], ending=ending)


def algorithm(**keys) -> AlgorithmConfig:
    return AlgorithmConfig.model_validate(keys)


def test_klears_masks_with_and_without_what_they_earned_in_the_baseline():
    group = [play(1), play(0), play(0), play(1, "max_turns")]
    klear = algorithm(masked=CHOICES)
    apart = compare(group, klear)
    # mean 1/3, unbiased deviation sqrt(1/3) = 0.577350
    assert [row[0] for row in apart[:3]] == pytest.approx([1.154699, -0.577349, -0.577349], abs=2e-6)
    together = compare(group, klear.model_copy(update={"masked_in_baseline": True}))
    # mean 1/2, unbiased deviation sqrt(1/3): as if all four were trained
    assert [row[0] for row in together[:3]] == pytest.approx([0.866024, -0.866024, -0.866024], abs=1e-6)
    assert apart[3] == together[3] == []
    assert masked_share([group], trained_endings(klear)) == 0.25


@given(ENDINGS, MASKED, NAMES, st.booleans(), st.data())
def test_the_masked_get_nothing_and_the_others_what_their_baseline_says(endings, masked, name, counts, data):
    earned = data.draw(st.lists(st.floats(-2, 2), min_size=len(endings), max_size=len(endings)))
    group = [play(r, e) for r, e in zip(earned, endings, strict=True)]
    config = algorithm(masked=masked, masked_in_baseline=counts, advantage=name)
    rows = compare(group, config)
    lost = {"failed", "cancelled"}
    inside = [t for t in group if t.ending not in lost and (counts or t.ending not in masked)]
    expected = {id(t): row for t, row in zip(inside, ESTIMATORS[name](inside, config), strict=True)}
    for t, row in zip(group, rows, strict=True):
        trained = t.ending not in lost and t.ending not in masked and len(inside) > 1
        assert row == (expected[id(t)] if trained else [])


@given(st.lists(st.integers(0, 3), min_size=3, max_size=8), st.booleans())
def test_grpo_by_hand(earned, counts):
    """Against the formula itself, the last member masked."""
    group = [*map(play, earned[:-1]), play(earned[-1], "max_turns")]
    rows = compare(group, algorithm(masked=["max_turns"], masked_in_baseline=counts))
    inside = [float(r) for r in (earned if counts else earned[:-1])]
    spread = stdev(inside)
    by_hand = [(r - mean(inside)) / (spread + 1e-6) if spread else 0.0 for r in earned[:-1]]
    assert [row[0] for row in rows[:-1]] == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("ending", ["max_turns", "context"])
def test_what_a_masked_episode_wrote_is_in_no_gradient(ending, counts):
    loss = algorithm(masked=[ending], masked_in_baseline=counts)
    gradients = []
    for wrote in (3, 4):
        group = plays(3)
        group[1] = plays(wrote)[1]
        group[1].ending = ending
        kept = [(t, row) for t, row in zip(group, compare(group, loss), strict=True) if row]
        assert len(kept) == len(group) - 1
        gradients.append(gradient(made(), *map(list, zip(*kept, strict=True)), LossConfig()))
    assert same(*gradients) and gradients[0].any()


@given(ENDINGS, MASKED)
def test_every_episode_of_the_policy_is_trained_or_counted_as_masked(endings, masked):
    group = [play(0.0, e) for e in endings]
    trained = trained_endings(algorithm(masked=masked))
    share = masked_share([group], trained)
    own = [e for e in endings if e in OF_THE_POLICY]
    assert share == pytest.approx(sum(e in masked for e in own) / len(own) if own else 0.0)
    assert trained | set(masked) == OF_THE_POLICY


def test_what_is_masked_when_nothing_is_said():
    assert trained_endings(algorithm()) == OF_THE_POLICY - UNGRADED == {"terminated", "max_turns"}
    narrow = CriticConfig.model_validate({"bootstrap": ["deadline"]})
    assert trained_endings(algorithm(advantage="gae"), narrow) == {"terminated", "max_turns", "deadline"}


@pytest.mark.parametrize("ending", ["failed", "cancelled", "terminated", "timeout"])
def test_machines_cannot_be_asked_for_and_what_ended_well_cannot_be_masked(ending):
    with pytest.raises(ValidationError, match="'max_turns', 'context', 'tokens' or 'deadline'"):
        algorithm(masked=[ending])


def test_too_few_to_compare_are_left_out():
    group = [play(1), play(0), play(1, "tokens")]
    assert compare(group, algorithm(), least=3) == [[], [], []]
    counted = compare(group, algorithm(masked_in_baseline=True), least=3)
    assert counted[0] and counted[1] and not counted[2]
