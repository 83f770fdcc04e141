"""The agent's patch: taken out of its box, and read so strictly that we and git mean the same files by it."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.site import Site

TAKING = 120.0
"""Seconds that making a patch may take."""


class PatchError(ValueError):
    """There is no patch that can be judged; the text says why, and the agent reads it."""


def take(site: Site, limit: int) -> bytes:
    """What the agent changed, as git writes it. Raises PatchError, for which the agent is to blame."""
    made = site.run(git.take(site.tools, site.tree), timeout=TAKING, env={"PATH": site.path})
    if made.timed_out:
        raise PatchError(f"git needed more than {TAKING:g} s for the patch; remove large files you made")
    if made.code != 0:
        raise PatchError(f"git made no patch of the repository: {made.output.strip()[-300:]}")
    try:
        return site.box.read(f"{site.tools}/take/patch", limit=limit)
    except ValueError:
        raise PatchError(
            f"the patch is longer than {limit} bytes; remove the files that do not belong to it"
        ) from None
    except OSError as error:
        raise PatchError(f"the patch cannot be read: {error}") from error


@dataclass(frozen=True)
class Part:
    """What a patch does to one file."""

    path: str
    data: bytes

    @property
    def head(self) -> bytes:
        """Its lines before the first hunk."""
        return self.data.partition(b"\n@@ ")[0]

    @property
    def is_new(self) -> bool:
        """Whether it makes a file."""
        return b"\nnew file mode " in self.head

    @property
    def is_link(self) -> bool:
        """Whether it makes or changes what is no plain file: a symbolic link, a submodule."""
        return _NO_FILE.search(self.head) is not None

    @property
    def target(self) -> str | None:
        """Where a symbolic link that it makes leads, from the top of the repository; None if out of it."""
        text = self.data.partition(b"\n@@ ")[2].partition(b"\n")[2]
        lines = [line[1:] for line in text.split(b"\n") if line.startswith(b"+")]
        if b" 160000" in self.head or len(lines) != 1 or lines[0].startswith(b"/"):
            return None
        name = lines[0].decode("utf-8", "surrogateescape")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(self.path), name))
        return None if ".." in place.split("/") or place == "." else place


_NO_FILE = re.compile(rb"^(?:new file mode|new mode|index \S+) (?:120000|160000)$", re.MULTILINE)
_HEADER = re.compile(
    rb"old mode \d+|new mode \d+|new file mode \d+|deleted file mode \d+|index [0-9a-f]+\.\.[0-9a-f]+( \d+)?"
)
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@.*", re.DOTALL)
_BINARY = re.compile(rb"(?:literal|delta) \d+")


def parts(patch: bytes) -> list[Part]:
    """The parts of a patch by file. Raises PatchError for anything but what `git diff --no-renames` writes.

    >>> [part.path for part in parts(b"diff --git a/x b/x\\nnew file mode 100644\\n")]
    ['x']
    """
    lines = patch.split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    found, at = [], 0
    while at < len(lines):
        start = at
        if not lines[at].startswith(b"diff --git "):
            raise PatchError(f"line {at + 1} of the patch is not git's: {lines[at][:80]!r}")
        path = _path(lines[at])
        at = _skip_part(lines, at + 1, path)
        found.append(Part(path, b"\n".join(lines[start:at]) + b"\n"))
    return found


def _skip_part(lines: list[bytes], at: int, path: str) -> int:
    while at < len(lines) and _HEADER.fullmatch(lines[at]):
        at += 1
    if at < len(lines) and lines[at] == b"GIT binary patch":
        return _skip_binary(lines, at + 1)
    if at < len(lines) and lines[at].startswith(b"--- "):
        for sign, side in ((b"--- ", "a/"), (b"+++ ", "b/")):
            name = lines[at][4:].removesuffix(b"\t") if at < len(lines) else b""
            if not lines[at : at + 1] or lines[at][:4] != sign:
                raise PatchError(f"the patch of {path!r} lacks its line {sign.decode()!r}")
            if name != b"/dev/null" and _unquoted(name) != side + path:
                raise PatchError(f"the patch of {path!r} is about {name[:80]!r} as well")
            at += 1
        while at < len(lines) and (hunk := _HUNK.fullmatch(lines[at])):
            at = _skip_hunk(lines, at + 1, *(int(n) if n is not None else 1 for n in hunk.groups()))
    return at


def _skip_hunk(lines: list[bytes], at: int, old: int, new: int) -> int:
    while old > 0 or new > 0:
        sign = lines[at][:1] if at < len(lines) else b"?"
        if sign not in (b" ", b"-", b"+", b"\\"):
            raise PatchError(f"line {at + 1} of the patch does not belong to its hunk")
        old -= sign in (b" ", b"-")
        new -= sign in (b" ", b"+")
        at += 1
    if old or new:
        raise PatchError(f"a hunk that ends in line {at} of the patch does not count its lines right")
    return at + (at < len(lines) and lines[at].startswith(b"\\"))


def _skip_binary(lines: list[bytes], at: int) -> int:
    while at < len(lines) and _BINARY.fullmatch(lines[at]):
        while at < len(lines) and lines[at]:
            at += 1
        at += 1
    return at


def _path(line: bytes) -> str:
    """The one path in `diff --git a/PATH b/PATH`."""
    names = line.removeprefix(b"diff --git ")
    if len(names) % 2 == 1:
        left, blank, right = (
            names[: len(names) // 2],
            names[len(names) // 2 :][:1],
            names[len(names) // 2 + 1 :],
        )
        first, second = _unquoted(left), _unquoted(right)
        if blank == b" " and first[:2] == "a/" and second[:2] == "b/" and first[2:] == second[2:]:
            return _checked(first[2:])
    raise PatchError(f"the patch moves a file or is not git's: {line[:120]!r}")


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)


def _unquoted(name: bytes) -> str:
    if name[:1] == b'"' and name[-1:] == b'"' and len(name) > 1:

        def plain(found: re.Match[bytes]) -> bytes:
            word = found[1].decode("latin-1")
            return bytes([int(word, 8) & 255]) if len(word) == 3 else _ESCAPES.get(word, word).encode()

        name = _ESCAPE.sub(plain, name[1:-1])
    return name.decode("utf-8", "surrogateescape")


_CONTROL = frozenset({"Cc", "Zl", "Zp"})


def _checked(path: str) -> str:
    pieces = path.split("/")
    if _CONTROL & set(map(unicodedata.category, path)):  # git and patch read such names each in its own way
        raise PatchError(f"a patch cannot name {path!r}: it has control characters")
    if not path or path.startswith("/") or {"", ".", ".."} & set(pieces) or ".git" in map(str.lower, pieces):
        raise PatchError(f"a patch cannot change {path!r}")
    return path


def paths_of(patch: str) -> set[str]:
    """The files that a patch of a benchmark is about, old names of moved files too; lenient."""
    found: set[str] = set()
    for line in patch.split("\n"):
        if line.startswith(("--- a/", "+++ b/")):
            found.add(line[6:].rstrip("\t\r"))
        elif line.startswith(("rename from ", "rename to ")):
            found.add(line.split(" ", 2)[2])
        elif line.startswith("diff --git a/"):
            found.update(half.strip() for half in line[len("diff --git a/") :].split(" b/", 1))
    return found


def join(found: Iterable[Part]) -> bytes:
    """The patch that consists of these parts."""
    return b"".join(part.data for part in found)
