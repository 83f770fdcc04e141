"""FlexAttention's plan of a tree: equal to the dense one, small, and of few sizes."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.learn.block_masks import BLOCK, block_mask_of, blocks_of
from forge_train.learn.edge_attention import attend_edges, edges_of
from forge_train.learn.tree import pad
from forge_train.learn.tree_attention import attend_flex, compiled_flex
from tests.train.memory import peak_bytes
from tests.train.test_tree import tree_of

CPU = torch.device("cpu")
FEW = settings(max_examples=15)


@st.composite
def trees(draw):
    """Some blocks of positions: long runs of few tokens, so that forks fall inside and between blocks."""
    runs = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 150)), min_size=1, max_size=4)
    found = draw(st.lists(runs, min_size=1, max_size=6))
    tree, _ = tree_of([[token for token, count in runs for _ in range(count)] for runs in found])
    return pad(tree, -(-len(tree.tokens_T) // BLOCK) * BLOCK)


def seen_in(tree):
    at = torch.arange(len(tree.end_T))
    return (at <= at[:, None]) & (at[:, None] < tree.end_T)


@given(trees())
@FEW
def test_blocks_are_those_of_the_dense_mask(tree):
    """Empty where nothing is seen, full where all is, and else masked."""
    n = len(tree.end_T) // BLOCK
    count = seen_in(tree).view(n, BLOCK, n, BLOCK).sum((1, 3)).numpy()
    partial, full = blocks_of(tree.end_T)
    assert (full == (count == BLOCK * BLOCK)).all()
    assert (partial == ((count > 0) & (count < BLOCK * BLOCK))).all()


@given(trees())
@FEW
def test_is_what_flex_attention_makes_of_the_dense_mask(tree):
    from torch.nn.attention.flex_attention import create_block_mask

    t, end_T = len(tree.end_T), tree.end_T
    theirs = create_block_mask(
        lambda _b, _h, q, k: (k <= q) & (q < end_T[k]), None, None, t, t, device="cpu", BLOCK_SIZE=BLOCK
    )
    ours = block_mask_of(end_T, CPU)
    for name in ("kv", "full_kv", "q", "full_q"):
        counts, indices = (f"{name}_num_blocks", f"{name}_indices")
        assert torch.equal(getattr(ours, counts), getattr(theirs, counts))
        used = torch.arange(t // BLOCK) < getattr(ours, counts)[..., None]
        assert torch.equal(getattr(ours, indices)[used], getattr(theirs, indices)[used])


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@given(trees())
@settings(max_examples=4)
def test_flex_attention_computes_what_edges_do(tree):
    """Uncompiled and forward only: what a CPU can run of it."""
    t = len(tree.end_T)
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, t, 16), torch.randn(1, 2, t, 16), torch.randn(1, 2, t, 16)
    with torch.no_grad():
        found = attend_flex(q, k, v, None, block_mask_of(tree.end_T, CPU))
        assert torch.allclose(found, attend_edges(q, k, v, None, edges_of(tree.end_T)), atol=1e-5)


def wide(t: int) -> torch.Tensor:
    """An opening of 3,000 and branches of 500 behind it, in t positions."""
    at = torch.arange(t)
    return torch.where(at < 3000, t, ((at - 3000) // 500 + 1) * 500 + 3000).clamp(max=t)


def test_a_mask_of_65536_positions_takes_few_bytes():
    """Counted: everything torch and numpy allocate on the way, alive at one time. Dense it is 4.3 GB."""
    end_T = wide(65_536)
    block_mask_of(end_T, CPU)  # what is imported and cached does not count
    tracemalloc.start()
    tensors = peak_bytes(lambda: block_mask_of(end_T, CPU))
    _, arrays = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tensors + arrays < 50e6


def test_the_cpu_plan_of_65536_positions_takes_few_bytes():
    end_T = wide(65_536)
    tracemalloc.start()
    edges_of(end_T)
    _, arrays = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert arrays < 20e6


def test_trees_of_one_size_are_compiled_once():
    """Different trees, the same positions: the plan is data, not code."""
    compiled: list[int] = []

    def count(graph, _inputs):
        compiled.append(1)
        return graph.forward

    attention = compiled_flex(count)
    for t in (256, 384):
        for tail in (0, 40, 100):
            at = torch.arange(t)
            end_T = torch.where(at < t - tail, t, at + 1)
            q = torch.randn(1, 2, t, 16)
            attention(q, q, q, block_mask=block_mask_of(end_T, CPU), scale=None, enable_gqa=True)
    assert len(compiled) == 2
