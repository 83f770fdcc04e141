"""Which samples are forwarded together, how, and by which process: planned by what it costs.

A prefix that samples share is worth forwarding once only if that spares more than a tree's parts cost; where
it does not, rows do. Three plans are compared: everything in trees, everything in rows, and trees for those
that share enough, rows for the rest. Processes get equal numbers of micro-batches, because all gather weights
in each, of equal cost, and not of equally many tokens: a long sequence attends to more.

Costs are FLOPs of a forward pass, or what takes as long; a backward is twice that, whatever is chosen. A
position costs two for each weight that it is multiplied with, a pair of query and key four for each layer and
dimension of its heads (PaLM, arXiv 2204.02311, Appendix B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from forge_train.config import Packing
from forge_train.learn.batch import Batch, Sample, batch_of, seen
from forge_train.learn.edge_attention import LONGEST
from forge_train.learn.tree import Trie, cut, trie_of

SIZES = 4
"""Sizes up to a full micro-batch that trees are padded to where every size is compiled."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model's forward pass is planned by: in FLOPs, or in what takes as long."""

    position: int = 1
    """Of a position, in all layers."""
    pair: int = 0
    """Of a query and a key that it sees."""
    part: int = 0
    """Of each part of a tree's attention, beside its pairs."""
    batch: int = 0
    """Of a forward pass, beside its positions."""
    compiled: bool = False
    """Whether trees are padded to a few sizes, because each is compiled."""

    @classmethod
    def of(cls, model: Any, device: torch.device) -> Prices:
        """The prices of a Hugging Face model without its output head, which runs where tokens are trained."""
        config = model.config.get_text_config()
        tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
        head = model.get_output_embeddings()
        apart = {id(p) for p in [*tables, *(head.parameters() if head is not None else ())]}
        weights = sum(p.numel() for p in model.parameters() if p.ndim >= 2 and id(p) not in apart)
        layers, heads = config.num_hidden_layers, getattr(config, "num_attention_heads", None) or 1
        dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        position, pair = 2 * weights, 4 * layers * heads * dim
        if device.type == "cuda":
            # A part has two blocks of scores that are computed for a mask's sake; launches of a pass take as
            # long as some tens of positions of a large model.
            return cls(position, pair, part=pair * 128 * 128, batch=64 * position, compiled=True)
        # A part is some fifteen small calls, a forward pass some thirty, about 8 us each at 50 GFLOP/s.
        return cls(position, pair, part=2_000_000 * layers, batch=12_000_000 * layers)

    def tree(self, lengths: Sequence[int], shared: Sequence[int]) -> int:
        """Of sequences in the order of a `Trie`, the first of which shares nothing."""
        return int(self.batch + self._added(lengths, shared)[0] + self._repeated(shared)[0])

    def rows(self, count: int, width: int) -> int:
        """Of `count` rows of `width` positions, padding included."""
        return int(self.batch + count * (self.position * width + self.pair * _pairs(width)))

    def worth_sharing(self, prefix: int) -> bool:
        """Whether forwarding a prefix of so many positions again costs more than the two parts it makes."""
        return bool(self.position * prefix + self.pair * _pairs(prefix) > 2 * self.part)

    def halves(self, lengths: Sequence[int], shared: Sequence[int]) -> int:
        """Where to cut a tree of two sequences or more, so that the costlier side is cheapest."""
        added = self._added(lengths, shared)
        right = added[1:] + self._repeated(shared)[1:]
        left = added[0] - added[1:]
        return 1 + int(np.maximum(left, right).argmin())

    def _added(self, lengths: Sequence[int], shared: Sequence[int]) -> Any:
        """What all sequences from each on add to those before it."""
        long, common = np.array(lengths, dtype=np.int64), np.array(shared, dtype=np.int64)
        own = long - common
        cost = self.position * own + self.pair * (_pairs(long) - _pairs(common))
        cost += self.part * (2 + own // LONGEST)
        return np.cumsum(cost[::-1])[::-1]

    def _repeated(self, shared: Sequence[int]) -> Any:
        """What each costs more where a tree begins with it."""
        common = np.array(shared, dtype=np.int64)
        return self.position * common + self.pair * _pairs(common)


def _pairs(length: Any) -> Any:
    """Of a position with those before it and itself, in a sequence."""
    return length * (length + 1) // 2


@dataclass(frozen=True, slots=True)
class Pack:
    """One micro-batch, planned."""

    samples: tuple[int, ...]
    """Indices; those of a tree in the order of a `Trie`, those of rows longest first."""
    lengths: tuple[int, ...]
    """Positions of each."""
    shared: tuple[int, ...] | None
    """Leading positions that each shares with the one before, 0 for the first; None: a row each."""
    cost: int

    def halved(self, prices: Prices) -> list[Pack]:
        """Two micro-batches in place of one, of costs as equal as can be; itself when it is one sample."""
        if len(self.samples) < 2:
            return [self]
        if self.shared is None:
            at = len(self.samples) // 2
            return [_row_pack(self.samples[s], self.lengths[s], prices) for s in (slice(at), slice(at, None))]
        at = prices.halves(self.lengths, self.shared)
        return [
            _tree_pack(self.samples[s], self.lengths[s], self.shared[s], prices)
            for s in (slice(at), slice(at, None))
        ]


def _tree_pack(samples: Sequence[int], lengths: Sequence[int], shared: Sequence[int], prices: Prices) -> Pack:
    own = (0, *shared[1:])
    return Pack(tuple(samples), tuple(lengths), own, prices.tree(lengths, own))


def _row_pack(samples: Sequence[int], lengths: Sequence[int], prices: Prices) -> Pack:
    return Pack(tuple(samples), tuple(lengths), None, prices.rows(len(samples), max(lengths)))


def packs(found: Sequence[Sample], max_tokens: int, packing: Packing, prices: Prices) -> list[Pack]:
    """Micro-batches of at most `max_tokens` positions, padding of rows included; a longer sample has its own.

    "tree": all in trees, cut where least is forwarded again. "padded": all in rows, longest first, so that
    neighbours have similar lengths. "auto": what costs least of these two and of trees for some, rows for the
    others. The result is a function of the input alone.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens}: a micro-batch needs room for at least one token")
    everything = list(range(len(found)))
    plans = []
    if packing != "padded":
        trie = trie_of([seen(s) for s in found])
        plans.append(_trees(everything, trie, max_tokens, prices))
    if packing != "tree":
        plans.append(_rows(everything, found, max_tokens, prices))
    if packing == "auto":
        some, rest = _sharing(trie, prices)
        if some and rest:
            within = trie_of([seen(found[i]) for i in some])
            plans.append(_trees(some, within, max_tokens, prices) + _rows(rest, found, max_tokens, prices))
    return min(plans, key=lambda plan: sum(pack.cost for pack in plan))


def _trees(chosen: Sequence[int], trie: Trie, max_tokens: int, prices: Prices) -> list[Pack]:
    order = [chosen[i] for i in trie.order]
    return [_tree_pack(order[r], trie.lengths[r], trie.shared[r], prices) for r in cut(trie, max_tokens)]


def _rows(chosen: Sequence[int], found: Sequence[Sample], max_tokens: int, prices: Prices) -> list[Pack]:
    packed: list[list[int]] = []
    for i in sorted(chosen, key=lambda i: -found[i].forwarded):
        if not packed or (len(packed[-1]) + 1) * found[packed[-1][0]].forwarded > max_tokens:
            packed.append([])
        packed[-1].append(i)
    return [_row_pack(rows, [found[i].forwarded for i in rows], prices) for rows in packed]


def _sharing(trie: Trie, prices: Prices) -> tuple[list[int], list[int]]:
    """Samples that share enough with a neighbour, and the others."""
    joined = [prices.worth_sharing(prefix) for prefix in (*trie.shared, 0)]
    some = [i for at, i in enumerate(trie.order) if joined[at] or joined[at + 1]]
    return some, sorted(set(trie.order) - set(some))


def deal_packs(planned: Sequence[Pack], parts: int, prices: Prices) -> list[list[Pack]]:
    """Micro-batches for each of `parts` processes, which take their first, second, … at the same time.

    Costly ones are cut where that ends the whole sooner: a prefix forwarded again can be cheaper than
    processes that wait. All have the same number, but for those that have one less.
    """
    best = current = sorted(planned, key=lambda pack: -pack.cost)
    if parts > 1:
        for _ in range(2 * parts if current else 0):
            halves = current[0].halved(prices)
            if len(halves) == 1:
                break
            current = sorted([*halves, *current[1:]], key=lambda pack: -pack.cost)
            if _ends(current, parts) < _ends(best, parts):
                best = current
    hands: list[list[Pack]] = [[] for _ in range(parts)]
    spent = [0] * parts
    for first in range(0, len(best), parts):
        # The costliest of a round goes to whoever has had least.
        free = sorted(range(parts), key=spent.__getitem__)
        for part, pack in zip(free, best[first : first + parts], strict=False):
            hands[part].append(pack)
            spent[part] += pack.cost
    return hands


def _ends(planned: Sequence[Pack], parts: int) -> int:
    """What it takes until all are done, when everybody waits in each round for the costliest."""
    return sum(pack.cost for pack in planned[::parts])


def padded_size(positions: int, max_tokens: int) -> int:
    """The size that a tree is padded to: a few parts of `max_tokens`, and few above, all of whole blocks.

    >>> [padded_size(n, 4096) for n in (3, 1025, 4096, 4097, 9000)]
    [1024, 2048, 4096, 6144, 12288]
    """
    step = -(-max_tokens // SIZES // 128) * 128
    if positions <= SIZES * step:
        return -(-positions // step) * step
    size = SIZES * step
    while size < positions:
        size = size * 3 // 2 if size * 3 // 2 >= positions else size * 2
    return -(-size // 128) * 128


def microbatches(
    found: Sequence[Sample], max_tokens: int, packing: Packing = "padded", prices: Prices = Prices()
) -> list[Batch]:
    """The batches of `packs`, each as it is forwarded."""
    return [collated(found, pack, max_tokens, prices) for pack in packs(found, max_tokens, packing, prices)]


def collated(found: Sequence[Sample], pack: Pack, max_tokens: int, prices: Prices) -> Batch:
    """The batch of one pack; its trees are padded where each size is compiled."""
    size = None
    if pack.shared is not None and prices.compiled:
        size = padded_size(sum(pack.lengths) - sum(pack.shared), max_tokens)
    return batch_of(found, pack.samples, pack.shared, size)
