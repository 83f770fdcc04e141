"""What an attack is, and where they are found."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Target = TypeVar("Target")
Made = TypeVar("Made")
MEMORY = """def _memory(pid):
    found = b""
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                begin, end = (int(word, 16) for word in line.split()[0].split("-"))
                if "rw" in line:
                    memory.seek(begin)
                    found += memory.read(min(end - begin, 1 << 24))
    except (OSError, ValueError, OverflowError):
        pass
    return found
"""
"""Python that reads what another process may write in its memory, as far as it is let: `_memory(pid)`."""


@dataclass(frozen=True)
class Attack(Generic[Target, Made]):
    """One way to a reward that is not the task's. A module of a world's folder holds it as `ATTACK`."""

    fault: str
    """The class it is of, as `docs/red_team.md` has them."""
    about: str
    """What it does, in one sentence."""
    make: Callable[[Target], Made | None]
    """What an agent would hand in; None where the attack does not fit the task."""
    open: bool = False
    """Whether it is known to earn a reward; each is listed in `docs/red_team.md`."""


def attacks_of(world: str, names: Iterable[str] = ()) -> dict[str, Attack[object, object]]:
    """The attacks in a world's folder ("swe" or "polyglot") by name, or only the named. Raises ValueError."""
    folder = importlib.import_module(f"{__package__}.{world}")
    known = sorted(found.name for found in pkgutil.iter_modules(folder.__path__) if found.name[0] != "_")
    chosen = list(names) or known
    if unknown := sorted(set(chosen) - set(known)):
        raise ValueError(f"attack {unknown[0]!r}: known are {', '.join(known)}")
    return {name: importlib.import_module(f"{folder.__name__}.{name}").ATTACK for name in chosen}
