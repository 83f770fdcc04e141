"""The files of τ-bench: one JSON file a table, `wiki.md`, and `tasks_<split>.json` as exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief
from forge_envs.tables import Row
from forge_envs.worlds.tau.domain import Domain
from forge_envs.worlds.tau.files import check_table, read_json, read_list
from forge_envs.worlds.tau.task import DEFAULT_BASIS, GoldCall, TauTask

POLICY = "wiki.md"


class _Action(BaseModel):
    name: str
    kwargs: dict[str, Any]


class _Task(BaseModel):
    instruction: str
    actions: list[_Action]
    outputs: list[str] = []


def read_tables(folder: Path, domain: Domain) -> dict[str, dict[str, Row]]:
    """All tables of the domain. Raises TaskError."""
    paths = {name: folder / f"{name}.json" for name in domain.fields}
    return {name: dict(check_table(read_json(path), name, domain, path)) for name, path in paths.items()}


def read_tasks(folder: Path, where: str, domain: Domain) -> tuple[list[TauTask], dict[str, list[str]]]:
    """All tasks, and which are in which split; the n-th task of a file has the id of its number.

    τ-bench keeps its tasks as Python, which is not run: export them (import the module, dump each task as
    JSON). Raises TaskError.
    """
    paths = sorted(folder.glob("tasks_*.json"))
    if not paths:
        raise TaskError(
            f"{folder} has no tasks_<split>.json; τ-bench's tasks are Python: dump TASKS of tasks_test.py as "
            f'a JSON list of {{"instruction", "actions": [{{"name", "kwargs"}}], "outputs"}}'
        )
    tasks: list[TauTask] = []
    splits: dict[str, list[str]] = {}
    for path in paths:
        split = path.stem.removeprefix("tasks_")
        found = [
            _task(f"tau1/{domain.name}/{split}/{n}", where, task)
            for n, task in enumerate(read_list(path, _Task))
        ]
        tasks += found
        splits[split] = [task.id for task in found]
    return tasks, splits


def _task(id: str, where: str, task: _Task) -> TauTask:
    return TauTask(
        id=id,
        where=where,
        brief=Brief(persona="", goal=task.instruction),
        gold=tuple(GoldCall(ToolCall(action.name, action.kwargs)) for action in task.actions),
        communicate=tuple(task.outputs),
        assertions=(),
        basis=DEFAULT_BASIS,
        says_basis=False,
        gap="",
    )
