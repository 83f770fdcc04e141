"""Names of tasks, and which split a task belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.tables import Row
from forge_envs.worlds.retail.database import SIZES
from forge_envs.worlds.retail.goals import Goal, RetailTask

SPLITS = ("train", "test")
LEVELS = range(1, 6)
TEST_SHARE = 5
"""One task in so many is for testing."""


def task_id(size: str, split: str, level: int, n: int) -> str:
    """The id of the `n`-th task of a size, split and level (0: levels mixed)."""
    return f"retail/{size}/{split}/{level}/{n}"


def parse_id(text: str) -> tuple[str, str, int, int]:
    """Size, split, level and number of an id. Raises TaskError."""
    parts = text.split("/") if isinstance(text, str) else []
    if len(parts) == 5 and parts[0] == "retail" and parts[1] in SIZES and parts[2] in SPLITS:
        level, n = parts[3:]
        if level in map(str, (0, *LEVELS)) and n.isascii() and n.isdigit() and str(int(n[:20])) == n:
            return parts[1], parts[2], int(level), int(n)
    raise TaskError(
        f"unknown task {text!r}: an id is retail/<size>/<split>/<level>/<number>; sizes are "
        f"{', '.join(SIZES)}, splits {', '.join(SPLITS)}, levels 0 to 5"
    )


def content(task: RetailTask) -> tuple[Any, ...]:
    """What two tasks must not share to be in different splits, however it is said.

    It is the customer and what they ask. A tiny shop has so few order ids that the same is asked again and
    again; there the rows of the orders count too, and with them the right answers.
    """
    return content_of(task.size, task.customer_id, task.goals, task.orders.rows)


def content_of(
    size: str, customer_id: str, goals: tuple[Goal, ...], orders: Mapping[str, Row]
) -> tuple[Any, ...]:
    """`content` of a task in the making."""
    asked = (customer_id, *(goal.content for goal in goals))
    if size != "tiny":
        return asked
    rows = [orders[goal.order_id] for goal in goals if goal.order_id in orders]
    return (*asked, json.dumps(rows, sort_keys=True))


def split_of(content: tuple[Any, ...]) -> str:
    """The split of a task, from its content alone."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=8).digest()
    return SPLITS[int.from_bytes(digest, "big") % TEST_SHARE == 0]
