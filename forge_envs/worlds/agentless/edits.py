"""SEARCH/REPLACE edits of a repository, applied to the letter: what could be meant in two ways is refused.

Blocks are read as Forge/Polyglot-v0 reads them. There a block that does not fit is looked for in other files
and with other indentation, and a name may mean one that is like it; here a SEARCH part must be whole lines
that stand exactly once in the very file that is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from forge_envs.worlds.polyglot.edits.answer import FENCE, normal, resolve
from forge_envs.worlds.polyglot.edits.blocks import MalformedError, read_blocks, unwrap, wrap
from forge_envs.worlds.polyglot.edits.similar import similar

LONGEST = 1_000_000
"""Characters of an answer that are read."""
_PLAIN = re.compile(r"[\w.@+=-]+(?:/[\w.@+=-]+)*", re.ASCII)


class UnusableAnswer(ValueError):
    """An answer that changes nothing; the text says why, and the agent reads it."""


@dataclass(frozen=True, slots=True)
class FileEdit:
    """Lines of a file, and what shall stand there; both end with an end of line or are empty.

    >>> FileEdit("a.py", "x = 1\\n", "x = 2\\n").search
    'x = 1\\n'
    """

    path: str
    search: str
    """Empty for a file that is not there yet."""
    replacement: str


def is_plain(path: str) -> bool:
    """Whether a path can be named in an answer and in a patch without quoting.

    >>> is_plain("src/a-b.py"), is_plain("../a"), is_plain("a b.py"), is_plain(".git/config")
    (True, False, False, False)
    """
    pieces = path.split("/")
    return _PLAIN.fullmatch(path) is not None and not {".", "..", ".git"} & {p.lower() for p in pieces}


def named_files(text: str, tree: Collection[str], most: int) -> list[str]:
    """The files of the repository that an answer names, one a line, in its order; `most` of them.

    If there are fences, only what stands between them counts. A file may be named by its last part where
    only one is called so.

    >>> named_files("These:\\n```\\nsrc/a.py\\nb.py\\nno.py\\n```", ["src/a.py", "src/b.py"], 5)
    ['src/a.py', 'src/b.py']
    """
    lines = text[:LONGEST].splitlines()
    fences = [at for at, line in enumerate(lines) if line.strip().startswith(FENCE)]
    if len(fences) > 1:
        lines = lines[fences[0] + 1 : fences[-1]]
    found: dict[str, None] = {}
    for line in lines:
        name = line.strip().lstrip("-*# ").strip("`*: ")
        if name and len(found) < most and is_plain(normal(name)):
            path = resolve(name, tree)
            if path is not None:
                found[path] = None
    return list(found)


def read_edits(text: str) -> list[FileEdit]:
    """The edits of an answer; a file is the one that is named, and no other. Raises UnusableAnswer."""
    if len(text) > LONGEST:
        raise UnusableAnswer(f"an answer may have {LONGEST} characters, and this has {len(text)}")
    try:
        blocks = list(read_blocks(text, ()))
    except MalformedError as malformed:
        raise UnusableAnswer(str(malformed)) from malformed
    if not blocks:
        raise UnusableAnswer("there is no SEARCH/REPLACE block in the answer")
    edits = []
    for block in blocks:
        path = normal(block.name)
        if not is_plain(path):
            raise UnusableAnswer(f"{path[:80]!r} is no path of a file in the repository")
        search = unwrap(block.search, path)
        edits.append(FileEdit(path, search if search.strip() else "", unwrap(block.replacement, path)))
    return edits


def apply_edits(edits: Collection[FileEdit], texts: Mapping[str, str]) -> dict[str, str]:
    """The files that edits change or make, as they are afterwards. `texts` are those that are there.

    Raises UnusableAnswer if one does not fit: then none counts.
    """
    now = dict(texts)
    for number, edit in enumerate(edits, 1):
        old = now.get(edit.path)
        where = f"edit {number}, of {edit.path}"
        if not edit.search:
            if old:
                raise UnusableAnswer(f"{where}: its SEARCH part is empty, and the file is there already")
            now[edit.path] = edit.replacement
        elif old is None:
            raise UnusableAnswer(f"{where}: there is no such file; with an empty SEARCH part it is made")
        else:
            now[edit.path] = _replaced(old, edit, where)
    changed = {path: text for path, text in now.items() if texts.get(path) != text}
    if not changed:
        raise UnusableAnswer("the edits change nothing")
    return changed


def _replaced(old: str, edit: FileEdit, where: str) -> str:
    crlf = "\r\n" in old and old.count("\r\n") == old.count("\n")
    plain = old.replace("\r\n", "\n") if crlf else old
    open_end = not plain.endswith("\n")
    whole, wanted = "\n" + plain + ("\n" if open_end else ""), "\n" + edit.search
    at = whole.find(wanted)
    if at < 0:
        like = similar(plain, edit.search)
        hint = f"; these lines are like it:\n{like}" if like else ""
        raise UnusableAnswer(f"{where}: its SEARCH part does not stand in the file{hint}")
    if whole.find(wanted, at + 1) >= 0:
        raise UnusableAnswer(
            f"{where}: its SEARCH part stands in the file more than once; add lines around it"
        )
    new = (whole[:at] + "\n" + edit.replacement + whole[at + len(wanted) :])[1:]
    if open_end:
        new = new.removesuffix("\n")
    return new.replace("\n", "\r\n") if crlf else new


# -- writing -----------------------------------------------------------------------------------------------


def write_edits(edits: Collection[FileEdit]) -> str:
    """An answer that holds these edits."""
    return "\n\n".join(_written(edit) for edit in edits)


def _written(edit: FileEdit) -> str:
    search, new = wrap(edit.search, edit.path), wrap(edit.replacement, edit.path)
    return f"{FENCE}python\n### {edit.path}\n<<<<<<< SEARCH\n{search}=======\n{new}>>>>>>> REPLACE\n{FENCE}"


def edits_between(path: str, old: str | None, new: str) -> list[FileEdit]:
    """The shortest edits that turn a file into another and that an answer can hold; [] if none can.

    Lines around a change are taken in until what is searched for stands once.
    """
    if not old:
        found = [FileEdit(path, "", new)]
        return found if _holds(found, {}, {path: new}) else []
    before, after = (text.replace("\r\n", "\n").splitlines(keepends=True) for text in (old, new))
    around = 3
    while True:
        matcher = SequenceMatcher(None, before, after, autojunk=False)
        found = []
        for group in matcher.get_grouped_opcodes(around):
            (first, last) = group[0], group[-1]
            lines = before[first[1] : last[2]], after[first[3] : last[4]]
            found.append(FileEdit(path, *(_closed("".join(part)) for part in lines)))
        if _holds(found, {path: old}, {path: new}):
            return found
        if around > len(before):
            return []
        around *= 2


def _closed(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _holds(edits: list[FileEdit], texts: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether an answer with these edits does what it should."""
    try:
        return apply_edits(read_edits(write_edits(edits)), texts) == wanted
    except UnusableAnswer:
        return False


# -- patches -----------------------------------------------------------------------------------------------


def patch_of(before: Mapping[str, str], after: Mapping[str, str]) -> bytes:
    """The git patch that turns files into others, as `git diff --no-renames` would write it.

    `before` lacks the files that are new. Paths are plain (`is_plain`).
    """
    return "".join(_part(path, before.get(path), after[path]) for path in sorted(after)).encode()


def _part(path: str, old: str | None, new: str) -> str:
    head = f"diff --git a/{path} b/{path}\n"
    if old is None:
        head += "new file mode 100644\nindex 0000000..e69de29\n"
    if old == new or (old is None and not new):
        return head
    a, b = ((text or "").split("\n") for text in (old, new))
    lines = [*_marked(a)], [*_marked(b)]
    hunks: list[str] = []
    for group in SequenceMatcher(None, *lines).get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        spans = _span(first[1], last[2]), _span(first[3], last[4])
        hunks.append(f"@@ -{spans[0]} +{spans[1]} @@\n")
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                hunks += [f" {line}" for line in lines[0][i1:i2]]
            else:
                hunks += [f"-{line}" for line in lines[0][i1:i2]] + [f"+{line}" for line in lines[1][j1:j2]]
    return head + f"--- {'/dev/null' if old is None else f'a/{path}'}\n+++ b/{path}\n" + "".join(hunks)


def _marked(parts: list[str]) -> list[str]:
    """Lines with their ends; git says so where the last has none."""
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, f"{parts[-1]}\n\\ No newline at end of file\n"] if parts[-1] else lines


def _span(start: int, end: int) -> str:
    count = end - start
    return f"{start + 1 if count else start},{count}"
