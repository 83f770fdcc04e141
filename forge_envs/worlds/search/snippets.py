"""The part of a page that a line of a search's result shows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_envs.worlds.search.words import folded, places

WIDTH = 240
"""Characters of a snippet, at most."""
_READ = 50_000
"""Characters of a page in which words are looked for."""
LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()\s]*\))*\)")
"""A link as pages write it; its first group is its words."""
_CUT = re.compile(r"^([^\[\]]*)\]\([^()\s]*\)|\[([^\[\]]*)$")
"""What is left of a link through whose words the snippet's edge goes."""


def snippet(text: str, words: Sequence[str], width: int = WIDTH) -> str:
    """The passage in which most of the words stand near each other, on one line; rare words come first.

    >>> snippet("A long day. " * 40 + "She founded [Port Azul](places/azul) in 1994. " + "So it was. " * 40,
    ...         ["azul", "founded"], 80)
    '… long day. A long day. She founded Port Azul in 1994. So it was. So it was. …'
    """
    low = folded(text[:_READ])
    found = sorted((at, number) for number, word in enumerate(words) for at in places(word, low))
    start = _densest(found, width, len(words)) if found else 0
    start = _edge(text, start - width // 3) if start > width // 3 else 0
    end = min(len(text), start + width + 40)
    end = end if end == len(text) else _edge(text, end, back=True)
    line = plain(" ".join(text[start:end].split()))
    if len(line) > width - 4:
        line = line[: width - 4].rpartition(" ")[0] or line[: width - 4]
        return f"{'… ' if start else ''}{line} …"
    return f"{'… ' if start else ''}{line}{' …' if end < len(text) else ''}"


def plain(text: str) -> str:
    """A text without the addresses of its links."""
    return _CUT.sub(r"\1\2", LINK.sub(r"\1", text)) if "[" in text or "](" in text else text


def flat(text: str) -> str:
    """A text on one line, without the addresses of links: as quotes are compared.

    >>> flat("She founded [Port\\n Azul](a/b_(c)).")
    'She founded Port Azul.'
    """
    return " ".join(LINK.sub(r"\1", text).split())


def _densest(found: list[tuple[int, int]], width: int, words: int) -> int:
    """Where the window begins that holds most of the words; earlier words count more, earlier windows win."""
    best, most = 0, -1.0
    for at, (start, _) in enumerate(found):
        inside = {number for place, number in found[at:] if place < start + width * 2 // 3}
        worth = sum(1 + (words - number) / (words + 1) for number in inside)
        if worth > most:
            best, most = start, worth
    return best


def _edge(text: str, at: int, *, back: bool = False) -> int:
    """The nearest gap between words; where there is none near, the place itself."""
    step = -1 if back else 1
    for place in range(at, at + 40 * step, step):
        if 0 < place < len(text) and text[place - 1].isspace():
            return place
    return at
