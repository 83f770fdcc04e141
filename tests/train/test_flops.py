"""The formula of what an update computes, against torch's own counter and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from forge_train.config import LossConfig, OptimConfig
from forge_train.learn import tree_attention
from forge_train.learn.batch import samples
from forge_train.learn.flops import expert_share, known_peak, lengths_of, pair_flops, visible_pairs, windows
from forge_train.learn.learner import Learner
from forge_train.learn.lora import add_lora
from forge_train.learn.packing import microbatches
from tests.train.models import qwen3
from tests.train.test_learner import plays


@pytest.fixture(autouse=True)
def tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention by tiles, whose products torch counts one by one; those of fused kernels it guesses."""
    monkeypatch.setattr(tree_attention, "plan_of", lambda end_T, device, read: tree_attention.tiles_of(end_T))


def counted(learner: Learner, group: Any, loss: LossConfig) -> tuple[dict[str, float], int, int]:
    """Figures of an update; FLOPs that torch saw of matrices, and of attention."""
    credit = [[1.0] * len(t.rewards) for t in group]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        figures = learner.update(group, credit, loss)
    found = counter.get_flop_counts()["Global"]
    attention = sum(count for kind, count in found.items() if "bmm" in str(kind))
    return figures, sum(found.values()) - attention, attention


def attended(learner: Learner, group: Any) -> tuple[int, int]:
    """Pairs that one pass needs, and pairs that its attention computes, in one layer."""
    found = samples(group, [[1.0] * len(t.rewards) for t in group])
    needed = computed = 0
    for batch in microbatches(found, learner.optim.micro_tokens, learner.optim.packing):
        needed += visible_pairs(lengths_of([found[i] for i in batch.samples], batch))
        if batch.tree is None:
            computed += batch.tokens_BT.shape[0] * batch.tokens_BT.shape[1] ** 2
        else:
            tiles = tree_attention.tiles_of(batch.tree.end_T)
            computed += sum(w * s for w, s in zip(tiles.widths, tiles.spans, strict=True))
    return needed, computed


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("recomputed", [False, True])
def test_the_formula_is_what_torch_counts(recomputed: bool, tied: bool) -> None:
    optim = OptimConfig(packing="tree", gradient_checkpointing=recomputed, micro_tokens=99999)
    learner, group = Learner(qwen3(tied=tied), optim), plays(3)
    figures, matrices, attention = counted(learner, group, LossConfig())
    needed, computed = attended(learner, group)
    pair = 2 * pair_flops(learner.model.config)  # of both layers
    again = 2 * learner.work.again * figures["tokens_forwarded"]
    assert figures["flops"] - 3 * needed * pair + again == matrices
    assert attention == (3 + recomputed) * computed * pair
    assert needed < computed, "a tile computes pairs that are masked: they are not needed"


@pytest.mark.parametrize("packing", ["tree", "padded"])
def test_passes_without_gradient_are_counted_as_such(packing: Any) -> None:
    """Scored before the first of two optimizer steps; padding is computed and not needed."""
    learner, group = Learner(qwen3(), OptimConfig(packing=packing, micro_tokens=99999)), plays(3)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner.logprobs(group)
    found = counter.get_flop_counts()["Global"]
    attention = sum(count for kind, count in found.items() if "bmm" in str(kind))
    needed, computed = attended(learner, group)
    pair = 2 * pair_flops(learner.model.config)
    told = learner.work.taken().needed - needed * pair
    assert attention == computed * pair
    assert told == sum(found.values()) - attention if packing == "tree" else told < sum(found.values())
    one, two = (Learner(qwen3(), OptimConfig()).update(group, [[1.0] * len(t.rewards) for t in group],
                LossConfig(minibatches=n))["flops"] for n in (1, 2))  # fmt: skip
    assert one * 4 / 3 <= two, "a forward pass more, and fewer prefixes shared"


def test_frozen_matrices_have_no_gradient_of_their_own() -> None:
    model, group = qwen3(), plays(1)
    add_lora(model, rank=4, alpha=8.0, seed=0)
    learner = Learner(model, OptimConfig(packing="tree", micro_tokens=9999))
    figures, matrices, _ = counted(learner, group, LossConfig())
    needed, _ = attended(learner, group)
    told = figures["flops"] - 6 * needed * pair_flops(model.config)
    # Nothing before the first adapters wants a gradient of what came in: the formula counts it all the same.
    first = [m.in_features * m.out_features for n, m in model.named_modules() if "layers.0.self_attn" in n
             and n.endswith(("q_proj.base_layer", "k_proj.base_layer", "v_proj.base_layer"))]  # fmt: skip
    adapters = 3 * 4 * 32
    assert told - matrices == 2 * figures["tokens_forwarded"] * (sum(first) + adapters)


@given(st.integers(0, 2**16), st.integers(1, 200))
def test_shared_prefixes_are_counted_once_and_pairs_by_what_is_visible(seed: int, window: int) -> None:
    group = plays(seed)
    found = samples(group, [[1.0] * len(t.rewards) for t in group])
    (batch,) = microbatches(found, 99999, "tree")
    depths = lengths_of(found, batch)
    end = batch.tree.end_T
    k = torch.arange(len(end))
    sees = (k[None] <= k[:, None]) & (k[:, None] < end[None])
    assert visible_pairs(depths) == int(sees.sum())
    near = sees & (depths[:, None] - depths[None] < window)
    assert visible_pairs(depths, window) == int(near.sum())
    rows = sum(visible_pairs(lengths_of([found[i] for i in b.samples], b)) for b in microbatches(found, 64))
    assert rows == sum(s.forwarded * (s.forwarded + 1) // 2 for s in found)


def test_utilisation_is_told_where_a_peak_is_known() -> None:
    group = plays(0)
    credit = [[1.0] * len(t.rewards) for t in group]
    silent = Learner(qwen3(), OptimConfig()).update(group, credit, LossConfig())
    assert silent["flops"] > 0 and "mfu" not in silent and "hfu" not in silent
    told = Learner(qwen3(), OptimConfig(peak_tflops=1e-3)).update(group, credit, LossConfig())
    assert told["mfu"] == pytest.approx(told["flops"] / 1e9 / told["seconds"], rel=0.3)
    again = Learner(qwen3(), OptimConfig(peak_tflops=1e-3, gradient_checkpointing=True))
    figures = again.update(group, credit, LossConfig())
    assert figures["flops"] == told["flops"] and figures["hfu"] > figures["mfu"]


def test_configs_of_other_families() -> None:
    from transformers import DeepseekV3Config, Gemma2Config, Qwen2Config, Qwen3MoeConfig

    gemma = Gemma2Config(num_hidden_layers=4, sliding_window=16)
    assert windows(gemma).count(16) == 2 and windows(gemma).count(None) == 2
    assert set(windows(Qwen2Config(sliding_window=16, use_sliding_window=False))) == {None}
    assert expert_share(Qwen3MoeConfig(num_experts=128, num_experts_per_tok=8)) == 1 / 16
    deepseek = DeepseekV3Config()
    assert pair_flops(deepseek) == 2 * deepseek.num_attention_heads * (192 + 128)
    assert known_peak("NVIDIA H100 PCIe", bfloat16=True) == 756e12
    assert known_peak("NVIDIA A100-SXM4-80GB", bfloat16=False) == 19.5e12
