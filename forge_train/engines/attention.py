"""Attention over pages, in plain torch: exact lengths, no gathering of keys and values that are in place.

Shapes: n rows with one new token each, h query heads = k kv heads x r, d head_dim, P = PAGE; X places, one
for each query head and each page that it may read.

Keys and values are far larger than scores, d times for each query head, so it is scores that move: those
of all pages are computed where the pages lie, put together row by row for one softmax, and its weights go
back to the pages. A page that several rows share is read once for all of them (Hydragen,
arXiv 2402.05099, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from forge_train.engines.pages import PAGE

Ints = npt.NDArray[np.int64]

TOGETHER = 8
"""Rows that read a shared page in one matrix product."""


@dataclass(slots=True)
class Decode:
    """Which pages the rows with one new token attend to. Built once a step, used in every layer."""

    blocks: list[tuple[slice | torch.Tensor, int]]
    """Pages, and how many queries read each kv head of them in one product: r, or TOGETHER x r. Places stand
    in this order, those of a block as [page, k, rows, r]."""
    query: torch.Tensor
    """[X] whose place it is, of the [n * k * r] queries."""
    places: torch.Tensor
    """[n * k * r * most pages] place of each page of each query; where it has no more pages, any."""
    mask: torch.Tensor
    """[n, 1, 1, most pages * P]: 0, or -inf where the row has no token (yet)."""
    weights: torch.Tensor
    """[X] where among `places` each is; those that nobody reads say 0."""
    parts: torch.Tensor
    """`places` without those that there are not."""
    first: torch.Tensor
    """[n * k * r] where the parts of each query begin."""


def plan_decode(table: Ints, lengths: Ints, heads: tuple[int, int], device: torch.device) -> Decode:
    """`table`: [n, *] page ids of the rows; `lengths`: [n] tokens to attend to, the new one included.

    `heads`: k and r.
    """
    k, r = heads
    held = -(-lengths // PAGE)
    table = table[:, : held.max()]
    valid = np.arange(table.shape[1]) < held[:, None]
    row, column = valid.nonzero()
    page = table[row, column]
    alone = np.bincount(page)[page] == 1
    # The place of each row's first query on each of its pages, and how far it is to the next kv head's.
    place, stride = np.zeros(table.shape, dtype=np.int64), np.full(table.shape, r)

    own = page[alone]
    span = int(own.max(initial=-1)) + 1
    pages: slice | torch.Tensor
    if 2 * own.size >= span:  # mostly in use: cheaper to compute them all in place than to copy some
        pages = slice(0, span)
        place[row[alone], column[alone]] = own * (k * r)
    else:
        pages, span = torch.from_numpy(own).to(device), own.size
        place[row[alone], column[alone]] = np.arange(span) * (k * r)
    blocks = [(pages, r)] if span else []
    size = span * k * r
    shared, item, rank = _share(page[~alone])
    if shared.size:
        blocks.append((torch.from_numpy(shared).to(device), TOGETHER * r))
        place[row[~alone], column[~alone]] = size + (item * k * TOGETHER + rank) * r
        stride[row[~alone], column[~alone]] = TOGETHER * r
        size += shared.size * k * TOGETHER * r

    kv, head = np.arange(k)[:, None, None], np.arange(r)[:, None]
    places = place[:, None, None] + stride[:, None, None] * kv + head
    there = np.broadcast_to(valid[:, None, None], places.shape)
    weights = np.zeros(size, dtype=np.int64)
    weights[places[there]] = there.ravel().nonzero()[0]
    seen = np.arange(table.shape[1] * PAGE) < lengths[:, None]
    mask = np.where(seen, np.float32(0), np.float32("-inf"))[:, None, None]
    counts = np.repeat(held, k * r)
    arrays = weights // table.shape[1], places.ravel(), mask, weights, places[there], counts.cumsum() - counts
    return Decode(blocks, *(torch.from_numpy(array).to(device) for array in arrays))


def _share(page: Ints) -> tuple[Ints, Ints, Ints]:
    """Put readers of pages into items of one page and up to TOGETHER readers.

    Returns the page of each item, and of each reader its item and its rank in there.
    """
    if not page.size:
        return page, page, page
    order = page.argsort(kind="stable")
    ids, start, count = np.unique(page[order], return_index=True, return_counts=True)
    number = np.empty_like(page)
    number[order] = np.arange(page.size) - np.repeat(start, count)  # among the readers of its page
    items = -(-count // TOGETHER)
    before = np.empty_like(page)
    before[order] = np.repeat(items.cumsum() - items, count)
    return np.repeat(ids, items), before + number // TOGETHER, number % TOGETHER


def attend_decode(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: Decode, scale: float
) -> torch.Tensor:
    """q [n, k, r, d]; keys [page, k, d, P], values [page, k, P, d] of one layer; returns [n, k * r * d]."""
    n, k, r, d = q.shape
    scores = _by_page(q.reshape(-1, d).index_select(0, plan.query), keys, plan)
    scores = scores.index_select(0, plan.places).view(n, k, r, -1).float()
    weights = torch.add(plan.mask, scores, alpha=scale).softmax(-1).to(values.dtype)
    weights = weights.view(-1, PAGE).index_select(0, plan.weights)
    out = _by_page(weights, values, plan).float()
    # The sum of each query's parts, as many as it has.
    out = F.embedding_bag(plan.parts, out, plan.first, mode="sum")
    return out.to(q.dtype).view(n, k * r * d)


def _by_page(x: torch.Tensor, cache: torch.Tensor, plan: Decode) -> torch.Tensor:
    """x [X, a] times what lies at the page of each place; cache [page, k, a, b]; returns [X, b]."""
    a, b = cache.shape[2:]
    out = x.new_empty(len(x), b)
    start = 0
    for pages, queries in plan.blocks:
        matrices = _at(cache, pages).view(-1, a, b)
        here = slice(start, start + len(matrices) * queries)
        torch.bmm(x[here].view(-1, queries, a), matrices, out=out[here].view(-1, queries, b))
        start = here.stop
    return out


def _at(cache: torch.Tensor, pages: slice | torch.Tensor) -> torch.Tensor:
    return cache[pages] if isinstance(pages, slice) else cache.index_select(0, pages)


@dataclass(slots=True)
class Prefill:
    """One row with several new tokens."""

    tokens: slice
    """Where they are among the tokens of the step."""
    pages: torch.Tensor
    mask: torch.Tensor
    """[r * new tokens, pages * P] added to the scores: causal, and nothing beyond the last token."""


def plan_prefill(
    tokens: slice, pages: Ints, past: int, repeat: int, dtype: torch.dtype, device: torch.device
) -> Prefill:
    """`past`: tokens of the row before the new ones; `repeat`: query heads per kv head."""
    new = tokens.stop - tokens.start
    seen = torch.arange(past, past + new, device=device)[:, None] >= torch.arange(
        pages.size * PAGE, device=device
    )
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))
    return Prefill(tokens, torch.from_numpy(pages).to(device), mask.repeat(repeat, 1))


def attend_prefill(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: Prefill, scale: float
) -> torch.Tensor:
    """q [new, k, r, d]; keys, values as in `attend_decode`; returns [new, k * r * d]."""
    new, k, r, d = q.shape
    # The r heads of a kv head are so many more queries to it: no copy of keys for each.
    queries = q.permute(1, 2, 0, 3).reshape(1, k, r * new, d)
    key = _at(keys, plan.pages).permute(1, 0, 3, 2).reshape(1, k, -1, d)
    value = _at(values, plan.pages).transpose(0, 1).reshape(1, k, -1, d)
    out = F.scaled_dot_product_attention(queries, key, value, attn_mask=plan.mask, scale=scale)
    return out.view(k, r, new, d).permute(2, 0, 1, 3).reshape(new, k * r * d)
