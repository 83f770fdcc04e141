"""Merging one weight: golden numbers, and what must hold of every method whatever the numbers are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from forge_train.merging.methods import MEASURED, METHODS, Recipe, energies

GOLDEN = torch.tensor([[1.0, -2.0, 0.1, 3.0], [2.0, 1.0, 0.1, -1.0]])
"""Golden number 10 of algorithms.md, base 0."""

whole = st.integers(-3, 3).map(float)
tables = st.integers(2, 4).flatmap(
    lambda experts: st.integers(1, 6).flatmap(
        lambda width: st.lists(
            st.lists(whole, min_size=width, max_size=width), min_size=experts, max_size=experts
        )
    )
).map(torch.tensor)  # fmt: skip
methods = st.sampled_from(sorted(METHODS))


def change(deltas_E: Tensor, method: str, weights: Any = None, **options: Any) -> Tensor:
    recipe = Recipe(method, tuple(weights or [1.0] * len(deltas_E)), **options)
    return recipe.change(list(deltas_E), torch.Generator().manual_seed(3))


def test_sce_is_mergekits():
    """Computed by mergekit 0.1.4's sce_merge itself: with density 0.5 one entry of three that vary is kept.

    algorithms.md has [0, -2, 0, 3] and w = [.866667, .133333] for density .5: that is what mergekit gives for
    two kept entries, from density 0.67 on.
    """
    assert change(GOLDEN, "sce", density=0.5, floor=1e-6).tolist() == pytest.approx([0, 0, 0, 3])
    assert energies(GOLDEN * torch.tensor([0, 0, 0, 1.0])).tolist() == pytest.approx([0.9, 0.1])
    assert change(GOLDEN, "sce", density=0.67, floor=1e-6).tolist() == pytest.approx([0, -2, 0, 3])
    two = energies(GOLDEN * torch.tensor([0, 1.0, 0, 1.0]))
    assert two.tolist() == pytest.approx([0.866667, 0.133333], abs=1e-6)
    assert change(GOLDEN, "sce", density=0.25).tolist() == [0, 0, 0, 0]
    everything = [1.3002, -2.0, 0.1, 3.0]
    assert change(GOLDEN, "sce", floor=1e-6).tolist() == pytest.approx(everything, abs=1e-5)


def test_sce_as_the_paper_prints_it():
    literal = change(GOLDEN, "sce_paper", density=0.5, consensus="none")
    assert literal.tolist() == pytest.approx([0, -1.099401, 0, 1.799201], abs=1e-6)
    assert energies(GOLDEN).tolist() == pytest.approx([0.6998, 0.3002], abs=1e-4)
    unanimous = change(GOLDEN, "sce_paper", consensus="unanimous")
    assert unanimous.tolist() == pytest.approx([1.3002, 0, 0.1, 0], abs=1e-5)
    # Renormalised it would be SCE; it is not.
    minority = change(GOLDEN, "sce_paper")
    assert minority.tolist() == pytest.approx([1.3002, -1.3996, 0.1, 2.0994], abs=1e-4)
    assert minority.tolist() == pytest.approx(change(GOLDEN, "sce", renormalize=False).tolist())


def test_mergekits_floor_makes_small_changes_weigh_the_same():
    small = GOLDEN * 1e-4
    assert energies(small).tolist() == pytest.approx([0.6998, 0.3002], abs=1e-4)
    assert energies(small, floor=1e-6).tolist() == [0.5, 0.5]


def test_ties_by_hand():
    # Of [1, -2, .1] the two largest are kept; signs of the sums: 1, -1, +.
    deltas_E = torch.tensor([[1.0, -2.0, 0.1], [0.5, 1.0, 3.0]])
    assert change(deltas_E, "ties", density=0.67).tolist() == [1.0, -2.0, 3.0]
    # weighted: sum of the second entry is 3 * 1 - 2 > 0, so that the other sign wins.
    assert change(deltas_E, "ties", [1.0, 3.0], density=1.0).tolist() == pytest.approx([0.625, 1.0, 2.275])


def test_where_experts_cancel_out_the_sign_is_plus_as_in_mergekit():
    deltas_E = torch.tensor([[1.0, -2.0], [-1.0, 2.0]])
    for method in ("sce", "ties"):
        assert change(deltas_E, method, density=1.0).tolist() == [1.0, 2.0]


def test_linear_and_task_arithmetic_by_hand():
    deltas_E = torch.tensor([[1.0, 2.0], [3.0, -2.0]])
    assert change(deltas_E, "linear", [1.0, 3.0]).tolist() == [2.5, -1.0]
    assert change(deltas_E, "task_arithmetic", [1.0, 3.0], scale=0.5).tolist() == [5.0, -2.0]


@given(tables, st.sampled_from(["dare_linear", "dare_ties"]))
def test_dare_keeps_a_share_and_rescales_it(deltas_E, method):
    one = deltas_E[:1]
    found = change(one, method, density=0.5)
    assert all(v in (0.0, 2 * d) for v, d in zip(found.tolist(), one[0].tolist(), strict=True))


def test_dare_is_right_on_average():
    deltas_E = torch.tensor([[1.0], [2.0]]).expand(2, 20_000)
    found = change(deltas_E, "dare_linear", density=0.1)
    assert float(found.mean()) == pytest.approx(3.0, abs=0.15)
    assert float((found == 0).float().mean()) == pytest.approx(0.81, abs=0.02)


@given(tables, methods, st.randoms(use_true_random=False))
def test_the_order_of_experts_does_not_matter(deltas_E, method, rng):
    if method.startswith("dare"):
        return  # which entries are dropped is drawn in order
    order = rng.sample(range(len(deltas_E)), len(deltas_E))
    weights = [1.0] * len(deltas_E) if method in MEASURED else [1.0 + i for i in range(len(deltas_E))]
    a = change(deltas_E, method, weights, density=0.5)
    b = change(deltas_E[order], method, [weights[i] for i in order], density=0.5)
    assert a.tolist() == pytest.approx(b.tolist(), abs=1e-5)


@given(tables, methods)
def test_experts_that_agree_are_what_they_agree_on(deltas_E, method):
    same = deltas_E[:1].expand(3, -1)
    scale = 1 / 3 if method in ("task_arithmetic", "dare_linear", "dare_ties") else 1.0  # these add up
    assert change(same, method, density=1.0, scale=scale).tolist() == pytest.approx(
        same[0].tolist(), abs=1e-5
    )


@given(tables, methods)
def test_no_entry_goes_beyond_what_experts_did(deltas_E, method):
    if method in ("task_arithmetic", "dare_linear", "dare_ties"):
        return
    found = change(deltas_E, method, density=0.5)
    low, high = deltas_E.amin(0).clamp(max=0), deltas_E.amax(0).clamp(min=0)
    assert ((found >= low - 1e-5) & (found <= high + 1e-5)).all()


@given(tables, methods)
def test_nothing_changed_is_nothing_merged(deltas_E, method):
    assert not change(torch.zeros_like(deltas_E), method).any()


@given(tables, methods, st.sampled_from([0.5, 2.0]))
def test_changes_scale_with_the_change(deltas_E, method, factor):
    a = change(factor * deltas_E, method, density=0.5)
    b = change(deltas_E, method, density=0.5)
    assert a.tolist() == pytest.approx((factor * b).tolist(), abs=1e-4)


@given(tables)
def test_sce_and_ties_erase_the_minority(deltas_E):
    for merged in (change(deltas_E, "sce"), change(deltas_E, "ties", density=1.0)):
        total = deltas_E.sum(0)
        assert not ((merged < 0) & (total > 0)).any() and not ((merged > 0) & (total < 0)).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "slerp"}, "use one of"),
        ({"density": 0.0}, "lies in"),
        ({"density": 1.5}, "lies in"),
        ({"weights": ()}, "a number for each"),
        ({"weights": (float("nan"),)}, "a number for each"),
        ({"method": "ties", "weights": (1.0, -1.0)}, "divides by their sum"),
        ({"scale": float("inf")}, "give a number"),
    ],
)
def test_what_cannot_be_merged_by_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**{"method": "sce", "weights": (1.0, 1.0), **options})
