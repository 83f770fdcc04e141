"""The SEARCH/REPLACE blocks of an answer and the names above them, as Aider reads them."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from posixpath import basename

from forge_envs.worlds.polyglot.edits.answer import FENCE, MOST_BLOCKS

_SEARCH = re.compile(r"<{5,9} SEARCH>?")
_LEAST = "<<<<< SEARCH"
_END = re.compile(r"={5,9}|>{5,9} REPLACE")
_SHELL = tuple(
    FENCE + shell
    for shell in ("bash", "sh", "cmd", "batch", "powershell", "ps1", "zsh", "fish", "ksh", "csh", "tcsh")
)
"""What begins a block of commands, in which no block is looked for unless one begins at once."""
_STARTS, _ENDS = ("<<<<<", FENCE), "=>"
_ABOVE = 3
"""How many lines above a block its file's name may stand."""
_ALIKE = 0.8
"""How like a file's name what stands above a block must be, by difflib's ratio, to be taken for it."""


class MalformedError(Exception):
    """A block is not closed, or has no file; the text is for the agent."""


@dataclass(frozen=True, slots=True)
class Block:
    """What shall stand in a file, and in place of what."""

    name: str
    """As it was written, or the file's path where it is like one."""
    search: str
    replacement: str


def read_blocks(text: str, files: Collection[str]) -> Iterator[Block]:
    """The blocks in their order. Raises MalformedError. A name that is like one of `files` means that one.

    A mark counts wherever it stands in its line, with five to nine signs. The SEARCH part ends with the next
    line of =======, the REPLACE part with that or >>>>>>> REPLACE. The name of the block before holds on.
    """
    if _LEAST not in text:
        return
    lines = text.strip().splitlines(keepends=True)
    bare = [line.strip() for line in lines]
    starts = [at for at, line in enumerate(bare) if line and line.startswith(_STARTS)]
    ends = [at for at, line in enumerate(bare) if line and line[0] in _ENDS and _END.fullmatch(line)]
    name: str | None = None
    after, count, commands = 0, 0, False
    for at in starts:
        line = bare[at]
        if at < after:
            continue
        if line[0] == FENCE[0]:
            commands = not commands and len(line) > len(FENCE) and _commands(bare, at)
        if commands or not _SEARCH.fullmatch(line):
            continue
        place = bisect(ends, at)
        new = place < len(ends) and ends[place] == at + 1 and bare[at + 1][0] == "="
        name = _name_above(lines[max(0, at - _ABOVE) : at], () if new else files) or name
        if name is None:
            told = f"; the files are {', '.join(files)}" if files else ""
            raise MalformedError(
                "a SEARCH block has no file name above it; write it on a line of its own, before the "
                f"opening ``` line{told}"
            )
        while place < len(ends) and bare[ends[place]][0] != "=":
            place += 1
        if place == len(ends):
            raise MalformedError("a SEARCH part does not end with a line of =======")
        if place + 1 == len(ends):
            raise MalformedError("a block does not end with a line of >>>>>>> REPLACE")
        middle, end = ends[place], ends[place + 1]
        count += 1
        if count > MOST_BLOCKS:
            raise MalformedError(f"an answer may hold {MOST_BLOCKS} blocks; send fewer")
        yield Block(name, "".join(lines[at + 1 : middle]), "".join(lines[middle + 1 : end]))
        after = end + 1


def _commands(bare: list[str], at: int) -> bool:
    """Whether a fence begins a block of commands, which goes to the next fence."""
    if not bare[at].startswith(_SHELL):
        return False
    return not any(line.startswith(_STARTS[0]) and _SEARCH.fullmatch(line) for line in bare[at + 1 : at + 3])


def holds_mark(part: str) -> bool:
    """Whether a part of a block holds a line that begins or ends one: then a mark is missing before it."""
    return any(_SEARCH.fullmatch(line) or _END.fullmatch(line) for line in map(str.strip, part.splitlines()))


def unwrap(part: str, path: str) -> str:
    """A part of a block without the file's name and the fences that models write into it.

    As in Aider, one blank line at its end is dropped, and all ends of lines become the same.

    >>> unwrap("a.py\\n```\\nx = 1\\n```\\n", "src/a.py"), unwrap("x = 1\\r\\n\\r\\n", "a.py")
    ('x = 1\\n', 'x = 1\\n')
    """
    lines = part.splitlines()
    if len(lines) > 1 and lines[0].strip().endswith(basename(path)):
        lines = lines[1:]
    if lines and lines[0].startswith(FENCE) and lines[-1].startswith(FENCE):
        lines = lines[1:-1]
    text = "\n".join(lines)
    return text if not text or text.endswith("\n") else text + "\n"


def wrap(text: str, path: str) -> str:
    """A part of a block that `unwrap` reads back as this text, but for a file's last end of line."""
    text = text if not text or text.endswith("\n") else text + "\n"
    if unwrap(text, path) == text:
        return text
    ways = (f"{text}\n", f"{path}\n{FENCE}\n{text}{FENCE}\n", f"{path}\n{FENCE}\n{text}\n{FENCE}\n")
    return next((way for way in ways if unwrap(way, path) == text), text)


def _name_above(above: list[str], files: Collection[str]) -> str | None:
    """The best name in the lines above a block: a file's, its last part, one like it, else any."""
    names: list[str] = []
    for line in reversed(above):
        name = _name(line)
        if name:
            names.append(name)
        if not line.startswith(FENCE):
            break
    for name in names:
        if name in files:
            return name
    for name in names:
        for path in files:
            if name == basename(path):
                return path
    for name in names:
        # a longer or shorter name cannot be as like: how long it is, the agent decides
        near = [path for path in files if abs(len(path) - len(name)) <= len(path) / 2]
        if near and (best := get_close_matches(name, near, n=1, cutoff=_ALIKE)):
            return best[0]
    return next((name for name in names if "." in name), names[0] if names else None)


def _name(line: str) -> str | None:
    """A file's name without what models write around it; after the backticks of a fence if it can be one.

    >>> [_name(line) for line in ("**src/lib.rs**:", "### `a.py`", "```a.py", "```python", "...")]
    ['src/lib.rs', 'a.py', 'a.py', None, None]
    """
    line = line.strip()
    if line == "...":
        return None
    if line.startswith(FENCE):
        info = line[len(FENCE) :]
        return info if "." in info or "/" in info else None
    return line.rstrip(":").lstrip("#").strip().strip("`").strip("*")
