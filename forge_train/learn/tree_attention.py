"""Runs a Hugging Face causal model on a tree: attention in which a position sees its ancestors and itself.

Elsewhere than on CUDA, queries are taken a tile at a time, in depth-first order. What a tile can see is the
path from the root to its first position and the tile itself; only these keys are gathered, so the work grows
with the sequences' own lengths, not with the square of the tree's, and `scaled_dot_product_attention` does it
with a 4-D mask. On CUDA, FlexAttention (arXiv 2412.05496) skips masked blocks by itself.

Shapes: T positions, h query heads = k kv heads x r, d head_dim, S keys of a tile.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from forge_train.learn.tree import Tree, grow, trie_of

NAME = "forge_tree"
"""Our attention in transformers' registry."""

TILE = 256
"""Queries attended to at once. Wider tiles waste more of their square, narrower ones run slower per query."""

FIX = 'set optim.packing = "padded"'


@dataclass(frozen=True, slots=True)
class Tiles:
    """Which keys each tile of queries needs. Built once a forward pass, used in every layer."""

    widths: list[int]
    """Queries of each tile; they add up to T."""
    spans: list[int]
    """Keys of each tile."""
    keys: Tensor
    """int64 [sum of spans]: positions of the keys, tile after tile."""
    masks: tuple[Tensor, ...]
    """[1, 1, width, S], 0 or -inf, added to the scores."""


Plan = Tiles | Any
"""`Tiles`, or on CUDA FlexAttention's BlockMask."""


def tiles_of(end_T: Tensor, width: int = TILE) -> Tiles:
    """Plan the attention of a tree, on the CPU; `end_T` as in `Tree`."""
    end = end_T.numpy()
    widths, keys, masks = [], [], []
    for start in range(0, len(end), width):
        query = np.arange(start, min(start + width, len(end)))
        key = np.concatenate([np.flatnonzero(end[:start] > start), query])
        seen = (key <= query[:, None]) & (query[:, None] < end[key])
        widths.append(len(query))
        keys.append(key)
        masks.append(torch.from_numpy(np.where(seen, np.float32(0), np.float32("-inf")))[None, None])
    return Tiles(
        widths=widths,
        spans=[len(key) for key in keys],
        keys=torch.from_numpy(np.concatenate(keys)),
        masks=tuple(masks),
    )


def attend_tiles(query: Tensor, key: Tensor, value: Tensor, scale: float | None, tiles: Tiles) -> Tensor:
    """query [1, h, T, d], key and value [1, k, T, d]; returns [1, T, h, d]."""
    h, k, d = query.shape[1], key.shape[1], query.shape[3]
    r = h // k
    out = []
    # Gathered and split in one piece: a gather per tile would make a gradient of all T keys for each.
    parts = zip(
        torch.split(query, tiles.widths, dim=2),
        torch.split(key.index_select(2, tiles.keys), tiles.spans, dim=2),
        torch.split(value.index_select(2, tiles.keys), tiles.spans, dim=2),
        tiles.masks,
        strict=True,
    )
    for query_t, key_S, value_S, mask in parts:
        # Heads of one kv head read it in place, and all share one mask: neither is copied.
        shared = (k, r, key_S.shape[2], d)
        out_t = F.scaled_dot_product_attention(
            query_t.reshape(k, r, -1, d),
            key_S.transpose(0, 1).expand(shared),
            value_S.transpose(0, 1).expand(shared),
            attn_mask=mask,
            scale=scale,
        )
        out.append(out_t.reshape(1, h, -1, d).transpose(1, 2))
    return torch.cat(out, dim=1)


def block_mask_of(end_T: Tensor) -> Any:
    """The same plan for FlexAttention, on the device of `end_T`."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < end_T[key])

    t = len(end_T)
    return create_block_mask(seen, None, None, t, t, device=end_T.device.type)


@functools.cache
def _flex(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Trees differ in length at every call: dynamic shapes, or each would be compiled anew.
    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention


def attend_flex(query: Tensor, key: Tensor, value: Tensor, scale: float | None, block_mask: Any) -> Tensor:
    """Shapes as in `attend_tiles`. Compiled on CUDA; that path has not been run: no GPU was at hand."""
    attention = _flex(compiled=query.device.type == "cuda")
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
    run = attend_tiles if isinstance(tree, Tiles) else attend_flex
    return run(query, key, value, scaling, tree), None


def inputs_of(tree: Tree, device: torch.device) -> dict[str, Any]:
    """What a prepared model's forward needs to run `tree`, beside use_cache=False."""
    end_T = tree.end_T.to(device)
    return {
        "input_ids": tree.tokens_T[None].to(device),
        "position_ids": tree.depth_T[None].to(device),
        # Four dimensions, so that transformers makes no mask of its own; and integers, so that attention
        # which is not ours raises instead of using it.
        "attention_mask": end_T[None, None, None],
        "tree": block_mask_of(end_T) if device.type == "cuda" else _moved(tiles_of(tree.end_T), device),
    }


def _moved(tiles: Tiles, device: torch.device) -> Tiles:
    return Tiles(tiles.widths, tiles.spans, tiles.keys.to(device), tuple(m.to(device) for m in tiles.masks))


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
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        model.set_attn_implementation(before)
        raise ValueError(f"{name} cannot run trees ({error}): {FIX}") from error
    gap = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
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
def _as_tree(model: PreTrainedModel, rows: list[list[int]]) -> list[Tensor]:
    sequences = [np.array(row, dtype=np.int64) for row in rows]
    trie = trie_of(sequences)
    tree = grow([sequences[i] for i in trie.order], trie.shared)
    hidden = model.base_model(**inputs_of(tree, model.device), use_cache=False).last_hidden_state[0].float()
    by_row = dict(zip(trie.order, tree.paths, strict=True))
    return [hidden[by_row[i].to(hidden.device)] for i in range(len(rows))]
