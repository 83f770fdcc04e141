"""Pages found by what they mean as well as by their words: vectors of their passages beside the index.

Vectors lie beside the index as a plain file of numbers that all processes map into memory. A search compares
the query with each of them (exactly: 33,000 vectors of 256 numbers take some two milliseconds), and fuses
both lists by reciprocal rank, 1 / (60 + rank) summed (Cormack, Clarke and Büttcher, SIGIR 2009).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forge_envs.worlds.search.building import locked
from forge_envs.worlds.search.embedders import Embedder, Vectors, embedder_of
from forge_envs.worlds.search.fulltext import FullTextIndex, check_limit
from forge_envs.worlds.search.page import Hit, WebPage
from forge_envs.worlds.search.snippets import plain

VERSION = 1
"""Of the files' form and of how pages become passages."""
PASSAGE = 1000
"""Characters of a passage, at most: models read a few hundred words."""
AT_ONCE = 64
"""Passages that a model is given at once."""
RANKS = 60
"""The constant of reciprocal rank fusion."""
_LISTED = 50
"""Pages of each list that are fused, at least."""
_REMEMBERED = 4096


class MeaningIndex:
    """An index with vectors beside it; a PageLibrary. It pickles as the index and the embedder's spec.

    The vectors are made first where they are not there, for the pages of this index by this model. Raises
    ValueError where they cannot be written, and MachineError where the model fails.
    """

    def __init__(self, index: FullTextIndex, embedding: str) -> None:
        self.index, self.embedding = index, embedding
        self._embedder = embedder_of(embedding)
        told = {
            "version": VERSION,
            "pages": index.digest,
            "model": self._embedder.name,
            "passage": PASSAGE,
        }
        mark = hashlib.blake2b(json.dumps(told).encode(), digest_size=6).hexdigest()
        self.folder = index.path.with_name(f"{index.path.name}.vectors-{mark}")
        if not self.folder.is_dir():
            with locked(index.path.with_name(f"{index.path.name}.lock")):
                if not self.folder.is_dir():  # somebody made them meanwhile
                    _write(index, self._embedder, self.folder, told)
        self._vectors, self._pages = _read(self.folder)
        self._known = functools.lru_cache(_REMEMBERED)(self._search)

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[Any, tuple[FullTextIndex, str]]:
        return meaning_index, (self.index, self.embedding)

    def search(self, query: str, limit: int = 10) -> Sequence[Hit]:
        """The best hits by words and meaning, best first. Raises ValueError and MachineError as the index."""
        check_limit(limit)
        return self._known(query, limit)

    def page(self, address: str) -> WebPage | None:
        """The page of an address, None where there is none."""
        return self.index.page(address)

    def neighbours(self, address: str, most: int = 20) -> list[str]:
        """Addresses that stand next to one."""
        return self.index.neighbours(address, most)

    def _search(self, query: str, limit: int) -> tuple[Hit, ...]:
        listed = max(_LISTED, limit)
        worded = {hit.address: hit for hit in self.index.search(query, listed)}
        meant = {self.index.address(number): number for number in self._nearest(query, listed)}
        worth: dict[str, float] = {}
        for found in (worded, meant):
            for rank, address in enumerate(found, 1):
                worth[address] = worth.get(address, 0.0) + 1 / (RANKS + rank)
        best = sorted(worth, key=lambda address: (-worth[address], address))[:limit]
        return tuple(worded.get(address) or self.index.hit(meant[address], query) for address in best)

    def _nearest(self, query: str, limit: int) -> list[int]:
        """Pages by their best passage, nearest first, none that is unlike; equals in the index's order."""
        (asked,) = self._embedder.embed([query], query=True)
        if not asked.any() or not len(self._vectors):
            return []
        likeness = self._vectors @ asked
        of_page = np.full(len(self.index), -np.inf, dtype=np.float32)
        np.maximum.at(of_page, self._pages, likeness)
        best = np.lexsort((np.arange(len(of_page)), -of_page))[:limit]
        return [int(number) for number in best if of_page[number] > 0]


@functools.cache
def meaning_index(index: FullTextIndex, embedding: str) -> MeaningIndex:
    """The index of meanings of an index: one for all environments of this process."""
    return MeaningIndex(index, embedding)


def passages(page: WebPage, most: int = PASSAGE) -> Iterator[str]:
    """A page's text in pieces that break between paragraphs, lines or words, each under the page's title.

    >>> list(passages(WebPage("a", "Ana", "One day.\\n\\nShe left [home](b)."), 12))
    ['Ana\\nOne day.', 'Ana\\nShe left', 'Ana\\nhome.']
    """
    left = plain(page.text).strip()
    if not left:
        yield page.title
    while left:
        gaps = (left.rfind(gap, 0, most + 1) for gap in ("\n\n", "\n", " "))
        at = len(left) if len(left) <= most else next((cut for cut in gaps if cut > most // 2), most)
        yield f"{page.title}\n{left[:at].rstrip()}"
        left = left[at:].lstrip()


def _write(index: FullTextIndex, embedder: Embedder, folder: Path, told: dict[str, Any]) -> None:
    """Fill a folder of another name, which is renamed when it is whole."""
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    numbered = ((number, text) for number, page in enumerate(index.pages()) for text in passages(page))
    pages: list[int] = []
    width = 0
    try:
        new.mkdir()
        with open(new / "vectors.f32", "wb") as file:
            while batch := list(islice(numbered, AT_ONCE)):
                found = embedder.embed([text for _, text in batch])
                if width not in (0, found.shape[1]):
                    raise ValueError(f"{embedder.name} gave vectors of {width} and {found.shape[1]} numbers")
                width = found.shape[1]
                file.write(found.astype("<f4").tobytes())
                pages += [number for number, _ in batch]
        np.save(new / "pages.npy", np.array(pages, dtype=np.int32))
        (new / "about.json").write_text(json.dumps({**told, "width": width}))
        os.replace(new, folder)
    except OSError as error:
        raise ValueError(f"vectors {folder} cannot be written ({error}); is the disk full?") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _read(folder: Path) -> tuple[Vectors, npt.NDArray[np.int32]]:
    """Vectors [passages, width], mapped, and the page of each. Raises ValueError for broken files."""
    try:
        width = int(json.loads((folder / "about.json").read_text())["width"])
        pages: npt.NDArray[np.int32] = np.load(folder / "pages.npy")
        vectors = np.memmap(folder / "vectors.f32", dtype="<f4", mode="r", shape=(len(pages), width))
        if (folder / "vectors.f32").stat().st_size != 4 * len(pages) * width:
            raise ValueError("it is longer than it should be")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"vectors {folder} cannot be read ({error}): delete the folder") from None
    return np.asarray(vectors), pages
