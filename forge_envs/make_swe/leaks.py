"""What an issue must not say of the change that mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

SHORTEST = 10
"""Characters; a shorter changed line says nothing that could be recognised."""
OWN_FRAME = re.compile(r'^ *File "(?:<stdin>|\w+\.py)", line \d+, in \w*<?\w+>?$', re.M)
"""A traceback's line about the reporter's own script."""


def leaks(text: str, path: str, function: str, before: bytes, after: bytes) -> list[str]:
    """What a statement says of the change: its file, a line number, lines that differ, a private name.

    Lines that only import something do not count: every example has some.
    """
    text = OWN_FRAME.sub("", text)
    pure = PurePosixPath(path)
    own = (pure.name,) if pure.name != "__init__.py" else ()
    told = [word for word in (path, *own) if word in text]
    told += re.findall(r"\bline \d+", text)
    private = function.rpartition(".")[2]
    if (
        private.startswith("_")
        and not private.endswith("__")
        and re.search(rf"\b{re.escape(private)}\b", text)
    ):
        told.append(private)
    changed = [line for line in _changed(before, after) if not line.startswith(("import ", "from "))]
    told += [line for line in changed if len(line) >= SHORTEST and line in text]
    return told


def _changed(before: bytes, after: bytes) -> Iterable[str]:
    old, new = (data.decode("utf-8", "replace").splitlines() for data in (before, after))
    both = set(old) & set(new)
    return [line.strip() for line in dict.fromkeys([*old, *new]) if line not in both and line.strip()]
