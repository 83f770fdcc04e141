"""Names of tasks, and which split a task belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from forge_envs.errors import TaskError

SPLITS = ("train", "test")
LEVELS = range(1, 6)
TEST_SHARE = 5
"""One task in so many is for testing."""


def task_id(world: str, size: str, split: str, level: int, n: int) -> str:
    """The id of the `n`-th task of a size, split and level (0: levels mixed)."""
    return f"{world}/{size}/{split}/{level}/{n}"


def parse_id(world: str, sizes: Collection[str], text: str) -> tuple[str, str, int, int]:
    """Size, split, level and number of an id. Raises TaskError."""
    parts = text.split("/") if isinstance(text, str) else []
    if len(parts) == 5 and parts[0] == world and parts[1] in sizes and parts[2] in SPLITS:
        level, n = parts[3:]
        if level in map(str, (0, *LEVELS)) and n.isascii() and n.isdigit() and str(int(n[:20])) == n:
            return parts[1], parts[2], int(level), int(n)
    raise TaskError(
        f"unknown task {text!r}: an id is {world}/<size>/<split>/<level>/<number>; sizes are "
        f"{', '.join(sizes)}, splits {', '.join(SPLITS)}, levels 0 to 5"
    )


def split_of(content: tuple[Any, ...]) -> str:
    """The split of a task, from its content alone."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=8).digest()
    return SPLITS[int.from_bytes(digest, "big") % TEST_SHARE == 0]
