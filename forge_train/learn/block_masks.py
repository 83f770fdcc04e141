"""FlexAttention's plan of a tree, from intervals: which blocks of scores exist, and which need a mask.

A key k is seen by the queries k .. end[k] - 1 (`forge_train.learn.tree`). So of a block of keys one must know
two numbers, its latest end and its earliest: query blocks that begin at or after the latest see none of them,
those that finish before the earliest see all, and the rest is masked. Nothing has T x T entries: what
`BlockMask` itself holds is an index for each pair of blocks, 1 MB a list at 65,536 positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 128
"""Queries, and keys, of a block: FlexAttention's own."""


def block_mask_of(end_T: Tensor, device: torch.device) -> Any:
    """The `BlockMask` of a tree on `device`; `end_T` as in `forge_train.learn.tree.Tree`, on the CPU.

    Positions after T, up to whole blocks, are not computed with.
    """
    from torch.nn.attention.flex_attention import BlockMask

    on_device_T = end_T.to(device)

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < on_device_T[key])

    partial, full = blocks_of(end_T)
    t = len(end_T)
    some, some_at = (x.to(device) for x in _listed(partial))
    whole, whole_at = (x.to(device) for x in _listed(full))
    return BlockMask.from_kv_blocks(
        some, some_at, whole, whole_at, BLOCK_SIZE=BLOCK, mask_mod=seen, seq_lengths=(t, t)
    )


def blocks_of(end_T: Tensor) -> tuple[Any, Any]:
    """Block pairs [query block, key block] that need a mask, and those that need none; the rest sees nothing.

    >>> partial, full = blocks_of(torch.tensor([400] * 400))
    >>> partial.astype(int).tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    >>> int(full.sum())
    6
    """
    end, t = end_T.numpy(), len(end_T)
    first = np.arange(0, t, BLOCK)
    latest, earliest = np.maximum.reduceat(end, first), np.minimum.reduceat(end, first)
    begins, finishes = first[:, None], np.minimum(first + BLOCK, t)[:, None]
    before = first < begins
    full = before & (finishes <= earliest)
    partial = (before & (begins < latest) & ~full) | (first == begins)
    return partial, full


def _listed(pairs: Any) -> tuple[Tensor, Tensor]:
    """How many key blocks each query block has, and which, first in its row of indices."""
    order = np.argsort(~pairs, axis=1, kind="stable").astype(np.int32)
    return torch.from_numpy(pairs.sum(1, dtype=np.int32))[None, None], torch.from_numpy(order)[None, None]
