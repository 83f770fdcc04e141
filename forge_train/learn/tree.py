"""Shared prefixes once: sequences of an optimizer step laid out as a trie, in as few positions as there are.

The episodes of a group repeat their opening, and often a few turns more; segments of one episode repeat its
history. Sorted by their tokens, sequences with a common prefix stand together, and each adds to the one
before it only what follows the prefix they share. These additions, one after the other, are the trie in
depth-first order: the descendants of position k are k + 1 .. end[k] - 1, hence

    query q sees key k   exactly when   k <= q < end[k]

and rotary positions are depths. A causal model then computes at every position what it would have computed in
each of the sequences that go through it (`forge_train.learn.tree_attention` runs it).

Shapes: T positions of one tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tree:
    """One forward pass: a trie in depth-first order.

    >>> tree = grow([np.array([5, 6, 7]), np.array([5, 6, 8, 9])], [0, 2])
    >>> tree.tokens_T.tolist(), tree.depth_T.tolist(), tree.end_T.tolist()
    ([5, 6, 7, 8, 9], [0, 1, 2, 2, 3], [5, 5, 3, 5, 5])
    >>> tree.paths[1].tolist()
    [0, 1, 3, 4]
    """

    tokens_T: Tensor
    depth_T: Tensor
    """Tokens before this one in every sequence through it: its rotary position."""
    end_T: Tensor
    """One past the last descendant."""
    paths: tuple[Tensor, ...]
    """Of each sequence, in the order given to `grow`: the position of each of its tokens."""


@dataclass(frozen=True, slots=True)
class Trie:
    """Sequences in sorted order, and what each shares with the one before it."""

    order: tuple[int, ...]
    """Indices of the sequences, sorted by their tokens; equal ones keep their order."""
    lengths: tuple[int, ...]
    """Tokens of each, in that order."""
    shared: tuple[int, ...]
    """Leading tokens of each that the one before it has too; 0 for the first."""

    @property
    def size(self) -> int:
        """Nodes: unique tokens, each with all that came before it."""
        return sum(self.lengths) - sum(self.shared)


def trie_of(sequences: Sequence[Ints]) -> Trie:
    """The trie of `sequences`, arrays of token ids in [0, 2^32).

    >>> trie = trie_of([np.array([1, 2, 9]), np.array([3]), np.array([1, 2, 4, 5])])
    >>> trie.order, trie.shared, trie.size
    ((2, 0, 1), (0, 2, 0), 6)
    """
    # Big-endian bytes compare like the numbers they spell.
    spelt = [sequence.astype(">u4").tobytes() for sequence in sequences]
    order = sorted(range(len(sequences)), key=spelt.__getitem__)
    ranked = [sequences[i] for i in order]
    return Trie(
        order=tuple(order),
        lengths=tuple(len(sequence) for sequence in ranked),
        shared=tuple([0, *(_common(a, b) for a, b in pairwise(ranked))][: len(ranked)]),
    )


def _common(a: Ints, b: Ints) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    return int(differ.argmax()) if differ.any() else n


def cut(trie: Trie, max_tokens: int) -> list[slice]:
    """Runs of `trie.order` whose trees have at most `max_tokens` positions, or are one longer sequence.

    A tree that is cut repeats the prefix that both sides need. The cuts are those that repeat the fewest
    positions, and of these the ones that make the fewest runs; found by dynamic programming over cuts.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens}: a micro-batch needs room for at least one token")
    count = len(trie.order)
    lengths, shared = np.array(trie.lengths, dtype=np.int64), np.array(trie.shared, dtype=np.int64)
    added = np.concatenate([[0], np.cumsum(lengths - shared)])  # positions of the first i sequences
    # What runs cost up to a start, the repeated prefix there and 2^-20 for the run itself included.
    cost = np.zeros(count + 1)
    begun = np.zeros(count + 1, dtype=np.int64)
    first = 0
    for stop in range(1, count + 1):
        while first < stop - 1 and added[stop] - added[first] + shared[first] > max_tokens:
            first += 1
        starts = cost[first:stop] + shared[first:stop] + 2.0**-20
        begun[stop] = first + int(starts.argmin())
        cost[stop] = starts.min()
    runs = []
    stop = count
    while stop:
        runs.append(slice(int(begun[stop]), stop))
        stop = int(begun[stop])
    return runs[::-1]


def grow(sequences: Sequence[Ints], shared: Sequence[int]) -> Tree:
    """Lay out sequences that are in sorted order; `shared` as in `Trie` (its first entry is not read)."""
    pieces, depths, paths = [], [], []
    end = np.zeros(sum(map(len, sequences)), dtype=np.int64)
    size = 0
    path = np.zeros(0, dtype=np.int64)
    for i, (sequence, common) in enumerate(zip(sequences, shared, strict=True)):
        common = common if i else 0
        own = len(sequence) - common
        path = np.concatenate([path[:common], np.arange(size, size + own)])
        size += own
        end[path] = size  # a later sequence through the same position moves its end further
        pieces.append(sequence[common:])
        depths.append(np.arange(common, len(sequence)))
        paths.append(torch.from_numpy(path))
    return Tree(
        tokens_T=torch.from_numpy(np.concatenate(pieces)),
        depth_T=torch.from_numpy(np.concatenate(depths)),
        end_T=torch.from_numpy(end[:size].copy()),
        paths=tuple(paths),
    )


def pad(tree: Tree, size: int) -> Tree:
    """The same tree in `size` positions: those at its end belong to no sequence and see only themselves.

    >>> padded = pad(grow([np.array([5, 6])], [0]), 4)
    >>> padded.tokens_T.tolist(), padded.depth_T.tolist(), padded.end_T.tolist()
    ([5, 6, 0, 0], [0, 1, 0, 0], [2, 2, 3, 4])
    """
    t = len(tree.tokens_T)
    assert t <= size, f"a tree of {t} positions does not fit into {size}"
    nothing = tree.tokens_T.new_zeros(size - t)
    return Tree(
        tokens_T=torch.cat([tree.tokens_T, nothing]),
        depth_T=torch.cat([tree.depth_T, nothing]),
        end_T=torch.cat([tree.end_T, torch.arange(t + 1, size + 1)]),
        paths=tree.paths,
    )
