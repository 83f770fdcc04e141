"""Attention over pages, in plain torch: exact lengths, no padding, no gathering of what is in place.

Shapes: n rows with one new token each, h query heads = k kv heads x r, d head_dim, P = PAGE.

Each page is attended to on its own, for the rows that hold it, and the partial results are put together
per row, as in FlashAttention's online softmax (arXiv 2205.14135, Alg. 1): with m_p the largest score in
page p, l_p = sum exp(s - m_p) and o_p = sum exp(s - m_p) v, the output is
sum_p e^(m_p - m) o_p / sum_p e^(m_p - m) l_p. A page that several rows share is read once for all of them
(Hydragen, arXiv 2402.05099, section 3.1).

Queries come scaled by log2(e) / sqrt(d), and 2^x stands where the formulas have e^x: on a CPU it is twice
as fast, and five times as fast far below zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from forge_train.engines.pages import PAGE

Ints = npt.NDArray[np.int64]

TOGETHER = 8
"""Rows that read a shared page in one matrix product."""
MASKED = -1e30
"""Finite, so that a page without any valid position gives no NaN."""


@dataclass(slots=True)
class Decode:
    """Which pages the rows with one new token attend to. Built once a step, used in every layer."""

    pages: slice | torch.Tensor
    """Pages read by one row each, in the order of `row`."""
    row: torch.Tensor
    mask: torch.Tensor
    """[page, 1, 1, P]: MASKED where the row has no token (yet)."""
    shared_pages: torch.Tensor | None
    shared_rows: torch.Tensor
    """[item * TOGETHER] rows of each shared page, filled up with row 0."""
    part: torch.Tensor
    """[n * most pages] index of each row's partial results, filled up with 0."""
    absent: torch.Tensor
    """[n, most pages, 1, 1]: MASKED where `part` is filled up."""


def plan_decode(table: Ints, lengths: Ints, device: torch.device) -> Decode:
    """`table`: [n, *] page ids of the rows; `lengths`: [n] tokens to attend to, the new one included."""
    held = -(-lengths // PAGE)
    table = table[:, : held.max()]
    valid = np.arange(table.shape[1]) < held[:, None]
    row, column = valid.nonzero()
    page = table[row, column]
    alone = np.bincount(page)[page] == 1
    part = np.zeros(table.shape, dtype=np.int64)

    own, own_row = page[alone], row[alone]
    fill = np.minimum(lengths[own_row] - column[alone] * PAGE, PAGE)
    span = int(own.max(initial=0)) + 1
    pages: slice | torch.Tensor
    if 2 * own.size >= span:  # mostly in use: cheaper to compute them all in place than to copy some
        pages = slice(0, span)
        everyone, filled = np.zeros(span, dtype=np.int64), np.zeros(span, dtype=np.int64)
        everyone[own], filled[own] = own_row, fill
        part[own_row, column[alone]] = own
    else:
        pages, span = torch.from_numpy(own).to(device), own.size
        everyone, filled = own_row, fill
        part[own_row, column[alone]] = np.arange(span)

    shared_pages, shared_rows = _plan_shared(page[~alone], row[~alone], column[~alone], span, part)
    return Decode(
        pages=pages,
        row=torch.from_numpy(everyone).to(device),
        mask=_masked(np.arange(PAGE) >= filled[:, None])[:, None, None].to(device),
        shared_pages=None if shared_pages is None else torch.from_numpy(shared_pages).to(device),
        shared_rows=torch.from_numpy(shared_rows.ravel()).to(device),
        part=torch.from_numpy(part.ravel()).to(device),
        absent=_masked(~valid)[..., None, None].to(device),
    )


def _masked(where: npt.NDArray[np.bool_]) -> torch.Tensor:
    return torch.from_numpy(np.where(where, np.float32(MASKED), np.float32(0)))


def _plan_shared(page: Ints, row: Ints, column: Ints, first: int, part: Ints) -> tuple[Ints | None, Ints]:
    """Put (page, row) pairs into items of one page and up to TOGETHER rows; writes their index to `part`."""
    if not page.size:
        return None, np.zeros((0, TOGETHER), dtype=np.int64)
    order = page.argsort(kind="stable")
    page, row, column = page[order], row[order], column[order]
    ids, start, count = np.unique(page, return_index=True, return_counts=True)
    rank = np.arange(page.size) - np.repeat(start, count)
    items = -(-count // TOGETHER)
    item = np.repeat(items.cumsum() - items, count) + rank // TOGETHER
    rows = np.zeros((items.sum(), TOGETHER), dtype=np.int64)
    rows[item, rank % TOGETHER] = row
    part[row, column] = first + item * TOGETHER + rank % TOGETHER
    return np.repeat(ids, items), rows


def attend_decode(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: Decode) -> torch.Tensor:
    """q [n, k, r, d], scaled as above; keys, values [page, k, P, d] of one layer; returns [n, k * r * d]."""
    n, k, r, d = q.shape
    top, total, out = _partial(
        q.index_select(0, plan.row), _at(keys, plan.pages), _at(values, plan.pages), plan.mask
    )
    if plan.shared_pages is not None:
        items = plan.shared_pages.shape[0]
        together = q.index_select(0, plan.shared_rows).view(items, TOGETHER, k, r, d)
        together = together.transpose(1, 2).reshape(items, k, TOGETHER * r, d)
        shared = _partial(together, _at(keys, plan.shared_pages), _at(values, plan.shared_pages), None)
        by_row = [
            x.view(items, k, TOGETHER, r, -1).transpose(1, 2).reshape(-1, k, r, x.shape[3]) for x in shared
        ]
        top, total, out = (torch.cat(pair) for pair in zip((top, total, out), by_row, strict=True))
    size = (n, -1, k, r)
    top = top.index_select(0, plan.part).view(size) + plan.absent
    weight = top.sub_(top.amax(1, keepdim=True)).exp2_().unsqueeze(-1)
    total = total.index_select(0, plan.part).view(*size, 1).mul_(weight).sum(1)
    out = out.index_select(0, plan.part).view(*size, d).mul_(weight).sum(1)
    return out.div_(total).to(q.dtype).view(n, k * r * d)


def _at(cache: torch.Tensor, pages: slice | torch.Tensor) -> torch.Tensor:
    return cache[pages] if isinstance(pages, slice) else cache.index_select(0, pages)


def _partial(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q [i, k, m, d] on pages [i, k, P, d]: largest score and sum [i, k, m, 1], unnormalised output."""
    i, k, m, d = q.shape
    flat = (i * k, PAGE, d)
    scores = torch.bmm(q.view(i * k, m, d), keys.view(flat).transpose(1, 2)).view(i, k, m, PAGE).float()
    if mask is not None:
        scores += mask
    top = scores.amax(-1, keepdim=True)
    scores.sub_(top).exp2_()
    total = scores.sum(-1, keepdim=True)
    out = torch.bmm(scores.to(values.dtype).view(i * k, m, PAGE), values.view(flat))
    return top, total, out.view(i, k, m, d).float()


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


def attend_prefill(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, plan: Prefill) -> torch.Tensor:
    """q [new, k, r, d], scaled; keys, values as in `attend_decode`; returns [new, k * r * d]."""
    new, k, r, d = q.shape
    # The r heads of a kv head are so many more queries to it: no copy of keys for each.
    queries = q.permute(1, 2, 0, 3).reshape(1, k, r * new, d)
    key = _at(keys, plan.pages).transpose(0, 1).reshape(1, k, -1, d)
    value = _at(values, plan.pages).transpose(0, 1).reshape(1, k, -1, d)
    out = F.scaled_dot_product_attention(queries, key, value, attn_mask=plan.mask, scale=math.log(2))
    return out.view(k, r, new, d).permute(2, 0, 1, 3).reshape(new, k * r * d)
