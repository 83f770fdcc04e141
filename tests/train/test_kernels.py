"""How a forward is computed changes no result."""

from __future__ import annotations

import pytest
import torch

from forge_train.learn.kernels import blocks, fuse_kernels, recompute_blocks
from tests.train.ranks import Case, learner_of, model_of, plays


def gradient(case: Case) -> torch.Tensor:
    learner, caught = learner_of(case, model_of(), None), []
    learner.optimizer.register_step_pre_hook(
        lambda *_: caught.extend(p.grad.flatten() for p in learner.model.parameters())
    )
    group, advantages = plays(5)
    from forge_train.config import LossConfig

    learner.update(group, advantages, LossConfig())
    return torch.cat(caught)


def test_recomputed_activations_give_the_same_gradient():
    assert torch.equal(gradient(Case(optim={"gradient_checkpointing": True})), gradient(Case()))


def test_recomputing_keeps_fewer_activations():
    def kept(recompute: bool) -> int:
        model, sizes = model_of().eval(), []
        if recompute:
            recompute_blocks(model)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            model(input_ids=torch.arange(48)[None]).logits.sum()
        return sum(sizes)

    assert kept(True) < kept(False) / 2


def test_recomputing_twice_is_recomputing_once():
    model = model_of()
    recompute_blocks(model)
    before = [block.forward for block in blocks(model)]
    recompute_blocks(model)
    assert [block.forward for block in blocks(model)] == before


def test_fused_kernels_need_a_gpu():
    with pytest.raises(ValueError, match=r'"liger" needs a GPU.*set model.kernels = "torch"'):
        fuse_kernels(model_of(), "cpu")
