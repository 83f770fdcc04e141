"""Objectives: per-token losses and their gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import LossConfig
from forge_train.losses import OBJECTIVES, clipped, importance, k3, nll

LOGPROBS = st.lists(st.floats(-30, 0, width=16), min_size=4, max_size=4).map(torch.tensor)
ADVANTAGES = st.lists(st.floats(-3, 3, width=16), min_size=4, max_size=4).map(torch.tensor)
CONFIG = LossConfig()


def gradient(objective, current_N, *rest):
    leaf = current_N.clone().requires_grad_()
    objective(leaf, *rest, CONFIG)[0].sum().backward()
    return leaf.grad


@settings(deadline=None)
@given(LOGPROBS, ADVANTAGES)
def test_on_policy_the_clipped_gradient_is_that_of_reinforce(logprobs, advantages):
    ours = gradient(clipped, logprobs, logprobs, logprobs, advantages)
    reinforce = gradient(nll, logprobs, logprobs, logprobs, advantages)
    assert torch.equal(ours, -advantages)
    assert torch.equal(reinforce, -advantages)


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(deadline=None)
@given(current=LOGPROBS, proximal=LOGPROBS, behaviour=LOGPROBS)
def test_no_advantage_no_loss_no_gradient(name, current, proximal, behaviour):
    none = torch.zeros(4)
    assert not OBJECTIVES[name](current, proximal, behaviour, none, CONFIG)[0].any()
    assert not gradient(OBJECTIVES[name], current, proximal, behaviour, none).any()


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(deadline=None)
@given(current=LOGPROBS, proximal=LOGPROBS, behaviour=LOGPROBS, advantages=ADVANTAGES)
def test_losses_and_gradients_are_finite(name, current, proximal, behaviour, advantages):
    far = 1e4 * (current - proximal)
    loss, stats = OBJECTIVES[name](far, proximal, behaviour, advantages, CONFIG)
    assert loss.isfinite().all()
    assert all(s.isfinite().all() for key, s in stats.items() if key != "nll")
    assert gradient(OBJECTIVES[name], far, proximal, behaviour, advantages).isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(deadline=None)
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


@settings(deadline=None)
@given(LOGPROBS, LOGPROBS)
def test_importance_is_truncated_and_can_be_left_out(proximal, behaviour):
    weight = importance(proximal, behaviour, 2.0)
    assert (weight <= 2.0).all() and (weight > 0).all()
    assert torch.equal(importance(proximal, proximal, 2.0), torch.ones(4))
    assert torch.equal(importance(proximal, behaviour, 0), torch.ones(4))


def test_importance_scales_the_gradient_but_has_none():
    proximal = torch.tensor([-1.0], requires_grad=True)
    behaviour, advantage = torch.tensor([-1.5]), torch.tensor([1.0])
    loss, _ = clipped(proximal, proximal.detach(), behaviour, advantage, CONFIG)
    loss.sum().backward()
    assert proximal.grad.item() == pytest.approx(-torch.tensor(0.5).exp().item())
    assert not importance(proximal, behaviour, 2.0).requires_grad


@settings(deadline=None)
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
