"""No token pushes without bound, and the log says how the push is shared."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import LossConfig
from forge_train.learn.batch import samples, token_weights
from forge_train.learn.losses import OBJECTIVES, clipped, ppo
from forge_train.learn.update_metrics import Tally, top_share
from forge_train.trajectory import Segment, Trajectory
from tests.train.test_learner import made, plays

RATIOS = [clipped, ppo]
"""The objectives with a ratio."""
LOGPROBS = st.lists(st.floats(-30, 0, width=16), min_size=4, max_size=4).map(torch.tensor)
ADVANTAGES = st.lists(st.floats(-3, 3, width=16), min_size=4, max_size=4).map(torch.tensor)


def pushed(objective, log_ratio, advantage, **config):
    """Loss and gradient of tokens with these log ratios to whatever the objective compares with."""
    current = torch.tensor(log_ratio).requires_grad_()
    then = torch.zeros(len(log_ratio))
    loss, stats = objective(current, then, then, torch.tensor(advantage), LossConfig(**config))
    loss.sum().backward()
    return loss.tolist(), current.grad.tolist(), stats


@pytest.mark.parametrize("objective", RATIOS)
def test_a_bad_token_that_became_likelier_pushes_with_three_times_its_advantage_at_most(objective):
    ratios = [5.0, math.log(2.9), 0.0, -1.0]
    loss, gradient, stats = pushed(objective, ratios, [-1.0] * 4)
    assert loss == pytest.approx([3.0, 2.9, 1.0, 0.8])
    assert gradient == pytest.approx([0.0, 2.9, 1.0, 0.0])
    assert stats["dual_clipped"].tolist() == [1, 0, 0, 0] and stats["clipped"].tolist() == [0, 0, 0, 1]
    assert stats["ratio"][0].item() == pytest.approx(148.413, abs=1e-3), "the ratio itself is told"
    unbounded = pushed(objective, ratios, [-1.0] * 4, dual_clip=0.0)[1]
    assert unbounded[0] == pytest.approx(148.413, abs=1e-3)


@pytest.mark.parametrize("objective", RATIOS)
def test_the_bound_below_says_nothing_about_good_tokens(objective):
    ratios = [5.0, 0.2, 0.0, -1.0]
    bounded, free = (pushed(objective, ratios, [2.0] * 4, dual_clip=c) for c in (3.0, 0.0))
    assert bounded[:2] == free[:2] and not bounded[2]["dual_clipped"].any()


@pytest.mark.parametrize("name", OBJECTIVES)
@given(LOGPROBS, LOGPROBS, LOGPROBS, ADVANTAGES, st.floats(1.01, 10), st.floats(0, 0.9), st.floats(0, 5))
def test_every_objective_is_bounded_token_by_token(
    name, current, proximal, behaviour, advantage, c, low, high
):
    config = LossConfig(dual_clip=c, clip_low=low, clip_high=high)
    leaf = current.clone().requires_grad_()
    OBJECTIVES[name](leaf, proximal, behaviour, advantage, config)[0].sum().backward()
    # Above, the clip bounds; below, c; and clipped multiplies with an importance of at most its cap. SAPO's
    # gate has a bound of its own: 4 p (1 - p) r is largest at r = 2.05, where it is 1.575.
    most = max(1 + high, c) if name != "sapo" else 1.576
    most *= max(config.importance_cap, 1.0)
    assert (leaf.grad.abs() <= most * advantage.abs() * (1 + 1e-4)).all()


def test_a_bound_below_one_is_refused_with_the_way_out():
    for value in (0.5, 1.0):
        with pytest.raises(ValueError, match=f"dual_clip = {value}: it must be above 1.* use 3, or 0"):
            LossConfig(dual_clip=value)


def test_how_the_gradient_is_shared_by_tokens():
    assert top_share(torch.tensor([])) == 0 == top_share(torch.zeros(5))
    assert top_share(torch.ones(1000)) == pytest.approx(0.01)
    spiky = torch.ones(1000)
    spiky[:10] = 99.0
    assert top_share(spiky) == pytest.approx(0.5), "10 x 99 of 10 x 99 + 990"
    assert top_share(torch.tensor([0.0, 7.0])) == 1


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=300), st.randoms(use_true_random=False))
def test_the_share_is_one_and_does_not_depend_on_order_or_scale(pushes, rng):
    share = top_share(torch.tensor(pushes))
    assert 0 <= share <= 1 + 1e-9
    if sum(pushes) > 1e-30:
        assert share >= 0.01 - 1e-9
        assert top_share(torch.tensor(rng.sample(pushes, len(pushes))) * 0.5) == pytest.approx(
            share, rel=1e-5
        )


def test_an_update_tells_its_largest_ratio_and_whose_gradient_it_is():
    group = plays(3)
    credit = [[(-1.0) ** i] * 9 for i in range(len(group))]
    behaviour = made().logprobs(group)
    for trajectory, rows in zip(group, behaviour, strict=True):
        for segment, row in zip(trajectory.segments, rows, strict=True):
            segment.logprobs = row
    told = made().update(group, credit, LossConfig(objective="ppo"))
    assert told["ratio_max"] == pytest.approx(1.0, abs=1e-4), "on policy"
    assert told["top_tokens_share"] == pytest.approx(1 / told["tokens_trained"], rel=0.1), "all push the same"
    # One token was sampled as all but impossible: it is e^5 times likelier now.
    one = next(t for t, row in zip(group, credit, strict=True) if row[0] < 0).segments[0]
    at = next(i for i, a in enumerate(one.action) if a >= 0)
    one.logprobs[at] -= 5.0
    free = made().update(group, credit, LossConfig(objective="ppo", dual_clip=0.0))
    assert free["ratio_max"] == pytest.approx(148.4, abs=0.5)
    assert free["top_tokens_share"] > 0.5, "one token has more than all the others together"
    held = made().update(group, credit, LossConfig(objective="ppo"))
    assert held["top_tokens_share"] < 0.1 and held["grad_norm"] < free["grad_norm"] / 3
    assert held["dual_clipped"] == pytest.approx(1 / held["tokens_trained"])


def test_the_pushes_of_several_processes_are_one_update():
    shares = []
    for pushes in ([1.0, 3.0], [4.0]):
        tally = Tally()
        column = torch.ones(len(pushes))
        tally.tokens({"ratio": 2 * column * pushes[0]}, torch.tensor(pushes), 5, 5)
        shares.append(tally)
    whole = Tally()
    whole.add(shares)
    told = whole.metrics()
    assert told["top_tokens_share"] == 0.5 and told["ratio_max"] == 8.0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0.5, 100))
def test_the_constant_divides_one_trajectory_and_then_they_are_averaged(lengths, budget):
    group = []
    for length in lengths:
        segment = Segment()
        segment.hear([1])
        segment.act([2] * length, [-1.0] * length, 0)
        group.append(Trajectory("g", [segment]))
    weights = token_weights(samples(group, [[1.0]] * len(group)), "constant", budget)
    by_hand = sum(length / budget for length in lengths) / len(lengths)
    assert float(sum(w.sum() for w in weights)) == pytest.approx(by_hand, rel=1e-5)


def test_what_is_said_of_the_constant_is_what_it_does():
    with pytest.raises(ValueError, match="one trajectory"):
        LossConfig(denominator="constant")
    assert "one trajectory" in (LossConfig.model_fields["constant"].description or "")
