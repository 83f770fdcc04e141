"""Attention of a tree on a CPU, edge by edge: nothing is gathered, masked or read in vain.

An edge is a run of positions without a fork. In depth-first order what follows a fork is one stretch,

    edge [a, b) of descendants [b, e):   its own queries see its keys causally,
                                         all queries of [b, e) see all of its keys,

so a tree is a causal square and a full rectangle for each edge, and both are what fused kernels are best
at. The parts of a query are joined by their normalizers (online softmax, arXiv 1805.02867). Of the softmax
the backward of fused attention needs only output and normalizer (arXiv 2205.14135, Algorithm 4), so it
runs part by part with those of the whole. Memory is linear in positions.

Complete subtrees of few positions, where a call would cost more than its work, share one small masked
square; long edges are cut, because a square is computed whole.

Shapes: T positions, h query heads = k kv heads x r, d head_dim; n queries and s keys of a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 96
"""Positions up to which subtrees share a masked square."""

LONGEST = 256
"""Positions of an edge, longer ones are cut: a square is computed whole, above its diagonal too."""


@dataclass(frozen=True, slots=True)
class Square:
    """Positions that attend among themselves."""

    start: int
    stop: int
    mask: Tensor | None
    """[1, 1, n, n], 0 or -inf, added to the scores; None where each position sees all before it."""

    def mask_of(self, places: Any) -> Tensor | None:
        """The rows of `mask` for some of the positions; those of a triangle where there is none."""
        if len(places) == self.stop - self.start:
            return self.mask
        if self.mask is not None:
            return self.mask[:, :, torch.from_numpy(places - self.start)]
        seen = np.arange(self.start, self.stop) <= places[:, None]
        return torch.from_numpy(np.where(seen, np.float32(0), np.float32("-inf")))[None, None]


@dataclass(frozen=True, slots=True)
class Edges:
    """The parts of a tree's attention. Built once a forward pass, used in every layer."""

    squares: tuple[Square, ...]
    """They cover all positions, each once."""
    rectangles: tuple[tuple[int, int, int], ...]
    """(a, b, e): queries b to e see keys a to b."""

    def parts(self) -> list[tuple[int, int, int, int, Square | None]]:
        """First and last query and key of each, and the square where it is one."""
        squares = [(s.start, s.stop, s.start, s.stop, s) for s in self.squares]
        return [*squares, *((b, e, a, b, None) for a, b, e in self.rectangles)]


def edges_of(end_T: Tensor, small: int = SMALL, longest: int = LONGEST) -> Edges:
    """Plan the attention of a tree, on the CPU; `end_T` as in `forge_train.learn.tree.Tree`.

    >>> edges_of(torch.tensor([5, 5, 3, 5, 5]), small=1).rectangles
    ((0, 2, 5),)
    """
    end = end_T.numpy()
    # One child alone has the descendants of its parent but for itself: along an edge `end` stays the same.
    forks = [0, *(np.flatnonzero(np.diff(end)) + 1).tolist(), len(end)]
    starts = [cut for a, b in pairwise(forks) for cut in _cuts(a, b, longest)] + [len(end)]
    squares: list[Square] = []
    rectangles = []
    edge = 0
    while edge < len(starts) - 1:
        start, stop = starts[edge], starts[edge + 1]
        if int(end[start]) - start > small:
            squares.append(Square(start, stop, None))
            if end[start] > stop:
                rectangles.append((start, stop, int(end[start])))
            edge += 1
            continue
        first = edge
        while edge < len(starts) - 1 and int(end[starts[edge]]) - start <= small:
            edge += 1
        alone = edge - first == 1
        squares.append(Square(start, starts[edge], None if alone else _mask(end, start, starts[edge])))
    return Edges(tuple(squares), tuple(rectangles))


def _cuts(start: int, stop: int, longest: int) -> list[int]:
    """Where the pieces of an edge begin: as few as can be, of nearly equal length."""
    count = -((start - stop) // longest)
    return [start + (stop - start) * i // count for i in range(count)]


def _mask(end: Any, start: int, stop: int) -> Tensor:
    at = np.arange(start, stop)
    seen = (at <= at[:, None]) & (at[:, None] < end[start:stop])
    return torch.from_numpy(np.where(seen, np.float32(0), np.float32("-inf")))[None, None]


def attend_edges(query: Tensor, key: Tensor, value: Tensor, scale: float | None, edges: Edges) -> Tensor:
    """query [1, h, T, d], key and value [1, k, T, d], of one precision; returns [1, T, h, d]."""
    out: Tensor = _EdgeAttention.apply(query, key, value, scale, edges)  # type: ignore[no-untyped-call]
    return out


class _EdgeAttention(torch.autograd.Function):
    """All parts at once, because each needs the normalizers of the others in its backward."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float | None, edges: Edges
    ) -> Tensor:
        _, h, t, d = query.shape
        query_T, key_T, value_T = _by_kv_head(query, key, value)
        out_T = query.new_empty((*query_T.shape[:2], t, d), dtype=torch.float32)
        normalizer_T = query.new_empty(query_T.shape[:3], dtype=torch.float32)
        for square in edges.squares:
            own = slice(square.start, square.stop)
            out_T[:, :, own], normalizer_T[:, :, own] = _part(
                query_T[:, :, own], key_T[:, :, own], value_T[:, :, own], square, scale
            )
        for a, b, e in edges.rectangles:
            out_n, normalizer_n = _part(query_T[:, :, b:e], key_T[:, :, a:b], value_T[:, :, a:b], None, scale)
            before_n = normalizer_T[:, :, b:e]
            # Shares of the two parts in the joint softmax: sigmoids of the difference of their normalizers.
            share_n = torch.sigmoid(normalizer_n - before_n)
            out_T[:, :, b:e].lerp_(out_n.float(), share_n[..., None])
            normalizer_T[:, :, b:e] = torch.logaddexp(before_n, normalizer_n)
        joined = out_T.to(query.dtype)
        ctx.save_for_backward(query, key, value, joined, normalizer_T)
        ctx.scale, ctx.edges = scale, edges
        return joined.reshape(1, h, t, d).transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, out_T, normalizer_T = ctx.saved_tensors
        query_T, key_T, value_T = _by_kv_head(query, key, value)
        grad_T = grad.transpose(1, 2).reshape(out_T.shape)
        # Queries without a gradient, in the last layer all that predict nothing trained, add nothing.
        at = grad_T.abs().amax((0, 1, 3)).nonzero().squeeze(1)
        whole = len(at) == len(query_T[0, 0])
        queries = [x if whole else x.index_select(2, at) for x in (query_T, out_T, normalizer_T, grad_T)]
        # Summed in float32, whatever the parts are in.
        dq_n = torch.zeros(queries[0].shape, dtype=torch.float32)
        dk_T, dv_T = (torch.zeros(x.shape[1:], dtype=torch.float32) for x in (key, value))
        places = at.numpy()
        for q0, q1, k0, k1, square in ctx.edges.parts():
            rows = slice(*np.searchsorted(places, (q0, q1)).tolist())
            if rows.start == rows.stop:
                continue
            mask = None if square is None else square.mask_of(places[rows])
            query_n, out_n, normalizer_n, grad_n = (x[:, :, rows] for x in queries)
            part = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_n,
                query_n,
                key_T[:, :, k0:k1],
                value_T[:, :, k0:k1],
                out_n,
                normalizer_n,
                0.0,
                square is not None and mask is None,
                attn_mask=mask,
                scale=ctx.scale,
            )
            dq_n[:, :, rows] += part[0]
            dk_T[:, k0:k1] += part[1].sum(1)
            dv_T[:, k0:k1] += part[2].sum(1)
        dq_T = dq_n if whole else dq_n.new_zeros(query_T.shape).index_copy_(2, at, dq_n)
        dtype = query.dtype
        return dq_T.view(query.shape).to(dtype), dk_T[None].to(dtype), dv_T[None].to(dtype), None, None


def _by_kv_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[k, r, T, d] each: query heads of one kv head read it in place, nothing is copied."""
    k, r, (t, d) = key.shape[1], query.shape[1] // key.shape[1], query.shape[2:]
    grouped = query.reshape(k, r, t, d)
    return grouped, *(x[0, :, None].expand(k, r, t, d) for x in (key, value))


def _part(
    query: Tensor, key: Tensor, value: Tensor, square: Square | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Output [k, r, n, d] and normalizer [k, r, n] (log of the sum of exponentiated scores) of one part."""
    out, normalizer = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query,
        key,
        value,
        0.0,
        square is not None and square.mask is None,
        attn_mask=None if square is None else square.mask,
        scale=scale,
    )
    return out, normalizer
