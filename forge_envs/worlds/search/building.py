"""How an index is built: pages stream in, a file of another name fills, and is renamed when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from forge_envs.errors import brief
from forge_envs.worlds.search.page import WebPage
from forge_envs.worlds.search.tokens import TOKENIZER, needs_fts5, word_of
from forge_envs.worlds.search.words import normal, spaced, words_in

VERSION = 1
"""Of the file's form and of how texts become words; a file of another version is built again."""
APPLICATION = 0x466F7267
"""SQLite's application_id of these files: "Forg"."""
MOST_POSTINGS = 1000
"""Pages that the words of one search may have together, until the more common ones only put in order."""
_COUNTED = 50
"""A word of fewer pages is not counted: it is rare."""
_BEST = 100
"""Pages that are listed for a word of more than MOST_POSTINGS."""
RANKED = (
    "SELECT rowid, bm25(words, 4.0, 1.0) AS score FROM words WHERE words MATCH ? "
    "ORDER BY score, rowid LIMIT ?"
)
"""Pages by BM25, a word in the title counting as four in the text; equals in the order they came."""
_BATCH = 500

_TABLES = f"""
CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE page(id INTEGER PRIMARY KEY, address TEXT UNIQUE, title TEXT, text TEXT, date TEXT);
CREATE TABLE word(term TEXT PRIMARY KEY, pages INTEGER) WITHOUT ROWID;
CREATE TABLE best(term TEXT, place INTEGER, page INTEGER, score REAL, PRIMARY KEY(term, place)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5(title, text, content='', tokenize='{TOKENIZER}');
INSERT INTO words(words, rank) VALUES ('hashsize', 67108864);
"""


def build_index(pages: Iterable[WebPage], path: str | Path, source: str) -> None:
    """Write the index of all pages to `path`, whatever is there now. `source` says what it was built of.

    It streams: memory does not grow with the corpus. Several processes may build the same path at once; each
    index is whole, and the last stands. Raises ValueError for two pages of one address, for a corpus without
    a word, and where the file cannot be written; NotInstalled where SQLite has no FTS5.
    """
    place = Path(path).expanduser().absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as db:
            needs_fts5(db)
            _fill(db, pages, source)
        with open(new, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(new, place)
    except (sqlite3.OperationalError, OSError) as error:
        raise ValueError(f"index {place} cannot be written ({error}); is the disk full?") from None
    finally:
        new.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is there for nothing else; it falls with the process that holds it."""
    import fcntl  # reading an index needs none, also where there is none

    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(db: sqlite3.Connection, pages: Iterable[WebPage], source: str) -> None:
    for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-65536"):
        db.execute(f"PRAGMA {setting}")
    db.execute(f"PRAGMA application_id={APPLICATION}")
    db.execute(f"PRAGMA user_version={VERSION}")
    db.executescript(_TABLES)
    digest = hashlib.blake2b(digest_size=16)
    count = length = 0
    words = False
    db.execute("BEGIN")
    for batch in _batches(pages):
        _add(db, batch, count)
        for page in batch:
            for part in (page.address, page.title, page.text, page.date):
                data = part.encode("utf-8")
                digest.update(len(data).to_bytes(8, "little") + data)
            length += len(page.text)
            words = words or bool(words_in(f"{page.title} {page.text}"))
        count += len(batch)
    db.execute("COMMIT")
    db.execute("INSERT INTO words(words) VALUES ('optimize')")
    _count_words(db)
    if not words:
        raise ValueError(f"{source}: {count} pages without a word in them; there is nothing to search")
    told = {
        "source": source,
        "digest": digest.hexdigest(),
        "pages": count,
        "length": max(length / count, 1.0),
    }
    db.execute("DROP TABLE vocabulary")
    db.executemany("INSERT INTO about VALUES (?, ?)", [(name, str(value)) for name, value in told.items()])


def _batches(pages: Iterable[WebPage]) -> Iterator[list[WebPage]]:
    batch: list[WebPage] = []
    for page in pages:
        batch.append(WebPage(normal(page.address), normal(page.title), normal(page.text), normal(page.date)))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _add(db: sqlite3.Connection, batch: list[WebPage], first: int) -> None:
    rows = list(enumerate(batch, first))
    try:
        db.executemany(
            "INSERT INTO page VALUES (?, ?, ?, ?, ?)",
            ((id, page.address, page.title, page.text, page.date) for id, page in rows),
        )
    except sqlite3.IntegrityError:
        seen = {address for (address,) in db.execute("SELECT address FROM page WHERE id < ?", (first,))}
        for page in batch:
            if page.address in seen:
                raise ValueError(
                    f"two pages have the address {brief(page.address)}: each needs its own"
                ) from None
            seen.add(page.address)
        raise
    db.executemany(
        "INSERT INTO words(rowid, title, text) VALUES (?, ?, ?)",
        ((id, spaced(page.title), spaced(page.text)) for id, page in rows),
    )


def _count_words(db: sqlite3.Connection) -> None:
    """How many pages a word stands in, and the best pages of those that stand in many."""
    db.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, 'row')")
    db.execute("BEGIN")
    db.execute("INSERT INTO word SELECT term, doc FROM vocabulary WHERE doc >= ?", (_COUNTED,))
    common = db.execute("SELECT term FROM word WHERE pages > ? ORDER BY term", (MOST_POSTINGS,)).fetchall()
    for (term,) in common:
        word = word_of(term)
        if word is None:  # a search for it ranks all its pages
            continue
        found = db.execute(RANKED, (f'"{spaced(word)}"', _BEST)).fetchall()
        db.executemany(
            "INSERT INTO best VALUES (?, ?, ?, ?)",
            ((term, place, id, -score) for place, (id, score) in enumerate(found)),
        )
    db.execute("COMMIT")
