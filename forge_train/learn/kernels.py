"""How a forward is computed, not what: beside the loop, activations kept or recomputed, plain or fused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Compute beside the loop, on as many threads as the loop's own work has.

    By itself a new thread would take as many as an engine's pass on the loop has just then.
    """
    return await asyncio.to_thread(_on, torch.get_num_threads(), work)


def _on(threads: int, work: Callable[[], T]) -> T:
    torch.set_num_threads(threads)
    return work()


def blocks(model: Any) -> list[nn.Module]:
    """The repeated layers of a Hugging Face model, as it names them itself. ValueError when it does not."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    found = [module for module in model.modules() if type(module).__name__.removeprefix("FSDP") in names]
    if not found:
        raise ValueError(
            f"{type(model).__name__} does not name its blocks (_no_split_modules): set optim.shard = false "
            "and optim.gradient_checkpointing = false"
        )
    return found


def recompute_blocks(model: Any) -> None:
    """Keep only what enters each block; the backward computes the rest again (arXiv 1604.06174). In place.

    A third more computing for activations of one block instead of all. transformers' own switch works only
    in training mode, which would also switch dropout on. Doing it twice changes nothing.
    """
    for block in blocks(model):
        if not hasattr(block, "recomputes"):
            block.recomputes = True  # type: ignore[assignment]
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


def fuse_kernels(model: Any, device: str) -> None:
    """Swap norms, rotary embedding and MLP for Liger's Triton kernels (arXiv 2410.10989), in place.

    The loss stays ours: it needs logprobs of chosen tokens at chosen positions. Written from Liger's
    reference; no GPU has run it here. Raises ValueError without a GPU, without the package, or for a model
    that Liger does not know.
    """
    if not device.startswith("cuda"):
        raise ValueError(
            f'model.kernels = "liger" needs a GPU, but model.device = "{device}": set model.kernels = "torch"'
        )
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
        from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN
    except ImportError as error:
        raise ValueError(
            f"model.kernels = \"liger\" needs liger-kernel ({error}): pip install 'forge-envs[liger]', "
            'or set model.kernels = "torch"'
        ) from error
    kind = model.config.model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ValueError(f'Liger has no kernels for "{kind}" models: set model.kernels = "torch"')
    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
    model.fused = True
