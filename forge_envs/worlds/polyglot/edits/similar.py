"""The lines of a file that a SEARCH part may have meant, for a message to the agent."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"\w+|[^\w\s]")
_LONGEST = 5_000
"""Characters of a search, and ten times as many of a file, that are looked at."""


def similar(whole: str, search: str, least: float = 0.6, around: int = 5) -> str:
    """The lines of `whole` that are most like `search`, with some around them; empty where none are.

    Alike are lines of the same words and marks, whatever blanks and order they stand in: that is counted in
    time linear in both texts.

    >>> similar("a = 1\\nb = 22\\n", "b = 21\\n")
    'a = 1\\nb = 22'
    """
    lines, wanted = whole[: 10 * _LONGEST].splitlines(), search[:_LONGEST].splitlines()
    words = [_WORD.findall(line) for line in lines]
    missing = Counter(word for line in wanted for word in _WORD.findall(line))
    size, total = len(wanted), missing.total()
    best, place, common, held = 0.0, 0, 0, 0
    for at, new in enumerate(words):
        # `missing` holds what the search has more of than the lines from at - size + 1 to at
        for word in new:
            common += missing[word] > 0
            missing[word] -= 1
        held += len(new)
        if at >= size:
            for word in words[at - size]:
                missing[word] += 1
                common -= missing[word] > 0
            held -= len(words[at - size])
        ratio = 2 * common / max(1, total + held)
        if ratio > best:
            best, place = ratio, max(0, at - size + 1)
    if best < least:
        return ""
    return "\n".join(lines[max(0, place - around) : place + size + around])
