"""Names of a shop's tasks, and what makes two of them the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from forge_envs.tables import Row
from forge_envs.worlds.desk import ids
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.ids import SPLITS
from forge_envs.worlds.retail.database import SIZES
from forge_envs.worlds.retail.goals import RetailTask

__all__ = ["SPLITS", "content", "content_of", "parse_id", "task_id"]

task_id = functools.partial(ids.task_id, "retail")
parse_id = functools.partial(ids.parse_id, "retail", SIZES)


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
    rows = [orders[goal.subject] for goal in goals if goal.subject in orders]
    return (*asked, json.dumps(rows, sort_keys=True))
