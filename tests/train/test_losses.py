"""Objectives: per-token losses and their gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import LossConfig
from forge_train.learn.batch import samples
from forge_train.learn.losses import (
    OBJECTIVES,
    clipped,
    corrects_sequences,
    geometric_mean,
    k3,
    nll,
    objective_of,
    ppo,
    sequence_correction,
    sequence_factors,
    token_correction,
    truncated,
)
from forge_train.trajectory import Segment, Trajectory

LOGPROBS = st.lists(st.floats(-30, 0, width=16), min_size=4, max_size=4).map(torch.tensor)
ADVANTAGES = st.lists(st.floats(-3, 3, width=16), min_size=4, max_size=4).map(torch.tensor)
CONFIG = LossConfig()


def gradient(objective, current_N, *rest):
    leaf = current_N.clone().requires_grad_()
    objective(leaf, *rest, CONFIG)[0].sum().backward()
    return leaf.grad


@given(LOGPROBS, ADVANTAGES)
def test_on_policy_the_clipped_gradient_is_that_of_reinforce(logprobs, advantages):
    ours = gradient(clipped, logprobs, logprobs, logprobs, advantages)
    reinforce = gradient(nll, logprobs, logprobs, logprobs, advantages)
    assert torch.equal(ours, -advantages)
    assert torch.equal(reinforce, -advantages)


@given(LOGPROBS, ADVANTAGES)
def test_on_policy_the_ppo_gradient_is_that_of_reinforce(logprobs, advantages):
    assert torch.equal(gradient(ppo, logprobs, logprobs, logprobs, advantages), -advantages)


def test_auto_follows_the_rollouts():
    auto = LossConfig()
    assert objective_of(auto, late=False) is clipped and objective_of(auto, late=True) is ppo
    assert objective_of(LossConfig(objective="clipped"), late=True) is clipped
    assert objective_of(LossConfig(importance_level="sequence"), late=True) is clipped
    with pytest.raises(ValueError, match="count twice"):
        LossConfig(objective="ppo", importance_level="sequence")


def test_ppo_leaves_out_what_lies_outside_the_range():
    current, behaviour = torch.tensor([-1.0, -3.0]), torch.full((2,), -1.0)
    far = LossConfig(importance_range=(0.5, 2.0))
    loss, _ = ppo(current, current, behaviour, torch.ones(2), far)
    torch.testing.assert_close(loss, torch.tensor([-1.0, 0.0]))


def test_ppo_pushes_no_token_further_than_the_clip_from_where_it_was_sampled():
    current, behaviour = torch.tensor([-0.5, -0.5, -1.5, -1.5]), torch.full((4,), -1.0)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss, stats = ppo(current, current, behaviour, advantage, CONFIG)
    # r = e^0.5 = 1.648721 and e^-0.5 = 0.606531; clip 0.8 to 1.28.
    torch.testing.assert_close(loss, torch.tensor([-1.28, 1.648721, -0.606531, 0.8]))
    assert stats["clipped"].tolist() == [1, 0, 0, 1]
    pushed = gradient(ppo, current, current, behaviour, advantage)
    torch.testing.assert_close(pushed, torch.tensor([0.0, 1.648721, -0.606531, 0.0]))


@pytest.mark.parametrize("name", OBJECTIVES)
@given(current=LOGPROBS, proximal=LOGPROBS, behaviour=LOGPROBS)
def test_no_advantage_no_loss_no_gradient(name, current, proximal, behaviour):
    none = torch.zeros(4)
    assert not OBJECTIVES[name](current, proximal, behaviour, none, CONFIG)[0].any()
    assert not gradient(OBJECTIVES[name], current, proximal, behaviour, none).any()


@pytest.mark.parametrize("name", OBJECTIVES)
@given(current=LOGPROBS, proximal=LOGPROBS, behaviour=LOGPROBS, advantages=ADVANTAGES)
def test_losses_and_gradients_are_finite(name, current, proximal, behaviour, advantages):
    far = 1e4 * (current - proximal)
    loss, stats = OBJECTIVES[name](far, proximal, behaviour, advantages, CONFIG)
    assert loss.isfinite().all()
    assert all(s.isfinite().all() for key, s in stats.items() if key != "nll")
    assert gradient(OBJECTIVES[name], far, proximal, behaviour, advantages).isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
@given(st.permutations(range(4)), LOGPROBS, LOGPROBS, LOGPROBS, ADVANTAGES)
def test_a_token_does_not_depend_on_its_neighbours(name, order, current, proximal, behaviour, advantages):
    columns = (current, proximal, behaviour, advantages)
    loss, stats = OBJECTIVES[name](*columns, CONFIG)
    moved, moved_stats = OBJECTIVES[name](*(c[order] for c in columns), CONFIG)
    assert torch.equal(moved, loss[order])
    assert all(torch.equal(moved_stats[key], value[order]) for key, value in stats.items())


@pytest.mark.parametrize(
    ("ratio", "advantage", "flows"),
    [
        (1.27, 1, True),
        (1.29, 1, False),
        (1.29, -1, True),
        (0.81, -1, True),
        (0.79, -1, False),
        (0.79, 1, True),
    ],
)
def test_clipping_stops_the_gradient_only_beyond_the_bounds_and_only_where_it_gains(ratio, advantage, flows):
    proximal = torch.tensor([-3.0])
    current, advantages = proximal + torch.tensor([ratio]).log(), torch.tensor([float(advantage)])
    grad = gradient(clipped, current, proximal, proximal, advantages)
    stats = clipped(current, proximal, proximal, advantages, CONFIG)[1]
    assert (grad != 0).item() is flows
    assert stats["clipped"].item() == (not flows)
    assert stats["ratio"].item() == pytest.approx(ratio)


CORRECTIONS = [
    LossConfig(),
    LossConfig(importance_cap=0),
    LossConfig(importance_cap=5.0, importance_range=(0.5, 5.0)),
    LossConfig(importance_level="sequence", importance_cap=2.0),
    LossConfig(importance_level="sequence", importance_range=(0.25, 4.0)),
    LossConfig(sequence_range=(0.999, 1.001)),
]
SEQUENCES = torch.tensor([0, 0, 1, 1])


def weights(proximal, behaviour, config):
    """What the two corrections multiply a token's loss with, together."""
    token = token_correction(proximal, behaviour, config)[0]
    return token * sequence_correction(proximal, behaviour, SEQUENCES, config)[0]


@given(LOGPROBS, LOGPROBS)
def test_importance_is_truncated_and_can_be_left_out(proximal, behaviour):
    weight, figures = token_correction(proximal, behaviour, CONFIG)
    assert (weight <= 2.0).all() and (weight > 0).all()
    assert torch.equal(figures["importance_truncated"], ((proximal - behaviour).exp() > 2.0).float())
    assert torch.equal(weights(proximal, behaviour, LossConfig(importance_cap=0)), torch.ones(4))


@pytest.mark.parametrize("config", CORRECTIONS)
@given(LOGPROBS, ADVANTAGES)
def test_where_learner_and_engine_agree_no_correction_changes_anything(config, logprobs, advantages):
    assert torch.equal(weights(logprobs, logprobs, config), torch.ones(4))
    leaf = logprobs.clone().requires_grad_()
    clipped(leaf, logprobs, logprobs, advantages, config)[0].sum().backward()
    assert torch.equal(leaf.grad, -advantages), "REINFORCE"


@pytest.mark.parametrize("config", CORRECTIONS)
@given(LOGPROBS, LOGPROBS)
def test_corrections_are_finite_bounded_and_without_gradient(config, proximal, behaviour):
    weight = weights(proximal.requires_grad_(), behaviour, config)
    assert weight.isfinite().all() and (weight >= 0).all() and not weight.requires_grad
    assert (weight <= max(config.importance_cap, 1.0)).all()


@given(LOGPROBS, LOGPROBS)
def test_icepop_leaves_out_what_is_far_off_and_keeps_the_ratio_of_the_rest(proximal, behaviour):
    weight, figures = token_correction(proximal, behaviour, CORRECTIONS[2])
    ratio = (proximal - behaviour).clamp(-20, 20).exp()
    inside = (ratio >= 0.5) & (ratio <= 5.0)
    assert torch.allclose(weight, ratio * inside)
    assert torch.equal(figures["importance_masked"], (~inside).float())


@given(LOGPROBS, LOGPROBS)
def test_at_the_level_of_sequences_every_token_has_the_product_of_its_trajectory(proximal, behaviour):
    config = LossConfig(importance_level="sequence", importance_cap=3.0)
    gap = proximal - behaviour
    products = torch.stack([gap[:2].sum(), gap[2:].sum()]).clamp(-20, 20).exp().clamp(max=3.0)
    assert torch.allclose(weights(proximal, behaviour, config), products[SEQUENCES], atol=1e-6)


def test_a_trajectory_with_a_strange_mean_is_left_out_whole_however_long():
    behaviour = torch.full((5,), -1.0)
    proximal = behaviour + torch.tensor([0.0, 0.002, 0.0008, 0.0008, 0.0008])
    factor, figures = sequence_correction(proximal, behaviour, torch.tensor([0, 1, 2, 2, 2]), CORRECTIONS[5])
    assert factor.tolist() == [1, 0, 1, 1, 1]
    assert figures["sequence_masked"].tolist() == [0, 1, 0, 0, 0]
    assert figures["sequence_ratio"].tolist() == pytest.approx([1, 1.002, 1.0008, 1.0008, 1.0008], abs=1e-5)


def test_masking_one_end_does_not_hide_a_logprob_that_is_not_a_number():
    _, figures = token_correction(torch.tensor([-1.0]), torch.tensor([torch.nan]), CORRECTIONS[2])
    assert figures["logprob_gap"].isnan().all()
    assert figures["importance_masked"].tolist() == [1]


@given(st.permutations(range(4)), LOGPROBS, LOGPROBS, st.sampled_from(CORRECTIONS))
def test_sequences_may_be_mixed_and_numbered_as_one_likes(order, proximal, behaviour, config):
    factor, _ = sequence_correction(proximal, behaviour, SEQUENCES, config)
    moved, _ = sequence_correction(proximal[order], behaviour[order], 7 - SEQUENCES[order], config)
    assert torch.allclose(moved, factor[order])


def test_factors_are_of_whole_trajectories_and_handed_back_by_sample():
    trajectory = Trajectory("g", segments=[Segment(), Segment()])
    for action, segment in enumerate(trajectory.segments):
        segment.hear([1, 2])
        segment.act([3, 4], [-1.0, -1.0], action)
    found = samples([trajectory, trajectory], [[1.0, 1.0]] * 2)
    gap = {0: 0.5, 1: -0.25}
    proximal = {s.key: s.behaviour_N + gap[s.segment] for s in found}
    factors, figures = sequence_factors(found, proximal, LossConfig(importance_level="sequence"))
    assert list(factors) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for factor in factors.values():
        assert factor.tolist() == pytest.approx([torch.tensor(0.5).exp().item()] * 2)
    assert figures["sequence_ratio"] == pytest.approx(torch.tensor(0.125).exp().item())
    assert figures["sequence_masked"] == figures["sequence_truncated"] == 0
    assert sequence_factors([], {}, CONFIG) == ({}, {})


def test_which_losses_need_whole_trajectories():
    assert [corrects_sequences(c) for c in CORRECTIONS] == [False, False, False, True, True, True]


def test_geometric_means_are_by_unit():
    means = geometric_mean(torch.tensor([0.3, 0.1, -0.3]), torch.tensor([4, 0, 4]))
    assert means.tolist() == pytest.approx([1.0, 1.105171, 1.0], abs=1e-6)


def test_nothing_can_be_corrected():
    none = torch.empty(0)
    assert truncated(none, CONFIG)[0].shape == (0,)
    assert sequence_correction(none, none, none.long(), CORRECTIONS[3])[0].shape == (0,)


def test_importance_scales_the_gradient_but_has_none():
    proximal = torch.tensor([-1.0], requires_grad=True)
    behaviour, advantage = torch.tensor([-1.5]), torch.tensor([1.0])
    loss, _ = clipped(proximal, proximal.detach(), behaviour, advantage, CONFIG)
    loss.sum().backward()
    assert proximal.grad.item() == pytest.approx(-torch.tensor(0.5).exp().item())
    assert not token_correction(proximal, behaviour, CONFIG)[0].requires_grad


@given(LOGPROBS, LOGPROBS)
def test_k3_is_a_divergence(current, behaviour):
    assert (k3(current, behaviour) >= 0).all()
    assert not k3(current, current).any()


def test_k3_averages_to_the_divergence_of_the_two_distributions():
    behaviour, current = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    expected = (behaviour * (behaviour / current).log()).sum()
    assert (behaviour * k3(current.log(), behaviour.log())).sum().item() == pytest.approx(expected.item())


def test_nll_is_the_mean_negative_log_likelihood_and_never_reads_behaviour():
    current, missing = torch.tensor([-1.0, -2.0]), torch.full((2,), torch.nan)
    loss, stats = nll(current, missing, missing, torch.ones(2), CONFIG)
    assert loss.tolist() == [1.0, 2.0] == stats["nll"].tolist()


def test_figures_for_the_log_carry_no_gradient():
    current = torch.tensor([-1.0, -2.0], requires_grad=True)
    for objective in OBJECTIVES.values():
        loss, stats = objective(current, current.detach(), current.detach(), torch.ones(2), CONFIG)
        assert loss.requires_grad
        assert not any(s.requires_grad for s in stats.values())
