"""Answers that give whole files: a line with the file's name, then the file between fences.

A block without a name is taken for the file that was named in backticks since the last block, or for the only
file there is, as Aider does; a block under a name counts before those, and the first of a kind counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forge_envs.worlds.polyglot.edits.answer import (
    Answer,
    MayAdd,
    bare_name,
    closes,
    editable,
    fence_of,
    looks_like_path,
    resolve,
)

_NAMED, _MENTIONED, _ONLY = range(3)


@dataclass(frozen=True, slots=True)
class _Block:
    rank: int
    path: str
    text: str


def read_whole(text: str, files: Mapping[str, str], may_add: MayAdd = lambda path: False) -> Answer:
    """Read an answer in the whole-file format.

    >>> read_whole("a.py\\n```python\\nx = 1\\n```", {"a.py": ""}).changed
    {'a.py': 'x = 1\\n'}
    """
    blocks, foreign, nameless = _blocks(text, files, may_add)
    changed: dict[str, str] = {}
    for block in sorted(blocks, key=lambda block: block.rank):
        changed.setdefault(block.path, block.text)
    notes = tuple(f"{name} is not yours to edit and stays as it is." for name in foreign)
    if changed:
        return Answer(changed, None, notes)
    if foreign:
        return Answer({}, f"you may edit only {editable(files)}, not {', '.join(foreign)}")
    if nameless:
        return Answer(
            {}, f"a code block has no file name on the line above it; the files are {editable(files)}"
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
    longest = max(
        (len(ticks) for line in text.splitlines() if not (ticks := line.strip()).strip("`")), default=0
    )
    fence = "`" * max(3, longest + 1)
    return (
        f"{path}\n{fence}{language}\n{text if text.endswith(chr(10)) or not text else text + chr(10)}{fence}"
    )


def _blocks(text: str, files: Mapping[str, str], may_add: MayAdd) -> tuple[list[_Block], list[str], bool]:
    """The blocks that give a file; names of files that are not the agent's; whether a block had no name."""
    lines = text.splitlines(keepends=True)
    blocks: list[_Block] = []
    foreign: list[str] = []
    nameless, mentioned, at = False, None, 0
    while at < len(lines):
        fence = fence_of(lines[at])
        if fence is None:
            mentioned = _mentioned(lines[at], files) or mentioned
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if closes(lines[i], fence)), len(lines))
        name = bare_name(lines[at - 1]) if at else ""
        path = resolve(name, files) or (name if may_add(name) else None)
        body = "".join(lines[at + 1 : end])
        if path is not None:
            blocks.append(_Block(_NAMED, path, body))
        elif looks_like_path(name) and not name.endswith("."):
            foreign.append(name)
        elif mentioned is not None:
            blocks.append(_Block(_MENTIONED, mentioned, body))
        elif len(files) == 1:
            blocks.append(_Block(_ONLY, next(iter(files)), body))
        else:
            nameless = True
        mentioned, at = None, end + 1
    return blocks, foreign, nameless


def _mentioned(line: str, files: Mapping[str, str]) -> str | None:
    """A file named in backticks in a line of prose."""
    for word in line.split():
        word = word.rstrip(".:,;!")
        if len(word) > 2 and word[0] == word[-1] == "`" and word[1:-1] in files:
            return word[1:-1]
    return None
