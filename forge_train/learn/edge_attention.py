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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 96
"""Positions up to which subtrees share a masked square."""

LONGEST = 512
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
    read: Tensor | None = None
    """int64, ascending: the positions whose last hidden state is read; None: all."""

    def parts(self) -> list[tuple[int, int, int, int, Square | None]]:
        """First and last query and key of each, and the square where it is one."""
        squares = [(s.start, s.stop, s.start, s.stop, s) for s in self.squares]
        return [*squares, *((b, e, a, b, None) for a, b, e in self.rectangles)]


def edges_of(end_T: Tensor, small: int = SMALL, longest: int = LONGEST, read: Tensor | None = None) -> Edges:
    """Plan the attention of a tree, on the CPU; `end_T` as in `forge_train.learn.tree.Tree`.

    `small` and `longest` as SMALL and LONGEST, `read` as in `Edges`.

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
    return Edges(tuple(squares), tuple(rectangles), read)


def _cuts(start: int, stop: int, longest: int) -> list[int]:
    """Where the pieces of an edge begin: as few as can be, of nearly equal length."""
    count = -((start - stop) // longest)
    return [start + (stop - start) * i // count for i in range(count)]


def _mask(end: Any, start: int, stop: int) -> Tensor:
    at = np.arange(start, stop)
    seen = (at <= at[:, None]) & (at[:, None] < end[start:stop])
    return torch.from_numpy(np.where(seen, np.float32(0), np.float32("-inf")))[None, None]


def attend_edges(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, edges: Edges, *, last: bool = False
) -> Tensor:
    """query [1, h, T, d], key and value [1, k, T, d], of one precision; returns [1, T, h, d].

    In the `last` layer queries whose output nobody reads are left out: theirs is 0.
    """
    at = edges.read if last else None
    out: Tensor = _EdgeAttention.apply(query, key, value, scale, edges, at)  # type: ignore[no-untyped-call]
    return out


class _EdgeAttention(torch.autograd.Function):
    """All parts at once, because each needs the normalizers of the others in its backward."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float | None,
        edges: Edges,
        at: Tensor | None,
    ) -> Tensor:
        query_T, key_T, value_T = _by_kv_head(query, key, value)
        query_n = query_T if at is None else query_T.index_select(2, at)
        out_n = query.new_empty(query_n.shape, dtype=torch.float32)
        normalizer_n = query.new_empty(query_n.shape[:3], dtype=torch.float32)
        for rows, keys, mask, square in _parts(edges, at):
            part, normalizer = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                query_n[:, :, rows],
                key_T[:, :, keys],
                value_T[:, :, keys],
                0.0,
                square and mask is None,
                attn_mask=mask,
                scale=scale,
            )
            if square:  # the first part of each query
                out_n[:, :, rows], normalizer_n[:, :, rows] = part, normalizer
                continue
            before = normalizer_n[:, :, rows]
            # A part's share in the joint softmax: a sigmoid of the difference of normalizers.
            out_n[:, :, rows].lerp_(part.float(), torch.sigmoid(normalizer - before)[..., None])
            normalizer_n[:, :, rows] = torch.logaddexp(before, normalizer)
        out_n = out_n.to(query.dtype)
        ctx.save_for_backward(query, key, value, out_n, normalizer_n, at)
        ctx.scale, ctx.edges = scale, edges
        out_T = out_n if at is None else out_n.new_zeros(query_T.shape).index_copy_(2, at, out_n)
        return out_T.reshape(query.shape).transpose(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, normalizer, read = ctx.saved_tensors
        query_T, key_T, value_T = _by_kv_head(query, key, value)
        kept = [query_T, grad.transpose(1, 2).reshape(query_T.shape)]
        if read is not None:
            kept = [x.index_select(2, read) for x in kept]
        # Queries without a gradient, in the last layer all that predict nothing trained, add nothing.
        some = kept[1].abs().amax((0, 1, 3)).nonzero().squeeze(1)
        at = some if read is None else read[some]
        queries = [x.index_select(2, some) for x in (*kept, out, normalizer)]
        # Summed in float32, whatever the parts are in.
        dq_n = torch.zeros(queries[0].shape, dtype=torch.float32)
        dk_T, dv_T = (torch.zeros(x.shape[1:], dtype=torch.float32) for x in (key, value))
        for rows, keys, mask, square in _parts(ctx.edges, at):
            query_n, grad_n, out_n, normalizer_n = (x[:, :, rows] for x in queries)
            part = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_n,
                query_n,
                key_T[:, :, keys],
                value_T[:, :, keys],
                out_n,
                normalizer_n,
                0.0,
                square and mask is None,
                attn_mask=mask,
                scale=ctx.scale,
            )
            dq_n[:, :, rows] += part[0]
            dk_T[:, keys] += part[1].sum(1)
            dv_T[:, keys] += part[2].sum(1)
        dq_T = dq_n.new_zeros(query_T.shape).index_copy_(2, at, dq_n)
        dq, dk, dv = (x.to(query.dtype) for x in (dq_T.view(query.shape), dk_T[None], dv_T[None]))
        return dq, dk, dv, None, None, None


def _parts(edges: Edges, at: Tensor | None) -> Iterator[tuple[slice, slice, Tensor | None, bool]]:
    """Queries, keys, mask of each part, and whether it is a square; the queries as indices into `at`."""
    places = None if at is None else at.numpy()
    for q0, q1, k0, k1, square in edges.parts():
        rows, mask = slice(q0, q1), None if square is None else square.mask
        if places is not None:
            rows = slice(*np.searchsorted(places, (q0, q1)).tolist())
            mask = None if square is None else square.mask_of(places[rows])
        if rows.start < rows.stop:
            yield rows, slice(k0, k1), mask, square is not None


def _by_kv_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[k, r, T, d] each: query heads of one kv head read it in place, nothing is copied."""
    k, r, (t, d) = key.shape[1], query.shape[1] // key.shape[1], query.shape[2:]
    key_T, value_T = (x[0, :, None].expand(k, r, t, d) for x in (key, value))
    return query.reshape(k, r, t, d), key_T, value_T
