"""τ²-bench's mock domain: a list of tasks on the agent's side, an inbox on the customer's.

It is no world to train in. It is here because its customer has tools, as telecom's have, and takes a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from forge_envs.errors import ToolError
from forge_envs.tables import Base, Table, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.tau.domain import Contract, Domain


@dataclass(kw_only=True)
class Board:
    """One episode's tables, and the agent's tools on them."""

    tasks: Table
    users: Table
    notifications: Table
    """The customer's; no tool of the agent reads or changes them."""
    over: bool = False
    writes: int = 0

    @tool(writes=True)
    def create_task(self, user_id: str, title: str, description: str | None = None) -> str:
        """Put a new task on a user's list.

        Args:
            user_id: Whose task it is.
            title: What the task is called.
            description: What it is about, in a sentence.
        """
        if user_id not in self.users:
            raise ToolError("there is no such user")
        if not isinstance(title, str) or not isinstance(description, str | None):
            raise ToolError("a title and a description are text")
        task_id = f"task_{len(self.tasks) + 1}"
        row = {"task_id": task_id, "title": title, "description": description, "status": "pending"}
        if task_id in self.tasks:
            self.tasks.row(task_id).update(row)
        else:
            self.tasks.add(task_id, row)
        self.users.row(user_id)["tasks"].append(task_id)
        self.writes += 1
        return self.tasks.text(task_id)

    @tool()
    def get_users(self) -> str:
        """Read all users with the ids of their tasks."""
        return json.dumps([self.users.peek(user_id) for user_id in self.users])

    @tool(writes=True)
    def update_task_status(self, task_id: str, status: Literal["pending", "completed"]) -> str:
        """Say that a task is done, or that it is not.

        Args:
            task_id: The task, e.g. 'task_7'.
            status: How it stands now.
        """
        if task_id not in self.tasks:
            raise ToolError("there is no such task")
        self.tasks.row(task_id)["status"] = copy_json(
            status
        )  # of any type: nothing checks it, as in τ²-bench
        self.writes += 1
        return self.tasks.text(task_id)

    @tool()
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the user over to a human, when asked for one or when no tool can solve the case.

        Args:
            summary: What the user needs, in a sentence.
        """
        return "Transfer successful"


@dataclass
class Inbox:
    """The customer's own tools."""

    board: Board

    @property
    def writes(self) -> int:
        """Those of the board, which both sides share."""
        return self.board.writes

    @writes.setter
    def writes(self, count: int) -> None:
        self.board.writes = count

    @tool()
    def check_notifications(self) -> str:
        """Look at all notifications in your inbox."""
        inbox = self.board.notifications
        return json.dumps([inbox.peek(key) for key in inbox])

    @tool(writes=True)
    def dismiss_notification(self, notification_id: str) -> str:
        """Mark a notification as read.

        Args:
            notification_id: Which one, e.g. 'notif_7'.
        """
        if notification_id not in self.board.notifications:
            raise ToolError("there is no such notification")
        self.board.notifications.row(notification_id)["status"] = "read"
        self.board.writes += 1
        return self.board.notifications.text(notification_id)


def _prepare(tables: Mapping[str, Base]) -> Callable[[], Board]:
    tasks, users, notifications = tables["tasks"], tables["users"], tables["notifications"]
    return lambda: Board(tasks=Table(tasks), users=Table(users), notifications=Table(notifications))


MOCK = Domain(
    name="mock",
    address=f"{__name__}:MOCK",
    fields={"tasks": ("task_id", "title", "status"), "users": ("user_id", "name", "tasks")},
    theirs={"notifications": ("notification_id", "message", "status")},
    nulls={"tasks": ("description",)},
    contracts={
        "tau2": Contract(Board, _prepare, changing=("tasks", "users", "notifications"), hands=Inbox),
    },
)
