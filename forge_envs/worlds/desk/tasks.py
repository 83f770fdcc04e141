"""How a task is drawn from its id, and which split it belongs to.

A task's id is its seed. Whether a task belongs to "train" or "test" follows from a hash of its customer and
goals, so that no request occurs in both. A draw that falls on the wrong side, or whose gold fails, is drawn
again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from forge_envs.errors import TaskError
from forge_envs.tables import Row
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Draft, Redraw
from forge_envs.worlds.desk.goals import DeskTask, Goal

SPLITS = ("train", "test")
LEVELS = range(1, 6)
TEST_SHARE = 5
"""One task in so many is for testing."""

DeskTaskT = TypeVar("DeskTaskT", bound=DeskTask)
DraftT = TypeVar("DraftT", bound=Draft)


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


def content_of(
    size: str, customer_id: str, goals: Sequence[Goal], rows: Mapping[str, Row]
) -> tuple[Any, ...]:
    """What two tasks must not share to be in different splits, however it is said.

    It is the customer and what they ask. A tiny world has so few ids of orders or reservations that the same
    is asked again and again; there their `rows` count too, and with them the right answers.
    """
    asked = (customer_id, *(goal.content for goal in goals))
    if size != "tiny":
        return asked
    held = [rows[goal.subject] for goal in goals if goal.subject in rows]
    return (*asked, json.dumps(held, sort_keys=True))


def draw_task(
    text: str,
    world: str,
    sizes: Collection[str],
    draft: Callable[[str, Dice], DraftT],
    plan: Callable[[DraftT, int], tuple[Goal, ...]],
    finish: Callable[[str, int, DraftT, tuple[Goal, ...]], DeskTaskT | None],
) -> DeskTaskT:
    """The task of an id. Raises TaskError.

    `draft` opens a draft of a size; `plan` draws the goals of a level; `finish` makes the task with its gold,
    or None if gold does not earn 1.0.
    """
    size, split, level, _ = parse_id(world, sizes, text)
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    level = level or 1 + seed % len(LEVELS)
    for attempt in itertools.count():
        drawn = draft(size, Dice(seed, attempt))
        try:
            goals = plan(drawn, level)
        except Redraw:
            continue
        if split_of(content_of(size, drawn.customer_id, goals, drawn.rows)) == split:
            task = finish(text, level, drawn, goals)
            if task is not None:
                return task
    raise AssertionError("unreachable")
