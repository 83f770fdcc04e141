"""A small shop in the file formats of τ-bench and τ²-bench, and playing an episode of actions."""

from __future__ import annotations

import atexit
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.tables import copy_json
from forge_envs.worlds.retail.database import database

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TABLES = ("orders", "products", "users")


def call(name: str, **arguments: Any) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


# -- a small shop ------------------------------------------------------------------------------------------


def rows() -> dict[str, dict[str, Any]]:
    """The tables of our tiny shop; a copy."""
    shop = database("tiny")
    return {name: copy_json(dict(getattr(shop, name).rows)) for name in TABLES}


def pending(n: int = 0) -> str:
    """The id of the n-th pending order of the small shop."""
    return [key for key, row in rows()["orders"].items() if row["status"] == "pending"][n]


def cancelling(n: int = 0, **extra: Any) -> dict[str, Any]:
    """A gold action: cancel the n-th pending order."""
    arguments = {"order_id": pending(n), "reason": "no longer needed"}
    return {"action_id": f"c{n}", "name": "cancel_pending_order", "arguments": arguments, **extra}


def task(id: str, **criteria: Any) -> dict[str, Any]:
    """A τ²-bench task with these criteria."""
    told = {"reason_for_call": f"Cancel {pending()}.", "task_instructions": "Be brief.", "domain": "retail"}
    return {"id": id, "user_scenario": {"instructions": told}, "evaluation_criteria": criteria}


def write_tau2(folder: Path, tasks: list[dict[str, Any]], splits: dict[str, list[str]] | None = None) -> str:
    """τ²-bench's files for the small shop; the `path` that reads them."""
    folder = folder / "retail"
    folder.mkdir(parents=True)
    (folder / "db.json").write_text(json.dumps(rows()))
    (folder / "policy.md").write_text("Be kind.\n")
    (folder / "tasks.json").write_text(json.dumps(tasks))
    if splits is not None:
        (folder / "split_tasks.json").write_text(json.dumps(splits))
    return str(folder.parent)


def write_tau1(folder: Path, tasks: list[dict[str, Any]]) -> str:
    """τ-bench's files for the small shop with a test split; the `path` that reads them."""
    folder = folder / "retail"
    folder.mkdir(parents=True)
    for name, table in rows().items():
        (folder / f"{name}.json").write_text(json.dumps(table))
    (folder / "wiki.md").write_text("Be kind.\n")
    (folder / "tasks_test.json").write_text(json.dumps(tasks))
    return str(folder.parent)


def small_benchmark(kind: str) -> str:
    """The `path` of a small benchmark, which lies there until this process ends."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    actions = [cancelling(n) for n in range(4)]
    if kind == "tau1":
        calls = [{"name": action["name"], "kwargs": action["arguments"]} for action in actions]
        return write_tau1(
            Path(folder.name), [{"instruction": "Cancel it.", "actions": [made]} for made in calls]
        )
    tasks = [task(str(n), actions=[action]) for n, action in enumerate(actions)]
    return write_tau2(Path(folder.name), tasks, {"train": ["0", "1"], "test": ["2", "3"]})


# -- playing -------------------------------------------------------------------------------------------


@dataclass
class Played:
    """What an agent did: calls and lines in order, and whether the customer ended it."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ended: bool = False


def play(env: Any, task_id: str, actions: list[str]) -> tuple[Played, dict[str, Any]]:
    """Act until the episode or the actions end; what was played, and the last info."""
    env.reset(options={"task": task_id})
    played, info = Played(), {}
    for action in actions:
        parsed = HERMES.parse(action)
        *_, terminated, truncated, info = env.step(action)
        played.calls += [{"name": c.name, "arguments": c.arguments} for c in parsed.calls]
        if not parsed.calls:
            played.lines.append(parsed.prose)
        if terminated or truncated:
            played.ended = terminated
            break
    return played, info
