"""Plans of micro-batches: nothing lost, never dearer than rows, equal shares, few sizes."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn.batch import Sample
from forge_train.learn.learner import Learner
from forge_train.learn.packing import Prices, collated, deal_packs, microbatches, packs, padded_size
from tests.train.models import qwen3
from tests.train.ranks import plays
from tests.train.test_tree import model

SOME = settings(max_examples=40)
SEEDS = st.integers(0, 2**16)
PRICES = st.sampled_from(
    [Prices(), Prices(100, 1, part=3000, batch=500), Prices(1, 10), Prices(10, 0, part=10**6)]
)


def sample(tokens: list[int]) -> Sample:
    """One whose last token is trained."""
    return Sample(
        trajectory=0,
        segment=0,
        tokens=torch.tensor([*tokens, 0]),
        at_N=torch.tensor([len(tokens)]),
        action_N=torch.zeros(1, dtype=torch.int64),
        behaviour_N=torch.zeros(1),
        advantage_N=torch.ones(1),
    )


def mixed(seed: int, groups: int = 4) -> list[Sample]:
    """Groups that share much, little or nothing, of lengths that differ by a factor of ten."""
    rng = random.Random(seed)
    found = []
    for _ in range(groups):
        opening = [rng.randrange(99) for _ in range(rng.choice([0, 3, 60, 300]))]
        for _ in range(rng.randint(1, 6)):
            found.append(sample(opening + [rng.randrange(99) for _ in range(rng.randint(20, 200))]))
    rng.shuffle(found)
    return found


def cost(planned) -> int:
    return sum(pack.cost for pack in planned)


@given(SEEDS, PRICES, st.sampled_from([300, 700, 4096]), st.sampled_from(["auto", "tree", "padded"]))
@SOME
def test_every_sample_is_in_one_batch_that_has_room_for_it(seed, prices, max_tokens, packing):
    found = mixed(seed)
    batches = microbatches(found, max_tokens, packing, prices)
    assert sorted(i for b in batches for i in b.samples) == list(range(len(found)))
    for batch in batches:
        assert batch.positions <= max_tokens or len(batch.samples) == 1


@given(SEEDS, PRICES, st.sampled_from([300, 4096]))
@SOME
def test_auto_costs_no_more_than_either(seed, prices, max_tokens):
    found = mixed(seed)
    auto, tree, rows = (cost(packs(found, max_tokens, kind, prices)) for kind in ("auto", "tree", "padded"))
    assert auto <= min(tree, rows)


@given(SEEDS, st.sampled_from([300, 4096]))
@SOME
def test_a_plan_costs_what_is_forwarded_and_attended_to(seed, max_tokens):
    """Counted from the batches themselves: positions, and pairs seen."""
    found, prices = mixed(seed), Prices(1, 1000)
    for kind in ("tree", "padded"):
        for pack in packs(found, max_tokens, kind, prices):
            batch = collated(found, pack, max_tokens, prices)
            if batch.tree is not None:
                pairs = int((batch.tree.depth_T + 1).sum())
            else:
                rows, width = batch.tokens_BT.shape
                pairs = rows * width * (width + 1) // 2
            assert pack.cost == batch.positions + 1000 * pairs


def test_sharing_is_declined_where_it_does_not_pay():
    """A group with a long opening, and episodes that share their first three tokens with it."""
    rng = random.Random(0)
    words = lambda count: [rng.randrange(99) for _ in range(count)]  # noqa: E731
    head = words(3)
    opening = head + words(500)
    group = [sample(opening + words(50)) for _ in range(4)]
    loners = [sample(head + words(100)) for _ in range(4)]
    prices = Prices(100, 1, part=20_000, batch=1000)
    assert all(p.shared is None for p in packs(loners, 4096, "auto", prices))
    assert all(p.shared is not None for p in packs(group, 4096, "auto", prices))
    planned = packs(group + loners, 4096, "auto", prices)
    assert {p.shared is not None: set(p.samples) for p in planned} == {
        True: {0, 1, 2, 3},
        False: {4, 5, 6, 7},
    }


@given(SEEDS, PRICES, st.integers(1, 5), st.sampled_from([300, 700, 4096]))
@SOME
def test_processes_get_as_many_batches_of_equal_cost(seed, prices, parts, max_tokens):
    found = mixed(seed, groups=6)
    planned = packs(found, max_tokens, "auto", prices)
    hands = deal_packs(planned, parts, prices)
    assert sorted(i for hand in hands for pack in hand for i in pack.samples) == list(range(len(found)))
    counts = [len(hand) for hand in hands]
    assert len(hands) == parts and max(counts) - min(counts) <= 1
    spent = [cost(hand) for hand in hands]
    # Each round goes to whoever has had least, the costliest first: apart by one batch at most.
    assert max(spent) - min(spent) <= max(pack.cost for hand in hands for pack in hand)


def test_one_batch_is_cut_for_two_processes():
    rng = random.Random(1)
    opening = [rng.randrange(99) for _ in range(50)]
    found = [sample(opening + [rng.randrange(99) for _ in range(200)]) for _ in range(8)]
    prices = Prices(100, 1, part=1000, batch=1000)
    planned = packs(found, 4096, "auto", prices)
    assert len(planned) == 1
    one, two = deal_packs(planned, 2, prices)
    assert len(one) == len(two) == 1
    assert cost(one) == pytest.approx(cost(two), rel=0.1)
    assert max(cost(one), cost(two)) < 0.6 * planned[0].cost


def test_shares_are_of_flops_not_of_tokens():
    """Eight sequences of 100 and one of 800 are as many tokens, and not as much attention."""
    rng = random.Random(2)
    words = lambda count: [rng.randrange(99) for _ in range(count)]  # noqa: E731
    found = [sample(words(100)) for _ in range(8)] + [sample(words(800))]
    prices = Prices(1, 10)
    hands = deal_packs(packs(found, 800, "auto", prices), 2, prices)
    assert [sorted(i for p in hand for i in p.samples) for hand in hands] == [[8], list(range(8))]
    found += [sample(words(100)) for _ in range(8)] + [sample(words(800))]
    hands = deal_packs(packs(found, 800, "auto", prices), 2, prices)
    assert [sum(p.lengths == (800,) for p in hand) for hand in hands] == [1, 1]


@given(st.integers(1, 40_000), st.sampled_from([128, 1000, 4096, 16_384]))
def test_padded_sizes_are_few_whole_blocks_and_not_much_larger(positions, max_tokens):
    size = padded_size(positions, max_tokens)
    assert size >= positions and size % 128 == 0
    assert size <= max(positions * 1.5, positions + max_tokens / 4) + 256
    assert len({padded_size(n, 4096) for n in range(1, 4097)}) == 4


def test_a_run_of_random_batches_has_few_shapes():
    prices = Prices(100, 1, compiled=True)
    shapes = set()
    for seed in range(30):
        for batch in microbatches(mixed(seed), 1024, "tree", prices):
            shapes.add(batch.tokens_BT.shape)
            assert batch.real <= batch.positions and batch.at_N.max() < batch.real
    assert len(shapes) <= 4


def gradient(learner: Learner, count: int = 6) -> torch.Tensor:
    caught: list[torch.Tensor] = []
    parameters = list(learner.model.parameters())
    learner.optimizer.register_step_pre_hook(
        lambda *_: caught.append(torch.cat([p.grad.flatten() for p in parameters]))
    )
    learner.update(*plays(count), LossConfig())
    return caught[0]


@pytest.mark.parametrize(
    "prices", [Prices(1, 0, compiled=True), Prices(100, 1, part=300, batch=500), Prices(1, 0, part=10**9)]
)
@pytest.mark.parametrize("micro_tokens", [40, 4096])
def test_no_plan_and_no_padding_changes_a_gradient(prices, micro_tokens):
    def made(packing: str) -> Learner:
        optim = OptimConfig(packing=packing, micro_tokens=micro_tokens, grad_clip=1e9)
        return Learner(qwen3(), optim)

    planned = made("auto")
    planned.prices = prices
    expected = gradient(made("padded"))
    assert (gradient(planned) - expected).norm() <= 1e-5 * expected.norm()


def test_the_prices_of_a_model():
    small = model()
    prices = Prices.of(small, torch.device("cpu"))
    # 2 layers: q 32x32, k and v 32x16, o 32x32, and an MLP of three 32x48
    assert prices.position == 2 * 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48)
    assert prices.pair == 4 * 2 * 4 * 8
