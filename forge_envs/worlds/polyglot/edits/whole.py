"""Answers that give whole files: a line with the file's name, then the file between fences.

Read as Aider reads them: a line that begins with a fence opens a block or closes it, and the line above an
opening one is the file's name. A block without a name is taken for the file that was named in backticks since
the last block, or for the only file there is. A block under a name counts before those, and the first of a
kind counts. Where Aider would write a stray file that nothing reads, because a name has a folder too many or
too few or is dressed up, the file that is meant is taken, unless another block gives it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from posixpath import basename

from forge_envs.worlds.polyglot.edits.answer import (
    FENCE,
    MOST_BLOCKS,
    Answer,
    MayAdd,
    few,
    looks_like_path,
    normal,
    not_yours,
    resolve,
)

_NAMED, _MENTIONED, _ONLY, _MEANT = range(4)
_LONGEST_NAME = 250


@dataclass(frozen=True, slots=True)
class _Block:
    rank: int
    name: str
    """As it was written: the second block of a name is passed over."""
    path: str
    text: str


class _RefusedError(Exception):
    """No block of the answer is taken; the text is for the agent."""


def read_whole(text: str, files: Mapping[str, str], may_add: MayAdd = lambda path: False) -> Answer:
    """Read an answer in the whole-file format.

    >>> read_whole("a.py\\n```python\\nx = 1\\n```", {"a.py": ""}).changed
    {'a.py': 'x = 1\\n'}
    """
    try:
        blocks, strays = _blocks(text, files, may_add)
    except _RefusedError as refused:
        return Answer({}, str(refused))
    changed: dict[str, str] = {}
    seen: set[str] = set()
    for block in sorted(blocks, key=lambda block: block.rank):
        if block.name not in seen and not (block.rank == _MEANT and block.path in changed):
            seen.add(block.name)
            changed[block.path] = block.text
    foreign = [name for name in strays if looks_like_path(name)]
    if changed:
        return Answer(changed, None, not_yours(foreign))
    if foreign:
        return Answer({}, f"you may edit only {', '.join(files)}, not {few(foreign)}")
    if strays:
        return Answer(
            {}, f'the line above a code block, "{strays[0]}", is no file\'s name; {how_to_write_whole(files)}'
        )
    return Answer({}, "there is no code block in your answer; " + how_to_write_whole(files))


def how_to_write_whole(files: Mapping[str, str]) -> str:
    """The format in a sentence."""
    first = next(iter(files))
    return (
        f"write the name of a file on a line of its own, such as {first}, and under it the whole file "
        "between ``` lines"
    )


def write_whole(changed: Mapping[str, str], fence: str) -> str:
    """An answer that gives these files; `read_whole` reads it back, but for blank ends of files."""
    return "\n\n".join(_write(path, text, fence) for path, text in changed.items())


def _write(path: str, text: str, language: str) -> str:
    longest = max((_ticks(line) for line in text.splitlines()), default=0)
    fence = "`" * max(len(FENCE), longest + 1 if longest >= len(FENCE) else 0)
    return (
        f"{path}\n{fence}{language}\n{text if text.endswith(chr(10)) or not text else text + chr(10)}{fence}"
    )


def _ticks(line: str) -> int:
    """How many backticks a line begins with."""
    return len(line) - len(line.lstrip("`"))


def _blocks(text: str, files: Mapping[str, str], may_add: MayAdd) -> tuple[list[_Block], list[str]]:
    """The blocks that give a file, and the names of those that give none of the agent's."""
    lines = text.strip().splitlines(keepends=True)
    quoted = {f"`{path}`": path for path in files}
    ticked = [at for at, line in enumerate(lines) if "`" in line]
    fences = [at for at in ticked if lines[at].startswith(FENCE)]
    if len(fences) > 2 * MOST_BLOCKS:
        raise _RefusedError(f"an answer may hold {MOST_BLOCKS} code blocks; send fewer")
    ends = _ends(lines, fences)
    blocks: list[_Block] = []
    strays: list[str] = []
    mentioned, after = None, 0
    for at in ticked:
        if at < after:
            continue
        if not lines[at].startswith(FENCE):
            mentioned = _mentioned(lines[at], quoted) or mentioned
            continue
        end = ends(at)
        name = _name(lines[at - 1]) if at else ""
        body = "".join(lines[at + 1 : end])
        found = _place(name, files, may_add, mentioned)
        if found is None:
            strays.append(name)
        else:
            blocks.append(_Block(*found, body))
        mentioned, after = None, end + 1
    return blocks, strays


def _place(
    name: str, files: Mapping[str, str], may_add: MayAdd, mentioned: str | None
) -> tuple[int, str, str] | None:
    """Rank, name and path of the file that a block under this name gives; None for a stray one."""
    if not name:
        if mentioned is not None:
            return _MENTIONED, mentioned, mentioned
        if len(files) == 1:
            only = next(iter(files))
            return _ONLY, only, only
        raise _RefusedError(
            f"a code block has no file name on the line above it; the files are {', '.join(files)}"
        )
    if name not in files and basename(name) in files:
        name = basename(name)
    path = normal(name)
    if path in files or may_add(path):
        return _NAMED, name, path
    meant = resolve(name.strip("#*:` \t"), files)
    return (_MEANT, meant, meant) if meant is not None else None


def _name(line: str) -> str:
    """A file's name without what models write around it; no name has blanks at its ends.

    >>> [_name(line) for line in ("**src/lib.rs**:", "`tournament.js`", "# b.py", "a" * 300)]
    ['src/lib.rs**', 'tournament.js', 'b.py', '']
    """
    name = line.strip().strip("*").rstrip(":").strip("`").lstrip("#").strip()
    return name if len(name) <= _LONGEST_NAME else ""


def _ends(lines: list[str], fences: list[int]) -> Callable[[int], int]:
    """For the line that opens a block, the line that closes it, or the end.

    Three backticks are closed by the next line that begins with a fence. More are closed by a line of as
    many, so that a file may hold fences, or like three where there is no such line.
    """
    long = [(at, len(bare)) for at in fences if not (bare := lines[at].rstrip()).strip("`")]
    closing: dict[int, list[int]] = {}

    def after(places: list[int], at: int) -> int | None:
        index = bisect(places, at)
        return places[index] if index < len(places) else None

    def end(at: int) -> int:
        ticks = min(_ticks(lines[at]), _MOST_TICKS)
        found = None
        if ticks > len(FENCE):
            if ticks not in closing:
                closing[ticks] = [place for place, size in long if size >= ticks]
            found = after(closing[ticks], at)
        found = after(fences, at) if found is None else found
        return len(lines) if found is None else found

    return end


_MOST_TICKS = 12  # longer fences are not told apart: the agent decides how many lengths there are


def _mentioned(line: str, quoted: Mapping[str, str]) -> str | None:
    """The last file that a line of prose names in backticks."""
    found = None
    if "`" in line:
        for word in line.split():
            found = quoted.get(word.rstrip(".:,;!"), found)
    return found
