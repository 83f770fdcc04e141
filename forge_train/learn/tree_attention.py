"""Runs a Hugging Face causal model on a tree: attention in which a position sees its ancestors and itself.

On a CPU edge by edge (`edge_attention`), on CUDA by FlexAttention (arXiv 2412.05496), which skips blocks of
scores that do not exist (`block_masks`), elsewhere a tile of queries at a time (`tile_attention`).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from forge_train.learn.block_masks import block_mask_of
from forge_train.learn.edge_attention import Edges, attend_edges, edges_of
from forge_train.learn.tile_attention import Tiles, attend_tiles, tiles_of, to_device
from forge_train.learn.tree import Tree, grow, trie_of

NAME = "forge_tree"
"""Our attention in transformers' registry."""

FIX = 'set optim.packing = "padded"'

Plan = Edges | Tiles | Any
"""On CUDA FlexAttention's BlockMask."""


def plan_of(end_T: Tensor, device: torch.device, read: Tensor | None = None) -> Plan:
    """How a tree is attended to on `device`; `end_T` as in `Tree`, on the CPU, `read` as in `inputs_of`."""
    if device.type == "cpu":
        return edges_of(end_T, read=None if read is None else torch.unique(read))
    return block_mask_of(end_T, device) if device.type == "cuda" else to_device(tiles_of(end_T), device)


@functools.cache
def compiled_flex(backend: str | Any = "inductor") -> Any:
    """FlexAttention, compiled once for each size that trees are padded to (`forge_train.learn.tree.pad`).

    Not for dynamic sizes: their lowering fails (pytorch#147756). And never silently uncompiled, which would
    make T x T scores: too many sizes are an error.
    """
    from torch.nn.attention.flex_attention import flex_attention

    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 64)
    return torch.compile(flex_attention, dynamic=False, fullgraph=True, backend=backend)


def attend_flex(query: Tensor, key: Tensor, value: Tensor, scale: float | None, block_mask: Any) -> Tensor:
    """Shapes as in `attend_edges`. Compiled on CUDA; that path has not been run: no GPU was at hand."""
    from torch.nn.attention.flex_attention import flex_attention

    attention = compiled_flex() if query.device.type == "cuda" else flex_attention
    out: Tensor = attention(query, key, value, block_mask=block_mask, scale=scale, enable_gqa=True)
    return out.transpose(1, 2)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Plan | None = None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Our entry in transformers' registry: like its "sdpa" where the forward pass was not given a tree."""
    if tree is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return plain
    for name in ("sliding_window", "softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ValueError(f"{type(module).__name__} wants {name}, which trees do not have: {FIX}")
    query, key, value = _alike(query, key, value)
    if isinstance(tree, Edges):
        config = getattr(module, "config", None)
        last = getattr(module, "layer_idx", -1) + 1 == getattr(config, "num_hidden_layers", None)
        return attend_edges(query, key, value, scaling, tree, last=last), None
    if isinstance(tree, Tiles):
        return attend_tiles(query, key, value, scaling, tree), None
    return attend_flex(query, key, value, scaling, tree), None


def _alike(query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
    """In one precision, that of autocast where it is on: there norms and rotary embeddings of a model leave
    queries and keys in float32 beside values in bfloat16, which fused attention does not take."""
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
    return [x.to(dtype) for x in (query, key, value)]


def inputs_of(tree: Tree, device: torch.device, read: Tensor | None = None) -> dict[str, Any]:
    """What a prepared model's forward needs to run `tree`, beside use_cache=False.

    `read` are the positions of which the last hidden state is looked at; those of others may be wrong.
    """
    end_T = tree.end_T.to(device)
    return {
        "input_ids": tree.tokens_T[None].to(device),
        "position_ids": tree.depth_T[None].to(device),
        # Four dimensions, so that transformers makes no mask of its own; and integers, so that attention
        # which is not ours raises instead of using it.
        "attention_mask": end_T[None, None, None],
        "tree": plan_of(tree.end_T, device, read),
    }


def prepare(model: PreTrainedModel) -> None:
    """Give `model` attention that runs trees; whole sequences it computes as before.

    Raises ValueError for a model that would compute something else on a tree: sliding windows, layers that
    are not full attention, attention that ignores its mask. What the config does not tell, a small tree does.
    """
    config, name = model.config, type(model).__name__
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise ValueError(f"{name} has layers of {', '.join(sorted(kinds))}; trees need full attention: {FIX}")
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        raise ValueError(
            f"{name} attends to sliding windows (sliding_window = {config.sliding_window}): {FIX}"
        )
    # Few token ids: the smallest of vocabularies has them.
    rows = [[1, 2, 3, 1], [1, 2, 3, 2, 1], [1, 2, 1, 3, 2], [3, 1, 2]]
    expected = [_plain(model, row) for row in rows]
    before = config._attn_implementation
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    try:
        model.set_attn_implementation(NAME)
        found = _as_tree(model, rows)
        ends = _as_tree(model, rows, ends_only=True)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        model.set_attn_implementation(before)
        raise ValueError(f"{name} cannot run trees ({error}): {FIX}") from error
    gap = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    gap = max(gap, *(float((a[-1] - b[-1]).abs().max()) for a, b in zip(ends, expected, strict=True)))
    scale = max(float(e.abs().max()) for e in expected)
    # Eight bits of bfloat16 are the least that any weights have.
    if not gap <= 0.05 * scale:
        model.set_attn_implementation(before)
        raise ValueError(f"{name} computes something else on trees (hidden states off by {gap:.2g}): {FIX}")


@torch.no_grad()
def _plain(model: PreTrainedModel, row: list[int]) -> Tensor:
    ids = torch.tensor([row], device=model.device)
    hidden: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
    return hidden.float()


@torch.no_grad()
def _as_tree(model: PreTrainedModel, rows: list[list[int]], *, ends_only: bool = False) -> list[Tensor]:
    sequences = [np.array(row, dtype=np.int64) for row in rows]
    trie = trie_of(sequences)
    tree = grow([sequences[i] for i in trie.order], trie.shared)
    read = torch.stack([path[-1] for path in tree.paths]) if ends_only else None
    inputs = inputs_of(tree, model.device, read)
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state[0].float()
    by_row = dict(zip(trie.order, tree.paths, strict=True))
    return [hidden[by_row[i].to(hidden.device)] for i in range(len(rows))]
