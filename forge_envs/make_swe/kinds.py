"""The kinds of bugs: small functions that look at one node and say which bytes to change.

A kind is called for every node of the types it asked for that a function owns, and yields lists of edits;
each list is one bug. The idea of planting bugs by syntax-tree changes: SWE-smith (arXiv 2504.21798).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from forge_envs.make_swe import kinds_logic, kinds_shape, kinds_slips, kinds_values  # noqa: F401  register
from forge_envs.make_swe.edits import Edit, Function, Source, apply_edits
from forge_envs.make_swe.kind import KINDS


@dataclass(frozen=True, slots=True)
class Bug:
    """One change of one file."""

    kind: str
    path: str
    function: str
    line: int
    """Where the function begins, as its code object says."""
    edits: tuple[Edit, ...]

    @property
    def key(self) -> str:
        """A stable name of the change: 12 hexadecimal digits."""
        return hashlib.sha256(repr((self.path, self.edits)).encode()).hexdigest()[:12]

    def planted(self, data: bytes) -> bytes | None:
        """The file with the bug in it; None where it would not compile or means the same as before."""
        after = apply_edits(data, self.edits)
        try:
            tree = ast.parse(after)
            compile(tree, self.path, "exec")  # `continue` outside a loop parses and does not compile
        except (SyntaxError, ValueError):
            return None
        return after if ast.dump(tree) != ast.dump(ast.parse(data)) else None


def kind_names() -> list[str]:
    """The names of all kinds, in the order they are registered."""
    return list(KINDS)


def known_kinds(names: Collection[str] | None) -> list[str]:
    """The kinds to use. Raises ValueError for an unknown name."""
    known = kind_names()
    if unknown := sorted(set(names or ()) - set(known)):
        raise ValueError(f"unknown kinds of bugs: {', '.join(unknown)}. Known: {', '.join(known)}")
    return known if not names else [name for name in known if name in names]


def plant(source: Source, function: Function, names: Collection[str]) -> Iterator[Bug]:
    """All bugs of the named kinds in one function, each once; `Bug.planted` says whether one can be used."""
    seen = set()
    wanted = [(name, *KINDS[name]) for name in kind_names() if name in names]
    for node in source.own_nodes(function):
        for name, types, maker in wanted:
            for edits in maker(source, node) if isinstance(node, types) else ():
                bug = Bug(name, source.path, function.name, function.line, tuple(edits))
                if bug.edits not in seen:
                    seen.add(bug.edits)
                    yield bug
