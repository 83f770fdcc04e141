"""Where a piece of text stands in a file, as forgiving as Aider: indents, a blank first line, elisions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher


def replace(whole: str, search: str, replacement: str) -> str | None:
    """`whole` with `search` replaced by `replacement`, None where it is not found.

    Tried in turn: line by line as it is; with all leading whitespace too much or too little by the same
    amount; without a blank first line; and in pieces, where lines of "..." stand for what is left out.
    """
    lines, wanted, given = _lines(whole), _lines(search), _lines(replacement)
    found = _exact(lines, wanted, given)
    if found is None:
        found = _shifted(lines, wanted, given)
    if found is None and len(wanted) > 2 and not wanted[0].strip():
        found = _exact(lines, wanted[1:], given)
        if found is None:
            found = _shifted(lines, wanted[1:], given)
    return found if found is not None else _elided(whole, search, replacement)


def _lines(text: str) -> list[str]:
    return (text if not text or text.endswith("\n") else text + "\n").splitlines(keepends=True)


def _exact(lines: Sequence[str], wanted: Sequence[str], given: Sequence[str]) -> str | None:
    size = len(wanted)
    for at in range(len(lines) - size + 1):
        if list(lines[at : at + size]) == list(wanted):
            return "".join([*lines[:at], *given, *lines[at + size :]])
    return None


def _shifted(lines: Sequence[str], wanted: Sequence[str], given: Sequence[str]) -> str | None:
    """Match where every line that is not blank lacks, or is given, the same leading whitespace."""
    indents = [len(line) - len(line.lstrip()) for line in (*wanted, *given) if line.strip()]
    spare = min(indents, default=0)
    wanted = [line[spare:] if line.strip() else line for line in wanted]
    given = [line[spare:] if line.strip() else line for line in given]
    for at in range(len(lines) - len(wanted) + 1):
        piece = lines[at : at + len(wanted)]
        if any(a.lstrip() != b.lstrip() for a, b in zip(piece, wanted, strict=True)):
            continue
        pairs = zip(piece, wanted, strict=True)
        shifts = {a[: len(a) - len(b)] for a, b in pairs if a.strip()}
        if len(shifts) == 1:
            shift = shifts.pop()
            moved = [shift + line if line.strip() else line for line in given]
            return "".join([*lines[:at], *moved, *lines[at + len(piece) :]])
    return None


_DOTS = re.compile(r"^\s*\.\.\.\n", re.MULTILINE)


def _elided(whole: str, search: str, replacement: str) -> str | None:
    """Match the pieces between lines of "...", each of which must occur once."""
    pieces, given = _DOTS.split(search), _DOTS.split(replacement)
    if len(pieces) < 2 or len(pieces) != len(given):
        return None
    if _DOTS.findall(search) != _DOTS.findall(replacement):
        return None
    for old, new in zip(pieces, given, strict=True):
        if not old and not new:
            continue
        if not old:
            whole = whole + ("" if whole.endswith("\n") or not whole else "\n") + new
        elif whole.count(old) != 1:
            return None
        else:
            whole = whole.replace(old, new)
    return whole


def similar(whole: str, search: str, least: float = 0.6, around: int = 5) -> str:
    """The lines of `whole` that are most like `search`, with some around them; empty where none are.

    >>> similar("a = 1\\nb = 22\\n", "b = 21\\n")
    'a = 1\\nb = 22'
    """
    lines, wanted = whole.splitlines(), search.splitlines()
    if not wanted or len(lines) * len(wanted) > _MOST:
        return ""
    best, place = 0.0, 0
    for at in range(max(1, len(lines) - len(wanted) + 1)):
        ratio = SequenceMatcher(None, wanted, lines[at : at + len(wanted)], autojunk=False).ratio()
        close = SequenceMatcher(None, search, "\n".join(lines[at : at + len(wanted)]), autojunk=False)
        if max(ratio, close.quick_ratio()) > best and (ratio := max(ratio, close.ratio())) > best:
            best, place = ratio, at
    if best < least:
        return ""
    return "\n".join(lines[max(0, place - around) : place + len(wanted) + around])


_MOST = 40_000  # the agent decides how long a search is; the world how long it looks for what was meant
