"""Memory of the in-process engine: keys and values in pages, found again by the tokens they stand for.

A page holds the keys and values of PAGE consecutive positions, for all layers; a conversation is a chain
of pages. Full pages form a prefix tree (the path to a page spells the tokens before it), so conversations
with one opening hold the same pages; a page they share only in part is copied. A page nobody holds is
free, and still found in the tree until it is needed for something else. (The page table is vLLM's,
arXiv 2309.06180 section 4; the prefix tree is SGLang's, arXiv 2312.07104 section 3.)
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

PAGE = 64
"""Positions in a page: few enough to waste little, enough for a matrix product to be worth its call."""


class Page:
    """A node of the prefix tree."""

    __slots__ = ("children", "holders", "id", "parent", "tails", "tokens")

    def __init__(self, id: int, parent: Page | None) -> None:
        self.id = id
        self.parent = parent
        self.holders = 0
        self.tokens: tuple[int, ...] = ()
        """What the page holds once it is full; until then its chain knows."""
        self.children: dict[tuple[int, ...], Page] = {}
        """Full pages that come after this one."""
        self.tails: list[Chain] = []
        """Chains whose unfilled last page comes after this one."""


class Chain:
    """The pages of one conversation: keys and values of the first `computed` of `tokens`."""

    __slots__ = ("after", "computed", "pages", "tokens")

    def __init__(self) -> None:
        self.after: Page | None = None
        """The page that lists this chain among its tails."""
        self.tokens: list[int] = []
        self.computed = 0
        self.pages: list[Page] = []


class Pages:
    """`count` pages: `keys` [layer, page, kv head, head_dim, PAGE], `values` [.., PAGE, head_dim].

    So both stand as the matrix products of attention read them, row by row: on a CPU twice as fast for keys.
    """

    def __init__(self, shape: tuple[int, int, int], count: int, dtype: torch.dtype, device: torch.device):
        """`shape`: layers, kv heads, head_dim of the model."""
        layers, kv_heads, head_dim = shape
        self.keys = _zeros((layers, count, kv_heads, head_dim, PAGE), dtype, device)
        self.values = _zeros((layers, count, kv_heads, PAGE, head_dim), dtype, device)
        self.count = count
        self.clear()

    def clear(self) -> None:
        """Forget everything; chains made before are void."""
        self.free = self.count
        self._taken = np.zeros(self.count, dtype=bool)
        self._page: list[Page | None] = [None] * self.count
        self._root = Page(-1, None)

    def reserve(self, chain: Chain, length: int) -> None:
        """Make room for `length` tokens of `chain`; the caller has seen to it that enough pages are free."""
        while len(chain.pages) * PAGE < length:
            chain.pages.append(self._new(chain.pages[-1] if chain.pages else self._root))
        self._list_tail(chain)

    def computed(self, chain: Chain, count: int) -> None:
        """Keys and values of `count` more tokens of `chain` are in its pages: list those that are full."""
        start, chain.computed = chain.computed, chain.computed + count
        if start // PAGE == chain.computed // PAGE:
            return
        for i in range(start // PAGE, chain.computed // PAGE):
            page = chain.pages[i]
            page.tokens = tuple(chain.tokens[i * PAGE : (i + 1) * PAGE])
            if page.parent is not None:
                page.parent.children.setdefault(page.tokens, page)
        self._list_tail(chain)

    def keep(self, chain: Chain, tokens: list[int]) -> None:
        """Let `chain` go on with `tokens`: drop what it holds beyond their common prefix."""
        same = min(common_prefix(chain.tokens, tokens), chain.computed, len(tokens) - 1)
        while len(chain.pages) * PAGE >= same + PAGE:
            self._drop(chain.pages.pop())
        if same % PAGE:
            last = chain.pages[-1]
            if last.tokens and last.holders == 1:
                # Full and now to be written again: as a new node, since what follows the old one is void.
                self._drop(chain.pages.pop())
                chain.pages.append(self._new(last.parent, last.id))
            elif last.tokens:
                self._drop(chain.pages.pop())
                same -= same % PAGE
        chain.tokens, chain.computed = tokens, same
        self._list_tail(chain)

    def adopt(self, chain: Chain) -> int:
        """Take over what others have computed of `chain.tokens`; returns how many tokens that is.

        Takes at most as many free pages as the tokens fill, so `reserve` afterwards needs that many less.
        """
        tokens, before, limit = chain.tokens, chain.computed, len(chain.tokens) - 1
        if before % PAGE:
            return 0
        node = chain.pages[-1] if chain.pages else self._root
        while chain.computed + PAGE <= limit:
            child = node.children.get(tuple(tokens[chain.computed : chain.computed + PAGE]))
            if child is None:
                break
            self._hold(child)
            chain.pages.append(child)
            chain.computed += PAGE
            node = child
        source, same = self._closest(node, tuple(tokens[chain.computed : min(limit, chain.computed + PAGE)]))
        if source is not None:
            page = self._new(node)
            # A free source may have been handed out as the copy's own page: then it is in place already.
            if page.id != source.id:
                self.keys[:, page.id, ..., :same] = self.keys[:, source.id, ..., :same]
                self.values[:, page.id, :, :same] = self.values[:, source.id, :, :same]
            chain.pages.append(page)
            chain.computed += same
        self._list_tail(chain)
        return chain.computed - before

    def release(self, chain: Chain) -> None:
        """Give all pages back."""
        for page in chain.pages:
            self._drop(page)
        chain.pages, chain.tokens, chain.computed = [], [], 0
        self._list_tail(chain)

    def scrub(self, chain: Chain) -> None:
        """Wipe the pages that `chain` alone holds: what came of them is no number, and would spread."""
        for page in chain.pages:
            if page.holders == 1:
                self.keys[:, page.id] = self.values[:, page.id] = 0
                if page.parent is not None and page.parent.children.get(page.tokens) is page:
                    del page.parent.children[page.tokens]

    def _closest(self, node: Page, wanted: tuple[int, ...]) -> tuple[Page | None, int]:
        """The page after `node` that shares most of its beginning with `wanted`, and how much."""
        best: tuple[Page | None, int] = (None, 0)
        if not wanted:
            return best
        for tokens, page in node.children.items():
            if tokens[0] == wanted[0] and (same := common_prefix(tokens, wanted)) > best[1]:
                best = (page, same)
        for chain in node.tails:
            held = tuple(chain.tokens[chain.computed // PAGE * PAGE : chain.computed])
            if held and held[0] == wanted[0] and (same := common_prefix(held, wanted)) > best[1]:
                best = (chain.pages[chain.computed // PAGE], same)
        return best

    def _list_tail(self, chain: Chain) -> None:
        """List `chain` under the page that its unfilled page comes after, and only there."""
        filled = chain.computed // PAGE
        after = None
        if len(chain.pages) > filled:
            after = chain.pages[filled - 1] if filled else self._root
        if after is not chain.after:
            if chain.after is not None:
                chain.after.tails.remove(chain)
            if after is not None:
                after.tails.append(chain)
            chain.after = after

    def _new(self, parent: Page | None, id: int = -1) -> Page:
        """A free page (`id`, or the lowest one: it keeps those in use close together) as a new node."""
        if id < 0:
            id = int(self._taken.argmin())
        assert not self._taken[id], "no free page: admission let in more than fits"
        old = self._page[id]
        if old is not None and old.parent is not None and old.parent.children.get(old.tokens) is old:
            del old.parent.children[old.tokens]
        page = self._page[id] = Page(id, parent)
        self._hold(page)
        return page

    def _hold(self, page: Page) -> None:
        if page.holders == 0:
            self._taken[page.id] = True
            self.free -= 1
        page.holders += 1

    def _drop(self, page: Page) -> None:
        page.holders -= 1
        if page.holders == 0:
            self._taken[page.id] = False
            self.free += 1


def _zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros, not empty: a masked position weighs 0, and 0 times stray NaN is NaN.

    On a CPU by way of numpy, which leaves zeroing to the system at first touch: unused pages cost nothing.
    """
    if device.type != "cpu":
        return torch.zeros(size, dtype=dtype, device=device)
    return (
        torch.from_numpy(np.zeros(int(np.prod(size)) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(size)
    )


S = TypeVar("S", list[int], tuple[int, ...])


def common_prefix(a: S, b: S) -> int:
    """Length of the longest common prefix of two lists, or two tuples.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5])
    2
    """
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    low = 0  # a and b agree before `low` and differ before `n`
    while n - low > 1:
        middle = (low + n) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            n = middle
    return low
