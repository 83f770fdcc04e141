"""What an agent's answer asks to change, and what could not be understood of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath


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


def fence_of(line: str) -> str | None:
    """The backticks that open a code block, None for any other line.

    >>> fence_of("```python"), fence_of("````"), fence_of("text ``` text")
    ('```', '````', None)
    """
    match = _FENCE.fullmatch(line.rstrip())
    return match[1] if match else None


_FENCE = re.compile(r"(`{3,})[^`]*")


def closes(line: str, fence: str) -> bool:
    """Whether a line closes the block that `fence` opened."""
    line = line.rstrip()
    return len(line) >= len(fence) and not line.strip("`")


def bare_name(line: str) -> str:
    """A file's name without what models write around it.

    >>> [bare_name(line) for line in ("**src/lib.rs**:", "### `a.py`", "# b.py", "`c.h`")]
    ['src/lib.rs', 'a.py', 'b.py', 'c.h']
    """
    return line.strip().strip("#*:` \\t").strip()


def resolve(name: str, files: Collection[str]) -> str | None:
    """The file that a name means: its path, or its last part if only one file is called so.

    >>> resolve("exercise/src/lib.rs", ["src/lib.rs"]), resolve("lib.rs", ["src/lib.rs"]), resolve("x", ["y"])
    ('src/lib.rs', 'src/lib.rs', None)
    """
    name = name.removeprefix("./")
    if name in files:
        return name
    last = PurePosixPath(name).name
    found = [path for path in files if PurePosixPath(path).name == last]
    return found[0] if last and len(found) == 1 else None


def looks_like_path(name: str) -> bool:
    """Whether a line that stands above a block can be a file's name at all."""
    return bool(name) and len(name) < 200 and not re.search(r"\s", name) and "." in PurePosixPath(name).name


def editable(files: Mapping[str, str]) -> str:
    """The files for a message to the agent."""
    return ", ".join(files)
