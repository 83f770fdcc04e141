"""Names of an airline's tasks, and what makes two of them the same."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from forge_envs.tables import Row
from forge_envs.worlds.airline.database import SIZES
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.desk import ids
from forge_envs.worlds.desk.goals import Goal

task_id = functools.partial(ids.task_id, "airline")
parse_id = functools.partial(ids.parse_id, "airline", SIZES)


def content(task: AirlineTask) -> tuple[Any, ...]:
    """What two tasks must not share to be in different splits, however it is said.

    It is the customer and what they ask. A tiny airline has so few reservation ids that the same is asked
    again and again; there the rows of the reservations count too, and with them the right answers.
    """
    return content_of(task.size, task.customer_id, task.goals, task.reservations.rows)


def content_of(
    size: str, customer_id: str, goals: tuple[Goal, ...], reservations: Mapping[str, Row]
) -> tuple[Any, ...]:
    """`content` of a task in the making."""
    asked = (customer_id, *(goal.content for goal in goals))
    if size != "tiny":
        return asked
    rows = [reservations[goal.subject] for goal in goals if goal.subject in reservations]
    return (*asked, json.dumps(rows, sort_keys=True))
