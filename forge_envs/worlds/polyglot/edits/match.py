"""Where a piece of text stands in a file, as forgiving as Aider: indents, a blank first line, elisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence


class TooMuchError(Exception):
    """An answer asks for more looking than the world does for one answer."""


class Effort:
    """How much an answer may make the world look for: the agent decides what is searched, and where.

    Counted in lines that are compared or moved. A long honest answer, a hundred blocks in a file of two
    thousand lines, takes a quarter of what there is.
    """

    def __init__(self, lines: int = 600_000) -> None:
        self._left = lines

    def spend(self, lines: int) -> None:
        """Raises TooMuchError when all is spent."""
        self._left -= lines
        if self._left < 0:
            raise TooMuchError


class Text:
    """A file that is searched and changed many times: its lines are counted once, then kept count of."""

    def __init__(self, text: str, effort: Effort) -> None:
        self._effort = effort
        self._text: str | None = text.replace("\r\n", "\n").replace("\r", "\n")
        """The file as long as nothing was searched in it."""
        self._ended = True
        """Whether the last line has an end; where it has none, `_lines` lends it one."""
        self._lines: list[str] = []
        self._bare: list[str] = []
        self._counts: Counter[str] = Counter()
        self._bare_counts: Counter[str] = Counter()

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        whole = "".join(self._lines)
        return whole if self._ended else whole[:-1]

    def replace(self, search: str, replacement: str) -> bool:
        """Replace `search` and tell whether that could be done; a file is never left empty.

        Tried in turn: line by line as it is; with all leading whitespace too much or too little by the same
        amount; without a blank first line; and in pieces, where lines of "..." stand for what is left out.
        A last line without an end gets one.
        """
        return self._replace(search, replacement, dry=False)

    def fits(self, search: str, replacement: str) -> bool:
        """Whether `replace` would do it."""
        return self._replace(search, replacement, dry=True)

    def append(self, text: str, dry: bool = False) -> bool:
        """Write `text` after what is there, in its last line where that has no end, as Aider does."""
        whole = str(self)
        if not dry:
            self._text = whole + text
        return bool(whole or text)

    # -- the four ways -----------------------------------------------------------------------------

    def _replace(self, search: str, replacement: str, *, dry: bool) -> bool:
        self._effort.spend(2 * (search.count("\n") + replacement.count("\n")))
        self._index()
        wanted, given = _lines(search), _lines(replacement)
        tries = [wanted]
        if len(wanted) > 2 and not wanted[0].strip():
            tries.append(wanted[1:])
        for part in tries:
            found = self._exact(part, given) or self._shifted(part, given)
            if found is not None:
                if not dry:
                    self._splice(found[0], len(part), found[1])
                return True
        elided = self._elided(search, replacement)
        if elided and not dry:
            self._text = elided
        return bool(elided)

    def _exact(self, wanted: list[str], given: list[str]) -> tuple[int, list[str]] | None:
        if len(wanted) == len(self._lines) and not given:
            return None
        for at in self._places(wanted, self._lines, self._counts):
            if self._lines[at : at + len(wanted)] == wanted:
                return at, given
        return None

    def _shifted(self, wanted: list[str], given: list[str]) -> tuple[int, list[str]] | None:
        """Match where every line that is not blank lacks, or is given, the same leading whitespace."""
        if len(wanted) == len(self._lines) and not given:
            return None
        if len(wanted) > len(self._lines):
            return None
        bare = [line.lstrip() for line in wanted]
        indents = [len(line) - len(start) for line, start in zip(wanted, bare, strict=True)]
        more = [len(line) - len(line.lstrip()) for line in given if line.strip()]
        spare = min([*(indent for indent, line in zip(indents, bare, strict=True) if line), *more], default=0)
        for at in self._places(bare, self._bare, self._bare_counts):
            if self._bare[at : at + len(bare)] != bare:
                continue
            found = {
                line[:deep] if (deep := len(line) - len(start) - indent + spare) >= 0 else line
                for line, start, indent in zip(self._lines[at : at + len(bare)], bare, indents, strict=True)
                if start
            }
            shift = min(found, default="")
            if len(found) == 1 and not shift.strip():
                return at, [shift + line[spare:] if line.strip() else line for line in given]
        return None

    def _places(self, wanted: list[str], lines: list[str], counts: Counter[str]) -> Iterator[int]:
        """Where `wanted` may begin, by its rarest line: most lines that are wanted in vain are nowhere."""
        if len(wanted) > len(lines):
            return
        rarest, fewest = 0, len(lines) + 1
        for i, line in enumerate(wanted):
            count = counts[line]
            if count < fewest:
                rarest, fewest = i, count
            if not count:
                return
        at = rarest - 1
        last = len(lines) - len(wanted) + rarest
        for _ in range(fewest):
            before = at
            try:
                at = lines.index(wanted[rarest], at + 1, last + 1)
            except ValueError:
                self._effort.spend(max(0, last - before) // _FAST)
                return
            self._effort.spend((at - before) // _FAST + 2 + 2 * len(wanted))
            yield at - rarest

    def _elided(self, search: str, replacement: str) -> str | None:
        """Match the pieces between lines of "...", each of which must occur once."""
        if "..." not in search:
            return None
        (pieces, dots), (given, same) = _pieces(search), _pieces(replacement)
        if not dots or dots != same:
            return None
        whole = "".join(self._lines)
        for old, new in zip(pieces, given, strict=True):
            self._effort.spend(2 * len(whole) * min(1 + len(old), 100) // 100)
            if not old:
                whole += ("" if whole.endswith("\n") or not new else "\n") + new
            elif whole.count(old) != 1:
                return None
            else:
                whole = whole.replace(old, new)
        return whole

    # -- the lines ---------------------------------------------------------------------------------

    def _index(self) -> None:
        if self._text is None:
            return
        lines = _lines(self._text)
        self._ended = not lines or self._text.endswith("\n")
        self._effort.spend(5 * len(lines))
        self._lines, self._bare = lines, [line.lstrip() for line in lines]
        self._counts, self._bare_counts = Counter(self._lines), Counter(self._bare)
        self._text = None

    def _splice(self, at: int, size: int, new: Sequence[str]) -> None:
        self._effort.spend(5 * (size + len(new)) + len(self._lines) // _FAST)
        self._ended = True
        bare = [line.lstrip() for line in new]
        for lines, counts, other in (
            (self._lines, self._counts, new),
            (self._bare, self._bare_counts, bare),
        ):
            counts.subtract(lines[at : at + size])
            counts.update(other)
            lines[at : at + size] = other


_FAST = 10  # lines that are passed by in the time that another part of the work takes for one


def _lines(text: str) -> list[str]:
    return (text if not text or text.endswith("\n") else text + "\n").splitlines(keepends=True)


def _pieces(text: str) -> tuple[list[str], list[str]]:
    """What stands between the lines of "...", and those lines with the blank ones before them.

    >>> _pieces("a\\n\\n  ...\\nb\\n")
    (['a\\n', 'b\\n'], ['\\n  ...\\n'])
    """
    pieces: list[list[str]] = [[]]
    dots: list[str] = []
    blank: list[str] = []
    for line in _lines(text):
        if line.lstrip() == "...\n":
            dots.append("".join([*blank, line]))
            pieces.append([])
        elif line.strip():
            pieces[-1] += [*blank, line]
        else:
            blank.append(line)
            continue
        blank = []
    pieces[-1] += blank
    return ["".join(piece) for piece in pieces], dots
