"""What an agent's answer asks to change, and what could not be understood of it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

FENCE = "```"
"""What a line begins with that opens or closes a code block."""

MOST_BLOCKS = 500
"""Blocks of an answer that are read: the agent decides how many there are, and each is looked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read against the files as they were."""

    changed: dict[str, str] = field(default_factory=dict)
    """Files by path as they shall be from now on."""
    error: str | None = None
    """What is wrong with the answer, as the agent is told; None for a well-formed one."""
    notes: tuple[str, ...] = ()
    """What was passed over, as the agent is told."""


MayAdd = Callable[[str], bool]
"""Whether a file that is not there may be made."""


def resolve(name: str, files: Collection[str]) -> str | None:
    """The file that a name means: its path, or its last part if only one file is called so.

    >>> resolve("exercise/src/lib.rs", ["src/lib.rs"]), resolve("lib.rs", ["src/lib.rs"]), resolve("x", ["y"])
    ('src/lib.rs', 'src/lib.rs', None)
    """
    path = normal(name)
    if path in files:
        return path
    last = posixpath.basename(path)
    found = [path for path in files if posixpath.basename(path) == last]
    return found[0] if last and len(found) == 1 else None


def normal(name: str) -> str:
    """A path without detours.

    >>> normal("./src//lib.rs"), normal("src/x/../lib.rs")
    ('src/lib.rs', 'src/lib.rs')
    """
    return posixpath.normpath(name) if name else name


def looks_like_path(name: str) -> bool:
    """Whether a line that stands above a block can be a file's name at all.

    >>> looks_like_path("src/lib.rs"), looks_like_path("Here it is."), looks_like_path("Done.")
    (True, False, False)
    """
    short = bool(name) and len(name) < 200 and not name.endswith(".")
    return short and len(name.split()) == 1 and "." in posixpath.basename(name)


def few(names: Iterable[str]) -> str:
    """The first of these names for a message to the agent, who may have written thousands.

    >>> few(["a", "b", "a"]), few("abcdefgh")
    ('a, b', 'a, b, c, d, e and 3 more')
    """
    different = list(dict.fromkeys(names))
    more = f" and {len(different) - _TOLD} more" if len(different) > _TOLD else ""
    return ", ".join(different[:_TOLD]) + more


_TOLD = 5


def not_yours(foreign: Collection[str]) -> tuple[str, ...]:
    """The note on files that were named and are not the agent's."""
    if not foreign:
        return ()
    several = len(set(foreign)) > 1
    return (f"{few(foreign)} {'are' if several else 'is'} not yours to edit and {_stay(several)}.",)


def _stay(several: bool) -> str:
    return "stay as they are" if several else "stays as it is"
