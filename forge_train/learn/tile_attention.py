"""Attention of a tree a tile of queries at a time: for devices without fused parts (`edge_attention`).

Queries are taken in depth-first order. What a tile can see is the path from the root to its first position
and the tile itself; only these keys are gathered, so the work grows with the sequences' own lengths, not with
the square of the tree's, and `scaled_dot_product_attention` does it with a 4-D mask.

Shapes: T positions, h query heads = k kv heads x r, d head_dim, S keys of a tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 256
"""Queries attended to at once. Wider tiles waste more of their square, narrower ones run slower per query."""


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


def to_device(tiles: Tiles, device: torch.device) -> Tiles:
    """The same plan with its tensors on `device`."""
    return Tiles(tiles.widths, tiles.spans, tiles.keys.to(device), tuple(m.to(device) for m in tiles.masks))
