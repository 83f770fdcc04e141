"""A full-text index in one SQLite file: FTS5 ranks pages by BM25, and many processes read it at once.

It is built once, under a temporary name that becomes the right one when it is whole, and opened read-only and
immutable: readers take no locks, and the operating system keeps one copy of it in memory for all of them.

What a search costs is the number of pages that its words stand in, 0.8 microseconds each. So the rarest words
choose the pages, as many words as have MOST_POSTINGS pages together. Words that stand almost everywhere count
when the best of those pages are put in order (Lucene's common-terms query does the same). Where all words are
that common, the pages come from lists of the best for each, which were made when the index was.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from forge_envs.errors import MachineError
from forge_envs.worlds.search.building import (
    APPLICATION,
    MOST_POSTINGS,
    RANKED,
    VERSION,
    build_index,
    locked,
)
from forge_envs.worlds.search.page import Hit, WebPage
from forge_envs.worlds.search.snippets import snippet
from forge_envs.worlds.search.tokens import needs_fts5, terms_of
from forge_envs.worlds.search.words import MOST_WORDS, folded, normal, places, spaced, words_in

LARGEST_LIMIT = 100
"""Hits that one search can ask for."""
_CANDIDATES = 3
"""So many times the limit are put in order by the common words."""
_K1 = 1.2
"""BM25's saturation, as FTS5 has it."""
_REMEMBERED = 4096
"""Searches whose hits are kept: the members of a group ask much the same."""


class FullTextIndex:
    """An index that was built; a PageLibrary. Threads and forked processes may share it.

    It pickles as its path. Raises ValueError for a file that is no index, is cut off, or was made by another
    version of this code, and NotInstalled where SQLite has no FTS5.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()
        self._local = threading.local()
        self._inherited: list[sqlite3.Connection] = []
        """Connections of a parent process: a child may neither use nor close them."""
        if not self.path.is_file():
            raise ValueError(f"index {self.path}: no such file; build it first")
        _check_whole(self.path)
        try:
            told = self._identity()
            self.source: str = told["source"]
            """What it was built of, in the words of whoever built it."""
            self.digest: str = told["digest"]
            """32 hex digits of all its pages."""
            self._pages = int(told["pages"])
            self._length = float(told["length"])
            """Characters of a page, on average."""
        except (sqlite3.DatabaseError, KeyError) as error:
            raise ValueError(
                f"index {self.path} cannot be read ({error}): it is broken; delete it and build it again"
            ) from None
        self._known = functools.lru_cache(_REMEMBERED)(self._search)

    def __len__(self) -> int:
        return self._pages

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return _reopened, (str(self.path), self.digest)

    def _identity(self) -> dict[str, str]:
        db = self._db
        (application,), (version,) = db.execute("PRAGMA application_id"), db.execute("PRAGMA user_version")
        if application[0] != APPLICATION:
            raise ValueError(
                f"{self.path} is an SQLite file but no search index; give the path of one, or delete it"
            )
        if version[0] != VERSION:
            raise ValueError(
                f"index {self.path} is of version {version[0]}, and this code reads version {VERSION}: "
                "delete it and build it again"
            )
        needs_fts5(sqlite3.connect(":memory:"))
        return dict(db.execute("SELECT name, value FROM about"))

    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's connection in this process."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is not None:
            if held[0] == os.getpid():
                return held[1]
            self._inherited.append(held[1])
        address = f"file:{quote(str(self.path))}?mode=ro&immutable=1"
        db = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
        db.execute(f"PRAGMA mmap_size={self.path.stat().st_size + (1 << 20)}")
        self._local.held = (os.getpid(), db)
        return db

    # -- a library of pages --------------------------------------------------------------------------

    def search(self, query: str, limit: int = 10) -> Sequence[Hit]:
        """The best hits for any of the query's words, best first; the same for the same query, always.

        Any text is a query: nothing in it is syntax. Raises ValueError for a limit outside 1..100, and
        MachineError when the file fails.
        """
        check_limit(limit)
        with self._failures():
            return self._known(words_in(query), limit)

    def page(self, address: str) -> WebPage | None:
        """The page of an address, None where there is none. Raises MachineError when the file fails."""
        sql = "SELECT address, title, text, date FROM page WHERE address = ?"
        with self._failures():
            row = self._db.execute(sql, (normal(address),)).fetchone()
        return WebPage(*row) if row else None

    def neighbours(self, address: str, most: int = 20) -> list[str]:
        """Addresses that stand next to one, which need not be there, in the order of the alphabet."""
        asked = normal(address)
        before = "SELECT address FROM page WHERE address < ? ORDER BY address DESC LIMIT ?"
        after = "SELECT address FROM page WHERE address >= ? ORDER BY address LIMIT ?"
        with self._failures():
            rows = [row for sql in (before, after) for row in self._db.execute(sql, (asked, most))]
        return [address for (address,) in rows]

    def pages(self) -> Iterator[WebPage]:
        """All pages in the order they were given."""
        with self._failures():
            for row in self._db.execute("SELECT address, title, text, date FROM page ORDER BY id"):
                yield WebPage(*row)

    def address(self, number: int) -> str:
        """The address of a page by its number, its place among `pages`."""
        with self._failures():
            row = self._db.execute("SELECT address FROM page WHERE id = ?", (number,)).fetchone()
        return str(row[0])

    def hit(self, number: int, query: str) -> Hit:
        """The page of a number as a search for `query` would show it."""
        with self._failures():
            address, title, text, date = self._row(number)
        return Hit(address, title, snippet(text, words_in(query)), date)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """A file that fails in the midst of an episode is a failed machine."""
        try:
            yield
        except sqlite3.Error as error:
            told = f"index {self.path} cannot be read ({error}): delete it and build it again"
            raise MachineError(told, kind="index", stage="search", retryable=False) from None

    # -- how pages are found ---------------------------------------------------------------------------

    def _search(self, words: tuple[str, ...], limit: int) -> tuple[Hit, ...]:
        counts = sorted((self._count(word), place, word) for place, word in enumerate(words))[:MOST_WORDS]
        chosen: list[tuple[str, int]] = []
        left_out: list[tuple[str, int]] = []
        total = 0
        for count, _, word in counts:
            total += count
            (chosen if total <= MOST_POSTINGS else left_out).append((word, count))
        if not words:
            return ()
        if not chosen:
            found = self._of_common([word for word, _ in left_out], limit)
        elif left_out:
            found = self._ordered(self._ranked(chosen, limit * _CANDIDATES), left_out)[:limit]
        else:
            found = self._ranked(chosen, limit)
        telling = tuple(word for _, _, word in counts)
        return tuple(Hit(row[0], row[1], snippet(row[2], telling), row[3]) for _, _, row in found)

    def _count(self, word: str) -> int:
        """How many pages a word stands in, at most: the words of few pages are not counted apart."""
        sql = "SELECT pages FROM word WHERE term = ?"
        least = math.inf
        for term in terms_of(word):
            row = self._db.execute(sql, (term,)).fetchone()
            least = min(least, row[0] if row else 0)
        return 0 if least == math.inf else int(least)

    def _ranked(self, chosen: Sequence[tuple[str, int]], limit: int) -> list[_Found]:
        """By BM25 over the chosen words, best first; equals in the order of the index."""
        asked = " OR ".join(f'"{spaced(word)}"' for word, _ in chosen)
        found = self._db.execute(RANKED, (asked, limit)).fetchall()
        return [(-score, id, self._row(id)) for id, score in found]

    def _ordered(self, found: list[_Found], left_out: Sequence[tuple[str, int]]) -> list[_Found]:
        """Once more in order, by BM25 of the common words too."""
        better = []
        for score, id, row in found:
            title, text = folded(row[1]), folded(row[2])
            norm = _K1 * (0.25 + 0.75 * len(text) / self._length)
            for word, count in left_out:
                often = len(places(word, text)) + 4 * len(places(word, title))
                rarity = max(math.log((self._pages - count + 0.5) / (count + 0.5)), 1e-6)
                score += rarity * often * (_K1 + 1) / (often + norm)
            better.append((score, id, row))
        return sorted(better, key=lambda one: (-one[0], one[1]))

    def _of_common(self, words: Sequence[str], limit: int) -> list[_Found]:
        """The best pages of words that stand almost everywhere, by the lists that were made of them."""
        scores: dict[int, float] = {}
        for term in dict.fromkeys(term for word in words for term in terms_of(word)):
            for id, score in self._db.execute("SELECT page, score FROM best WHERE term = ?", (term,)):
                scores[id] = scores.get(id, 0.0) + score
        if not scores:
            return self._ranked([(words[0], 0)], limit)
        best = sorted(scores.items(), key=lambda one: (-one[1], one[0]))[:limit]
        return [(score, id, self._row(id)) for id, score in best]

    def _row(self, id: int) -> tuple[str, str, str, str]:
        sql = "SELECT address, title, text, date FROM page WHERE id = ?"
        row: tuple[str, str, str, str] = self._db.execute(sql, (id,)).fetchone()
        return row


def check_limit(limit: int) -> None:
    """Raises ValueError for a number of hits that no search gives."""
    if not 1 <= limit <= LARGEST_LIMIT:
        raise ValueError(f"limit={limit}: a search gives 1 to {LARGEST_LIMIT} hits")


def _check_whole(path: Path) -> None:
    """Raises ValueError for an SQLite file that is shorter than its head says."""
    with open(path, "rb") as file:
        head = file.read(32)
    if head.startswith(b"SQLite format 3") and len(head) == 32:
        size, count = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        whole = count * (size if size > 1 else 65536)
        if (there := path.stat().st_size) < whole:
            raise ValueError(
                f"index {path} is cut off: {there:,} bytes of {whole:,}; delete it and build it again"
            )


_Found = tuple[float, int, tuple[str, str, str, str]]
"""Score, id, and (address, title, text, date)."""

_open: dict[tuple[str, int, int], FullTextIndex] = {}


def open_index(path: str | Path) -> FullTextIndex:
    """The index of a path: one for all environments of this process, as long as the file is the same.

    Raises ValueError and NotInstalled as FullTextIndex does.
    """
    place = Path(path).expanduser().absolute()
    if not place.is_file():
        raise ValueError(f"index {place}: no such file; build it first")
    told = place.stat()
    key = (str(place), told.st_ino, told.st_mtime_ns)
    if key not in _open:
        _open.setdefault(key, FullTextIndex(place))
    return _open[key]


def ensure_index(path: str | Path, source: str, pages: Callable[[], Iterable[WebPage]]) -> FullTextIndex:
    """The index of a path, built first unless a whole one of this source is there.

    Processes that come at once wait for the one that builds. `source` has to say all that the pages depend
    on. Raises ValueError and NotInstalled as build_index and FullTextIndex do.
    """
    place = Path(path).expanduser().absolute()
    if (found := _of_source(place, source)) is not None:
        return found
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_name(f"{place.name}.lock")):
        if (found := _of_source(place, source)) is not None:  # somebody built it meanwhile
            return found
        build_index(pages(), place, source)
    return open_index(place)


def _of_source(place: Path, source: str) -> FullTextIndex | None:
    with contextlib.suppress(ValueError):
        found = open_index(place)
        return found if found.source == source else None
    return None


def _reopened(path: str, digest: str) -> FullTextIndex:
    """The index that an episode was pickled with. Raises ValueError where another one stands by now."""
    found = open_index(path)
    if found.digest != digest:
        raise ValueError(
            f"index {path} holds other pages ({found.digest}) than when this was stored ({digest}); "
            "build it of the same corpus again"
        )
    return found
