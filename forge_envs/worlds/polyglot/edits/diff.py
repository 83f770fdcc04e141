"""Answers that edit files by search and replace.

After a file's name come, in a fence, the lines as they are between `<<<<<<< SEARCH` and `=======`, and the
lines as they shall be up to `>>>>>>> REPLACE`. Blocks are read and applied as Aider does, but nothing outside
the agent's files is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forge_envs.worlds.polyglot.edits.answer import Answer, MayAdd, few, normal, not_yours, resolve
from forge_envs.worlds.polyglot.edits.blocks import (
    Block,
    MalformedError,
    holds_mark,
    read_blocks,
    unwrap,
    wrap,
)
from forge_envs.worlds.polyglot.edits.match import Effort, Text, TooMuchError
from forge_envs.worlds.polyglot.edits.similar import similar


def read_diff(text: str, files: Mapping[str, str], may_add: MayAdd = lambda path: False) -> Answer:
    """Read an answer in the search/replace format and apply it to `files`.

    Blocks that can be applied are, even where others cannot: then the answer names those that failed. Where
    one of them is not written as a block at all, none is.
    """
    try:
        blocks = list(read_blocks(text, files))
    except MalformedError as malformed:
        return Answer({}, f"{malformed}; no block of the answer was applied")
    if not blocks:
        return Answer({}, _NONE)
    edit = _Edit(files, may_add)
    try:
        for block, path in [(block, edit.route(block)) for block in blocks]:
            edit.apply(block, path)
        error = _explain(edit) if edit.failed else None
    except TooMuchError:
        error = (
            f"{len(blocks)} SEARCH/REPLACE blocks take too long to find; those up to number {edit.seen} were "
            "read: send fewer, each with fewer lines"
        )
    if error is None and not edit.done:
        error = f"you may edit only {', '.join(files)}, not {few(edit.foreign)}"
    return Answer(edit.changed(), error, not_yours(edit.foreign))


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
    parts = f"<<<<<<< SEARCH\n{wrap(old, path)}=======\n{wrap(new, path)}>>>>>>> REPLACE"
    return f"{path}\n```{fence}\n{parts}\n```"


@dataclass
class _Edit:
    """Files while the blocks of an answer are applied to them."""

    files: Mapping[str, str]
    may_add: MayAdd
    failed: list[Block] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Names of files that are not the agent's and were to be written."""
    done: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        self._effort = Effort()
        self.now = {path: Text(text, self._effort) for path, text in self.files.items()}
        self._touched: set[str] = set()

    def changed(self) -> dict[str, str]:
        """The files that are not as they were."""
        new = {path: str(self.now[path]) for path in self.now if path in self._touched}
        return {path: text for path, text in new.items() if self.files.get(path) != text}

    def route(self, block: Block) -> str | None:
        """The file that a block is for: the one it names, but another if only that has its lines.

        This looks at the files as they were before the first block, as Aider does. None: no file of the
        agent's.
        """
        name = normal(block.name)
        path = name if name in self.now or self.may_add(name) else None
        if (
            path is not None and path in self.now and self._replace(block, path, dry=True)
        ) or not block.search.strip():
            return path
        return self._elsewhere(block, dry=True) or path

    def apply(self, block: Block, path: str | None) -> None:
        """Change the block's file, or any other that has its lines."""
        self.seen += 1
        if path is not None and path not in self.now:
            self.now[path] = Text("", self._effort)
        if path is not None and self._replace(block, path):
            self._touched.add(path)
            self.done += 1
        elif not block.search.strip():
            if path is None and unwrap(block.replacement, block.name):
                self.foreign.append(block.name)
            else:
                self.failed.append(block)
        elif (other := self._elsewhere(block)) is not None:
            self._touched.add(other)
            self.done += 1
        else:
            self.failed.append(block)

    def _elsewhere(self, block: Block, dry: bool = False) -> str | None:
        return next((path for path in self.now if self._replace(block, path, dry=dry)), None)

    def _replace(self, block: Block, path: str, dry: bool = False) -> bool:
        text = self.now[path]
        self._effort.spend(2 * (block.search.count("\n") + block.replacement.count("\n")))
        search, replacement = unwrap(block.search, path), unwrap(block.replacement, path)
        if not search.strip():
            return text.append(replacement, dry=dry)
        return text.fits(search, replacement) if dry else text.replace(search, replacement)


def _explain(edit: _Edit) -> str:
    """What did not match, what may have been meant, and what need not be sent again."""
    count = len(edit.failed)
    parts = [f"{count} SEARCH block{'s' * (count > 1)} matched no lines"]
    for block in edit.failed[:_TOLD]:
        parts += _explain_one(block, edit)
    if count > _TOLD:
        parts.append(f"\n{count - _TOLD} more blocks failed")
    if edit.done:
        several = edit.done > 1
        parts.append(
            f"\nThe other {edit.done} block{'s were' if several else ' was'} applied: send only what failed"
        )
    return "\n".join(parts)


def _explain_one(block: Block, edit: _Edit) -> list[str]:
    path = resolve(block.name, edit.now)
    if not block.search.strip():
        name = path or block.name[:_SHORT]
        return [f"\nThe block for {name} is empty: after ======= stand the lines that it shall add."]
    parts = [
        f"\n{path or block.name[:_SHORT]} has no such lines:\n<<<<<<< SEARCH\n{_short(block.search)}======="
    ]
    if path is None:
        path = next(iter(edit.now))
        parts.append(f"No file of yours is called so; your files are {', '.join(edit.files)}.")
    whole, search = str(edit.now[path]), unwrap(block.search, path)
    near = similar(whole, search)
    if holds_mark(block.search):
        parts.append("A line of ======= or >>>>>>> REPLACE is missing in it.")
    elif not block.replacement.strip() and search.strip() == whole.strip():
        parts.append(f"These are all lines of {path}, which cannot be left empty.")
    elif near:
        parts.append(f"These are like them:\n{_short(near)}")
    if block.replacement.strip() and block.replacement in whole:
        parts.append(f"The lines after ======= are in {path} already.")
    return parts


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}\n[{len(text) - _LONG} more characters]\n"


_TOLD, _LONG, _SHORT = 3, 2_000, 200
