"""The shelf of objectives: golden numbers, what holds for all of them, and what others' code says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.losses import (
    HOLDING,
    OBJECTIVES,
    UNIT_OBJECTIVES,
    PolicyLoss,
    geometric_mean,
    holds,
    settled,
    stale,
)
from forge_train.learn.token_objectives import cispo, sapo
from forge_train.learn.unit_objectives import gspo, gspo_token, opmd, opmd_k2

OLD = torch.tensor([-1.0, -2.0, -0.5, -0.7])
NEW = torch.tensor([-0.9, -2.2, -0.4, -0.7])
ONE, TWO = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1])
"""All four tokens of one unit, and of two."""
LOGPROBS = st.lists(st.floats(-30, 0, width=16), min_size=4, max_size=4).map(torch.tensor)
ADVANTAGES = st.lists(st.floats(-3, 3, width=16), min_size=4, max_size=4).map(torch.tensor)
ALL = sorted([*OBJECTIVES, *UNIT_OBJECTIVES])


def loss_of(name: str, **config: Any) -> PolicyLoss:
    return PolicyLoss(settled(LossConfig(objective=name, **config), late=False))


def pushed(
    policy: PolicyLoss, current: Tensor, old: Tensor, advantage: Tensor, trajectory: Tensor = TWO
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of tokens that engine and learner agree on; each trajectory is one turn."""
    leaf = current.clone().requires_grad_()
    loss, stats = policy(leaf, old, old, advantage, trajectory, torch.zeros_like(trajectory))
    assert all(value.shape == leaf.shape and not value.requires_grad for value in stats.values())
    loss.sum().backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


# --- golden numbers (algorithms.md, section 4) ---------------------------------------------------------


def test_gspo_has_one_ratio_a_unit_and_its_turns_have_theirs() -> None:
    config = LossConfig(objective="gspo", clip_low=0.5, clip_high=0.5)
    whole, _ = gspo(NEW, OLD, OLD, torch.ones(4), ONE, config)
    assert whole.tolist() == pytest.approx([-1.0] * 4, abs=1e-6)
    turns, stats = gspo_token(NEW, OLD, OLD, torch.ones(4), TWO, config)
    assert turns.tolist() == pytest.approx([-0.951229] * 2 + [-1.051271] * 2, abs=1e-6)
    assert stats["ratio"].tolist() == pytest.approx(geometric_mean(NEW - OLD, TWO).tolist())
    bounded, _ = gspo_token(NEW, OLD, OLD, torch.ones(4), TWO, LossConfig(objective="gspo_turn"))
    assert bounded.tolist() == pytest.approx([-0.951229] * 2 + [-1.004] * 2, abs=1e-6)


def test_the_square_of_kimi_k2() -> None:
    new, old = torch.tensor([-10.0, -12, -11, -9]), torch.tensor([-10.5, -11.5, -11, -9.2])
    earned = torch.tensor([1.0, 0, 1, 0])
    loss, _ = opmd_k2(new, old, old, earned - earned.mean(), torch.arange(4), LossConfig(tau=0.1))
    assert loss.mean().item() == pytest.approx(0.23135, abs=1e-6)


@pytest.mark.parametrize(("ratio", "gate"), [(0.5, 1.510163), (1.0, 2.0), (1.5, 2.489837)])
def test_the_gate_of_sapo(ratio: float, gate: float) -> None:
    then = torch.tensor([-2.0])
    loss, _ = sapo(then + torch.tensor([ratio]).log(), then, then, torch.ones(1), LossConfig())
    assert -loss.item() == pytest.approx(gate, abs=1e-5)


# --- what holds for all --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@given(logprobs=LOGPROBS, good=st.floats(-3, 3, width=16), bad=st.floats(-3, 3, width=16))
def test_on_policy_all_have_the_gradient_of_reinforce(
    name: str, logprobs: Tensor, good: float, bad: float
) -> None:
    advantage = torch.tensor([good, good, bad, bad])
    factor = 2 * 0.1 if name == "opmd_k2" else 1.0  # 2 tau: its paper's square has no half
    _, found = pushed(loss_of(name, **{"tau": 0.1} if name in HOLDING else {}), logprobs, logprobs, advantage)
    assert torch.allclose(found, -factor * advantage, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(UNIT_OBJECTIVES) - HOLDING))
@given(current=LOGPROBS, old=LOGPROBS)
def test_no_advantage_no_loss_no_gradient(name: str, current: Tensor, old: Tensor) -> None:
    loss, found = pushed(loss_of(name), current, old, torch.zeros(4))
    assert not loss.any() and not found.any()


@pytest.mark.parametrize("name", sorted(HOLDING))
def test_those_that_hold_pull_back_where_nothing_was_earned(name: str) -> None:
    _, found = pushed(loss_of(name), NEW, OLD, torch.zeros(4), ONE)
    assert found.abs().max() < 1e-7, "the ratio of all four is 1"
    _, found = pushed(loss_of(name), NEW, OLD, torch.zeros(4), TWO)
    assert found[0] < 0 < found[2], "less likely than before, and likelier"
    assert holds(LossConfig(objective=name)) and not holds(LossConfig(objective="gspo"))


@pytest.mark.parametrize("name", sorted(UNIT_OBJECTIVES))
@given(current=LOGPROBS, old=LOGPROBS, advantage=ADVANTAGES)
def test_losses_and_gradients_are_finite(name: str, current: Tensor, old: Tensor, advantage: Tensor) -> None:
    loss, found = pushed(loss_of(name), 1e4 * (current - old), old, advantage)
    assert loss.isfinite().all() and found.isfinite().all()


@pytest.mark.parametrize("name", sorted(UNIT_OBJECTIVES))
@given(order=st.permutations(range(4)), current=LOGPROBS, old=LOGPROBS, advantage=ADVANTAGES)
def test_units_may_be_mixed_and_numbered_as_one_likes(
    name: str, order: list[int], current: Tensor, old: Tensor, advantage: Tensor
) -> None:
    policy = loss_of(name)
    loss, found = pushed(policy, current, old, advantage)
    mixed = (column[order] for column in (current, old, advantage))
    moved, moved_found = pushed(policy, *mixed, 7 - TWO[order])
    assert torch.allclose(moved, loss[order], rtol=1e-4, atol=1e-5)
    assert torch.allclose(moved_found, found[order], rtol=1e-4, atol=1e-5)


@given(LOGPROBS, LOGPROBS, st.floats(-3, 3, width=16), st.floats(-3, 3, width=16))
def test_gspo_token_is_gspo_where_a_unit_has_one_advantage(
    current: Tensor, old: Tensor, good: float, bad: float
) -> None:
    advantage = torch.tensor([good, good, bad, bad])
    for bounds in ({}, {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0}):
        whole = pushed(loss_of("gspo", **bounds), current, old, advantage)
        token = pushed(loss_of("gspo_token", **bounds), current, old, advantage)
        assert torch.allclose(whole[0], token[0], rtol=1e-5)
        assert torch.allclose(whole[1], token[1], rtol=1e-4, atol=1e-6)


def test_tokens_of_gspo_keep_advantages_of_their_own() -> None:
    advantage = torch.tensor([1.0, -2.0, 0.5, 0.0])
    for name, expected in (("gspo_token", advantage), ("gspo", torch.full((4,), -0.125))):
        _, found = pushed(loss_of(name), OLD, OLD, advantage, ONE)
        assert torch.allclose(found, -expected, atol=1e-6)


def test_a_turn_is_no_trajectory() -> None:
    policy = loss_of("gspo_turn")
    assert not policy.of_trajectories and loss_of("gspo").of_trajectories
    trajectory, action = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 1, 1])
    _, stats = policy(NEW, OLD, OLD, torch.ones(4), trajectory, action)
    assert stats["ratio"].tolist() == pytest.approx([0.951229] * 2 + [1.051271] * 2, abs=1e-6)


def test_who_is_compared_with_follows_the_rollouts() -> None:
    gone = LossConfig(objective="gspo")
    assert (
        settled(gone, late=False).old_policy == "proximal"
        and settled(gone, late=True).old_policy == "behaviour"
    )
    assert settled(LossConfig(objective="cispo", old_policy="proximal"), late=True).old_policy == "proximal"
    there = LossConfig(objective="cispo", old_policy="behaviour")
    sampled = OLD - 0.1
    loss, stats = cispo(NEW, OLD, sampled, torch.ones(4), there)
    assert stats["ratio"].tolist() == pytest.approx((NEW - sampled).exp().tolist())
    here, _ = cispo(NEW, OLD, sampled, torch.ones(4), LossConfig(objective="cispo"))
    assert torch.allclose(loss, here), "the weight of one is the ratio of the other"


# --- what is each one's own ----------------------------------------------------------------------------


def test_cispo_bounds_the_weight_and_keeps_the_gradient() -> None:
    current, then = torch.tensor([2.0, 0.5, -3.0]) - 4, torch.full((3,), -4.0)
    _, found = pushed(loss_of("cispo"), current, then, torch.ones(3), torch.arange(3))
    assert found.tolist() == pytest.approx([-5.0, -1.648721, -0.049787], abs=1e-5)


def test_gppo_has_the_value_of_the_clip_and_a_gradient_at_its_bound() -> None:
    current = torch.tensor([0.5, -0.5, 2.0, 0.5]) - 4
    then, advantage = torch.full((4,), -4.0), torch.tensor([1.0, -1.0, -1.0, -1.0])
    loss, found = pushed(loss_of("gppo"), current, then, advantage, torch.arange(4))
    # r = e^0.5 above, e^-0.5 below, e^2 beyond the dual clip, e^0.5 bad and free.
    assert loss.tolist() == pytest.approx([-1.28, 0.8, 3.0, 1.648721], abs=1e-5)
    assert found.tolist() == pytest.approx([-1.28, 0.8, 0.0, 1.648721], abs=1e-5)
    _, softer = pushed(loss_of("ce_gppo"), current, then, advantage, torch.arange(4))
    assert softer.tolist() == pytest.approx([-1.28, 0.6, 0.0, 1.648721], abs=1e-5)
    clipped, _ = pushed(loss_of("clipped"), current, then, advantage, torch.arange(4))
    assert torch.allclose(loss, clipped)


@pytest.mark.parametrize("name", ["dppo_tv", "dppo_kl"])
def test_dppo_lets_the_rare_rise_and_holds_the_common(name: str) -> None:
    then = torch.tensor([0.01, 0.9, 0.9, 0.9]).log()
    current = torch.tensor([0.06, 0.4, 0.4, 0.99]).log()
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    _, found = pushed(loss_of(name), current, then, advantage, torch.arange(4))
    # Six times likelier and still free; halved and no further; back up, free; up though bad: free.
    ratio = (current - then).exp()
    expected = torch.tensor([-ratio[0], 0.0, -ratio[2], ratio[3]])
    assert torch.allclose(found, expected, atol=1e-5)


def test_gmpo_clips_a_token_and_not_its_sequence() -> None:
    current, then = torch.tensor([3.0, 0.1, 0.0, 0.0]) - 4, torch.full((4,), -4.0)
    loss, found = pushed(loss_of("gmpo"), current, then, torch.ones(4), ONE)
    mean = torch.tensor((0.4 + 0.1) / 4).exp()
    assert torch.allclose(loss, -mean.expand(4))
    assert torch.allclose(found, torch.tensor([0.0, -1, -1, -1]) * mean)
    fell = torch.tensor([-3.0, 0.1, 0.0, 0.0]) - 4
    free, _ = pushed(loss_of("gmpo"), fell, then, torch.ones(4), ONE)
    held, _ = pushed(loss_of("gmpo"), fell, then, -torch.ones(4), ONE)
    assert free[0].item() == pytest.approx(-math.exp(-2.9 / 4)), "a good one that fell may rise again"
    assert held[0].item() == pytest.approx(math.exp(-0.3 / 4)), "a bad one fell far enough"
    _, whole = pushed(loss_of("gspo"), current, then, torch.ones(4), ONE)
    assert not whole.any(), "one odd token shuts out all four"


@given(LOGPROBS, LOGPROBS, ADVANTAGES, st.floats(0.01, 2))
def test_k2_is_k15_times_twice_tau(current: Tensor, old: Tensor, advantage: Tensor, tau: float) -> None:
    columns = (current.requires_grad_(), old, old, advantage, TWO, LossConfig(tau=tau))
    (gentle,) = torch.autograd.grad(opmd(*columns)[0].sum(), current)
    (square,) = torch.autograd.grad(opmd_k2(*columns)[0].sum(), current)
    assert torch.allclose(square, 2 * tau * gentle, rtol=1e-3, atol=1e-4)


def test_bad_episodes_that_are_no_longer_played_are_left_out() -> None:
    current = torch.tensor([-3.0, -1.0, -3.0, -1.0, -1.4, -1.4])
    sampled, trajectory = torch.full((6,), -1.0), torch.tensor([0, 0, 1, 1, 2, 2])
    advantage = torch.tensor([-1.0, -1, 1, 1, -1, -1])
    assert stale(current, sampled, advantage, trajectory, 0.5).tolist() == [1, 1, 0, 0, 0, 0]
    policy = loss_of("clipped", off_policy_delta=0.5, old_policy="behaviour")
    assert policy.of_trajectories
    loss, stats = policy(current, sampled, sampled, advantage, trajectory, torch.zeros_like(trajectory))
    assert not loss[:2].any() and loss[2:].all()
    assert stats["off_policy_masked"].tolist() == [1, 1, 0, 0, 0, 0]


# --- what others' code says ----------------------------------------------------------------------------


def trl_loss(current_BT: Tensor, mask_BT: Tensor, **inputs: Any) -> Callable[..., Tensor]:
    """TRL 1.16's GRPOTrainer on logprobs that are given: all around its loss is left out."""
    trainer = pytest.importorskip("trl").GRPOTrainer

    def loss(loss_type: str, low: float, high: float, level: str = "token", **more: Any) -> Tensor:
        args = SimpleNamespace(
            delta=None,
            use_bias_correction_kl=more.pop("unbiased", False),
            sapo_temperature_pos=1.0,
            sapo_temperature_neg=1.05,
            vespo_k_pos=2.0,
            vespo_lambda_pos=3.0,
            vespo_k_neg=3.0,
            vespo_lambda_neg=2.0,
            steps_per_generation=1,
        )
        bare = SimpleNamespace(
            args=args,
            loss_type=loss_type,
            epsilon_low=low,
            epsilon_high=high,
            importance_sampling_level=level,
            beta=more.pop("beta", 0.0),
            off_policy_mask_threshold=more.pop("delta", None),
            get_off_policy_mask=trainer.get_off_policy_mask,
            get_gamma_weights=trainer.get_gamma_weights,
            aux_loss_enabled=False,
            _entropy_bonus_enabled=False,
            top_entropy_quantile=1.0,
            use_vllm=False,
            vllm_importance_sampling_correction=False,
            max_completion_length=current_BT.shape[1],
            model=SimpleNamespace(training=False),
            accelerator=SimpleNamespace(
                num_processes=1, reduce=lambda value, reduction: value, gather=lambda value: value
            ),
            _metrics=defaultdict(lambda: defaultdict(list)),
            _get_per_token_logps_and_entropies=lambda *_, **__: (
                current_BT,
                torch.zeros_like(current_BT),
                None,
            ),
        )
        empty = torch.zeros(len(current_BT), 0, dtype=torch.int64)
        batch = {
            "prompt_ids": empty,
            "prompt_mask": empty,
            "completion_ids": mask_BT,
            "completion_mask": mask_BT,
            "num_items_in_batch": mask_BT.sum(),
            **inputs,
        }
        found: Tensor = trainer._compute_loss(bare, None, batch)
        return found

    return loss


LENGTHS = (5, 3, 1)
MASK = torch.tensor([[1] * n + [0] * (5 - n) for n in LENGTHS])
CLIPPED = {"objective": "clipped", "dual_clip": 0.0}
SUMMED = {"denominator": "constant", "constant": 1.0}
TRAJECTORY = torch.cat([torch.full((n,), i) for i, n in enumerate(LENGTHS)])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (CLIPPED, ("dapo", 0.2, 0.28)),
        (CLIPPED | {"denominator": "trajectory"}, ("grpo", 0.2, 0.28)),
        (CLIPPED | {"denominator": "constant", "constant": 5.0}, ("dr_grpo", 0.2, 0.28)),
        ({"objective": "gspo"}, ("grpo", 3e-4, 4e-4, "sequence")),
        ({"objective": "gspo", **SUMMED}, ("luspo", 3e-4, 4e-4, "sequence")),
        ({"objective": "cispo"}, ("cispo", 0.2, 5.0)),
        ({"objective": "sapo", "denominator": "trajectory"}, ("sapo", 0.2, 0.2)),
        ({"objective": "vespo"}, ("vespo", 0.2, 0.2)),
    ],
    ids=lambda row: row.get("objective") + row.get("denominator", "") if isinstance(row, dict) else "",
)  # fmt: skip
@pytest.mark.parametrize("off", [0.0, 1e-4, 0.3])
def test_value_and_gradient_are_those_of_trl(
    ours: dict[str, Any], theirs: tuple[Any, ...], off: float
) -> None:
    torch.manual_seed(0)
    old_BT = -3 * torch.rand(3, 5)
    moved_BT = (old_BT + off * torch.randn(3, 5)).requires_grad_()
    advantage = torch.tensor([1.0, -0.5, 0.7])
    expected = trl_loss(moved_BT, MASK, old_per_token_logps=old_BT, advantages=advantage)(*theirs)
    (slope_BT,) = torch.autograd.grad(expected, moved_BT)

    flat = MASK.bool()
    current = moved_BT.detach()[flat].requires_grad_()
    weights = weights_of(LossConfig(**ours))
    policy = PolicyLoss(settled(LossConfig(**ours), late=False))
    columns = (current, old_BT[flat], old_BT[flat], advantage[TRAJECTORY], TRAJECTORY, TRAJECTORY)
    found = (weights * policy(*columns)[0]).sum()
    (slope,) = torch.autograd.grad(found, current)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    assert torch.allclose(slope, slope_BT[flat], rtol=1e-4, atol=1e-7)
    assert slope.abs().sum() > 0 and not slope_BT[~flat].any()


def weights_of(config: LossConfig) -> Tensor:
    """The token weights of LENGTHS, by the definition of each denominator."""
    sizes = torch.tensor(LENGTHS)[TRAJECTORY]
    match config.denominator:
        case "token":
            return torch.full((sum(LENGTHS),), 1 / sum(LENGTHS))
        case "trajectory":
            return 1 / sizes / len(LENGTHS)
        case _:
            assert config.constant is not None
            return torch.full((sum(LENGTHS),), 1 / (config.constant * len(LENGTHS)))


def test_the_mask_of_stale_episodes_is_that_of_trl() -> None:
    torch.manual_seed(1)
    trainer = pytest.importorskip("trl").GRPOTrainer
    sampled_BT, current_BT = -3 * torch.rand(3, 5), -3 * torch.rand(3, 5)
    for advantage in (torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([1.0, -1.0, 0.5])):
        for delta in (0.1, 0.5):
            keep_B1 = trainer.get_off_policy_mask(advantage[:, None], current_BT, sampled_BT, MASK, delta)
            flat = MASK.bool()
            found = stale(current_BT[flat], sampled_BT[flat], advantage[TRAJECTORY], TRAJECTORY, delta)
            assert torch.equal(1 - found, keep_B1.expand(3, 5)[flat].float())
