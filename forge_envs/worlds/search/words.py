"""Words of queries, goals and texts: how they are told apart and compared."""

from __future__ import annotations

import functools
import re
import unicodedata

LONGEST_QUERY = 2000
"""Characters of a query or goal that are read; what follows says nothing new."""
MOST_WORDS = 32
"""Different words of a query that are looked for."""
_ASKING = """
a about all also an and any are as at be been but by can could did do does for from had has have he her his
how i if in into is it its me my no not of on or our s she should so some such t than that the their them then
there these they this those to was we were what when where which who whom whose why will with would you your
"""
STOP_WORDS = frozenset(_ASKING.split())
"""Words that say how a question is asked and not what about; a query of nothing else is taken at its word."""

_WORD = re.compile(r"[^\W_]+")
_CJK = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d"
)
_CJK += "\U00020000-\U0003ffff"
_RUN = re.compile(f"[{_CJK}]+|[^\\W_{_CJK}]+")
"""A run of signs of a script without spaces, or a word of any other."""
_SIGN = re.compile(f"[{_CJK}]")
_ENDINGS = ("ations", "ation", "ings", "ing", "ers", "ies", "ed", "er", "es", "s", "y", "e")


def words_in(text: str) -> tuple[str, ...]:
    """The different words to look for, folded, in the order they are said, stop words left out.

    Chinese, Japanese and Korean runs, which have no spaces, are taken in pairs of signs.

    >>> words_in("Who founded São Tomé's port? 東京都"), words_in("to be or not to be"), words_in('"-" *:^')
    (('founded', 'sao', 'tome', 'port', '東京', '京都'), ('to', 'be', 'or', 'not'), ())
    """
    found: dict[str, None] = {}
    for run in _RUN.findall(folded(normal(text[:LONGEST_QUERY]))):
        if _SIGN.match(run) and len(run) > 2:
            found.update(dict.fromkeys(run[at : at + 2] for at in range(len(run) - 1)))
        else:
            found[run] = None
    telling = [word for word in found if word not in STOP_WORDS]
    return tuple(telling or found)


def normal(text: str) -> str:
    """A text as it can be stored: composed letters, no half of a surrogate pair."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))


def spaced(text: str) -> str:
    """A text in which every sign of a script without spaces is a word of its own.

    >>> spaced("in 東京 now")
    'in  東  京  now'
    """
    return text if text.isascii() else _SIGN.sub(r" \g<0> ", text)


def folded(text: str) -> str:
    """A text in small letters without accents, of the same length: places in it are places in the text.

    >>> folded("São TOMÉ İ")
    'sao tome i'
    """
    return text.lower() if text.isascii() else text.translate(_FOLDS)


class _Folds(dict[int, str]):
    """From a letter to the one that stands for it, worked out when it first occurs."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        plain = unicodedata.normalize("NFD", letter)[0] if not 0xAC00 <= code <= 0xD7AF else letter
        small = plain.lower()
        found = self[code] = small if len(small) == 1 else plain
        return found


_FOLDS = _Folds()


@functools.lru_cache(maxsize=65536)
def root(word: str) -> str:
    """What words of one family have in common, roughly: a beginning that stands in all of them.

    >>> root("founded"), root("founders"), root("cities"), root("city"), root("1994"), root("bus")
    ('found', 'found', 'cit', 'cit', '1994', 'bus')
    """
    if word.isalpha():
        for ending in _ENDINGS:
            if word.endswith(ending) and len(word) - len(ending) >= 3:
                return word[: -len(ending)]
    return word


def places(word: str, text: str, most: int = 8) -> list[int]:
    """Where a word, or one that begins with it, stands in a folded text: the first so many places."""
    found: list[int] = []
    at = text.find(word)
    while at >= 0 and len(found) < most:
        if at == 0 or not text[at - 1].isalnum() or _SIGN.match(word):
            found.append(at)
        at = text.find(word, at + len(word))
    return found


def plain_words(text: str) -> list[str]:
    """All words of a text, folded, in order."""
    return _WORD.findall(folded(text))
