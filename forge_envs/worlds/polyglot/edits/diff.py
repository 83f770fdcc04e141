"""Answers that edit files by search and replace.

After a file's name come, in a fence, the lines as they are between `<<<<<<< SEARCH` and `=======`, and the
lines as they shall be up to `>>>>>>> REPLACE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forge_envs.worlds.polyglot.edits.answer import (
    Answer,
    MayAdd,
    bare_name,
    editable,
    fence_of,
    looks_like_path,
    resolve,
)
from forge_envs.worlds.polyglot.edits.match import replace, similar

_SEARCH = re.compile(r"<{5,9} SEARCH>?\s*")
_DIVIDER = re.compile(r"={5,9}\s*")
_REPLACE = re.compile(r">{5,9} REPLACE\s*")
_ABOVE = 3
"""How many lines above a block its file's name may stand."""


class _Malformed(Exception):
    """A block is not closed, or has no file; the text is for the agent."""


@dataclass(frozen=True, slots=True)
class _Block:
    path: str
    search: str
    replacement: str


def read_diff(text: str, files: Mapping[str, str], may_add: MayAdd = lambda path: False) -> Answer:
    """Read an answer in the search/replace format and apply it to `files`.

    Blocks that can be applied are, even where others cannot: then the answer names those that failed.
    """
    now = dict(files)
    failed: list[_Block] = []
    foreign: list[str] = []
    error, done = None, 0
    try:
        for block in _blocks(text, files, may_add):
            if block.path not in files and not may_add(block.path):
                foreign.append(block.path)
            elif _apply(block, now):
                done += 1
            else:
                failed.append(block)
    except _Malformed as malformed:
        error = str(malformed)
    changed = {path: new for path, new in now.items() if files.get(path) != new}
    notes = tuple(f"{name} is not yours to edit and stays as it is." for name in foreign)
    if error is None and failed:
        error = _explain(failed, done, now)
    if error is None and not done:
        error = f"you may edit only {editable(files)}" if foreign else _NONE
    return Answer(changed, error, notes)


_NONE = (
    "there is no SEARCH/REPLACE block in your answer; write the file's name on a line of its own, and under "
    "it a block: <<<<<<< SEARCH, the lines as they are, =======, the lines as they shall be, >>>>>>> REPLACE"
)


def how_to_write_diff(files: Mapping[str, str]) -> str:
    """The format in a sentence."""
    return _NONE.partition("; ")[2]


def write_diff(changed: Mapping[str, str], files: Mapping[str, str], fence: str) -> str:
    """An answer that turns `files` into `changed`: one block for each file, which replaces all of it."""
    return "\n\n".join(_write(path, files.get(path, ""), new, fence) for path, new in changed.items())


def _write(path: str, old: str, new: str, fence: str) -> str:
    ends = [text if not text or text.endswith("\n") else f"{text}\n" for text in (old, new)]
    return f"{path}\n```{fence}\n<<<<<<< SEARCH\n{ends[0]}=======\n{ends[1]}>>>>>>> REPLACE\n```"


def _blocks(text: str, files: Mapping[str, str], may_add: MayAdd) -> Iterator[_Block]:
    lines = text.splitlines(keepends=True)
    path: str | None = None
    at = 0
    while at < len(lines):
        if not _SEARCH.fullmatch(lines[at]):
            at += 1
            continue
        path = _name_above(lines[max(0, at - _ABOVE) : at], files, may_add) or path
        if path is None and len(files) == 1:
            path = next(iter(files))
        if path is None:
            raise _Malformed(f"a SEARCH block has no file name above it; the files are {editable(files)}")
        middle = _next(lines, at + 1, _DIVIDER, "a SEARCH part does not end with a line of =======")
        end = _next(lines, middle + 1, _REPLACE, "a block does not end with a line of >>>>>>> REPLACE")
        yield _Block(path, "".join(lines[at + 1 : middle]), "".join(lines[middle + 1 : end]))
        at = end + 1


def _next(lines: list[str], at: int, wanted: re.Pattern[str], complaint: str) -> int:
    for i in range(at, len(lines)):
        if wanted.fullmatch(lines[i]):
            return i
        if _SEARCH.fullmatch(lines[i]):
            break
    raise _Malformed(complaint)


def _name_above(above: list[str], files: Mapping[str, str], may_add: MayAdd) -> str | None:
    """The name in the lines above a block, nearest first; only fences may stand between."""
    other = None
    for line in reversed(above):
        name = bare_name(line)
        known = resolve(name, files)
        if known or may_add(name):
            return known or name
        if other is None and looks_like_path(name):
            other = name
        if fence_of(line) is None and line.strip():
            break
    return other


def _apply(block: _Block, now: dict[str, str]) -> bool:
    """Apply a block to its file, or to any other file it fits."""
    if not block.search.strip():
        now[block.path] = now.get(block.path, "") + block.replacement
        return True
    for path in (block.path, *(path for path in now if path != block.path)):
        new = replace(now.get(path, ""), block.search, block.replacement)
        if new is not None:
            now[path] = new
            return True
    return False


def _explain(failed: list[_Block], done: int, now: Mapping[str, str]) -> str:
    """What did not match, what may have been meant, and what need not be sent again."""
    parts = [f"{len(failed)} SEARCH block{'s' * (len(failed) > 1)} matched no lines"]
    for block in failed[:_TOLD]:
        whole = now.get(block.path, "")
        parts.append(f"\n{block.path} has no such lines:\n<<<<<<< SEARCH\n{block.search[:_LONG]}=======")
        near = similar(whole, block.search)
        if near:
            parts.append(f"These are like them:\n{near[:_LONG]}")
        if block.replacement.strip() and block.replacement in whole:
            parts.append(f"The lines after ======= are in {block.path} already.")
    if done:
        parts.append(
            f"\nThe other {done} block{'s were' if done > 1 else ' was'} applied: send only what failed"
        )
    return "\n".join(parts)


_TOLD, _LONG = 3, 2_000
