"""Numbers computed by hand from the papers' formulas."""

import pytest
import torch

from forge_train.config import LossConfig
from forge_train.learn.advantages import dr_grpo, grpo, rloo
from forge_train.learn.losses import clipped, geometric_mean
from forge_train.trajectory import Trajectory

PROXIMAL = torch.tensor([-1.0, -2.0, -0.5, -0.7])
CURRENT = torch.tensor([-0.9, -2.2, -0.4, -0.7])
BEHAVIOUR = torch.tensor([-1.2, -2.0, -1.6, -0.6])


def group(*returns: float) -> list[Trajectory]:
    return [Trajectory("g", rewards=[r]) for r in returns]


def test_grpo_with_the_unbiased_deviation():
    a = 0.866024  # 0.5 / (sqrt(1/3) + 1e-6)
    assert grpo(group(1, 0, 0, 1)) == [pytest.approx([x], abs=1e-6) for x in (a, -a, -a, a)]


def test_leave_one_out_and_its_factor():
    loo = [row[0] for row in rloo(group(1, 0, 0, 0))]
    assert loo == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert loo == pytest.approx([4 / 3 * row[0] for row in dr_grpo(group(1, 0, 0, 0))])


@pytest.mark.parametrize("sign", [1, -1])
def test_klear_objective(sign):
    config = LossConfig(clip_low=0.2, clip_high=0.28, importance_cap=2.0)
    loss, stats = clipped(CURRENT, PROXIMAL, BEHAVIOUR, sign * torch.ones(4), config)
    assert stats["ratio"].tolist() == pytest.approx([1.105171, 0.818731, 1.105171, 1], abs=1e-6)
    assert stats["importance"].tolist() == pytest.approx([1.221403, 1, 2, 0.904837], abs=1e-6)
    assert not stats["clipped"].any()
    assert -loss.mean().item() == pytest.approx(sign * 1.320942, abs=1e-6)


def test_sequence_and_turn_ratios():
    log_ratio = CURRENT - PROXIMAL
    sequence = geometric_mean(log_ratio, torch.zeros(4, dtype=torch.int64))
    assert sequence.tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    turns = geometric_mean(log_ratio, torch.tensor([0, 0, 1, 1]))
    assert turns.tolist() == pytest.approx([0.951229, 0.951229, 1.051271, 1.051271], abs=1e-6)
