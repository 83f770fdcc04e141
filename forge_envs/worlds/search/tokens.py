"""How SQLite's full-text search takes a text apart."""

from __future__ import annotations

import functools
import sqlite3
import threading

from forge_envs.errors import NotInstalled
from forge_envs.worlds.search.words import spaced

TOKENIZER = "porter unicode61 remove_diacritics 2"
_ENDINGS = ("", "e", "s", "es", "y", "ed", "ing", "al", "ate")
_held = threading.local()


def needs_fts5(db: sqlite3.Connection) -> None:
    """Raises NotInstalled where this Python's SQLite has no full-text search."""
    try:
        db.execute(f"CREATE VIRTUAL TABLE temp.fts5_is_there USING fts5(text, tokenize='{TOKENIZER}')")
        db.execute("DROP TABLE temp.fts5_is_there")
    except sqlite3.DatabaseError as error:
        raise NotInstalled(
            f"SQLite {sqlite3.sqlite_version} of this Python has no FTS5 ({error}): use a Python from "
            "python.org, conda or uv, or install an SQLite that was built with SQLITE_ENABLE_FTS5"
        ) from None


@functools.lru_cache(maxsize=65536)
def terms_of(word: str) -> tuple[str, ...]:
    """The terms that a word is stored as; none where nothing of it is a letter or digit.

    >>> terms_of("Cities"), terms_of("京都"), terms_of("—")
    (('citi',), ('京', '都'), ())
    """
    db = getattr(_held, "db", None)
    if db is None:
        db = _held.db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        db.execute(f"CREATE VIRTUAL TABLE word USING fts5(text, tokenize='{TOKENIZER}')")
        db.execute("CREATE VIRTUAL TABLE term USING fts5vocab(word, 'instance')")
    db.execute("INSERT INTO word(rowid, text) VALUES (1, ?)", (spaced(word),))
    found = tuple(term for (term,) in db.execute("SELECT term FROM term ORDER BY offset"))
    db.execute("DELETE FROM word")
    return found


def word_of(term: str) -> str | None:
    """A word that is stored as this term, which need not be one itself; None where no ending makes one.

    >>> word_of("hous"), word_of("citi")
    ('house', 'citi')
    """
    return next((term + end for end in _ENDINGS if terms_of(term + end) == (term,)), None)
