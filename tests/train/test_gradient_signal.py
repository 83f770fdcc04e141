"""What the gradient of an update is made of adds up to the gradient that the optimizer is given."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import LossConfig
from forge_train.learn.advantages import rloo
from forge_train.learn.gradient_signal import gradient_signal
from tests.train.test_learner import FEW, gradient, made, plays

LOSS = LossConfig(objective="nll")


def grouped(seed: int, groups: int = 4):  # type: ignore[no-untyped-def]
    group = plays(seed, 8)
    for i, t in enumerate(group):
        t.group = f"g{i % groups}"
    return group


@given(st.integers(0, 99), st.sampled_from([40, 4096]))
@FEW
def test_up_and_down_are_the_sides_of_the_updates_gradient(seed: int, micro_tokens: int) -> None:
    group = grouped(seed)
    rows = rloo(group)
    found = gradient_signal(made(micro_tokens=micro_tokens), group, rows, LOSS)
    whole = gradient(made(grad_clip=1e9), group, rows, LOSS)
    up, down = found["grad_norm_up"], found["grad_norm_down"]
    total = up**2 + down**2 + 2 * found["grad_sides"] * up * down
    assert total == pytest.approx(float(whole.norm()) ** 2, rel=1e-3, abs=1e-9)
    alone = gradient(made(grad_clip=1e9), group, [[max(a, 0.0) for a in row] for row in rows], LOSS)
    assert up == pytest.approx(float(alone.norm()), rel=1e-3)


def test_it_changes_nothing() -> None:
    learner, group = made(), grouped(0)
    before = [p.detach().clone() for p in learner.model.parameters()]
    gradient_signal(learner, group, rloo(group), LOSS)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
    assert all(p.grad is None for p in learner.model.parameters())
    assert gradient(learner, group, rloo(group), LOSS).equal(gradient(made(), group, rloo(group), LOSS))


def test_halves_that_say_the_same_agree_and_halves_that_say_the_opposite_do_not() -> None:
    group = plays(3, 1) * 2
    twins = [type(t)(f"g{i}", t.segments, t.rewards) for i, t in enumerate(group)]
    ones = [[1.0] * len(t.rewards) for t in twins]
    assert gradient_signal(made(), twins, ones, LOSS)["grad_agreement"] == pytest.approx(1.0, abs=1e-4)
    against = [ones[0], [-a for a in ones[1]]]
    found = gradient_signal(made(), twins, against, LOSS)
    assert found["grad_agreement"] == pytest.approx(-1.0, abs=1e-4) == found["grad_sides"]
    assert found["grad_norm_up"] == pytest.approx(found["grad_norm_down"], rel=1e-4)
    assert gradient_signal(made(), twins, ones, LOSS)["grad_norm_down"] == 0.0
