"""What episodes of published tasks are made from: a benchmark's rows, tasks and tools, and dice."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

Call: TypeAlias = dict[str, Any]
Said: TypeAlias = dict[str, Any]
"""{"text", "calls"}."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2.0, 1.5, -2.0, "", " ", "2", "2.0", "x", "yes", "pending", "business"),
    *([], {}, [[]], [None], ["a"], {"a": 1}, [{}], [{"a": 1}], "ab", [1, 2], ["a", "b"], {"a": 1, "b": 2}),
)
WRITES = ("cancel", "modify", "exchange", "return", "book", "update", "send", "create")
SUMS = (
    "2 + 2",
    "1 / 0",
    "",
    "(8)",
    "2 ** 10",
    "1 // 3",
    "1e5",
    "2 2",
    "-(3 - 5) * .5",
    "08",
    [],
    5,
    "9" * 400 + ".",
)


def write(call: Call) -> bool:
    """Whether a call may change something."""
    return call["name"].startswith(WRITES)


class Source:
    """One domain of one benchmark: its rows, its tasks, its tools."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.domain = kind, folder.name
        if kind == "tau2":
            self.rows = json.loads((folder / "db.json").read_text())
            found = json.loads((folder / "tasks.json").read_text())
            splits = json.loads((folder / "split_tasks.json").read_text())
            ids = set(splits.get("train") or splits["base"])
            self.tasks = {task["id"]: task for task in found if task["id"] in ids and _begins(task)}
            schemas = json.loads((folder / "tools_schema.json").read_text())["assistant"]
        else:
            self.rows = {path.stem: json.loads(path.read_text()) for path in folder.glob("[!t]*.json")}
            found = json.loads((folder / "tasks_train.json").read_text())
            self.tasks = {f"train/{n}": task for n, task in enumerate(found) if n % 5 == 0}
            schemas = json.loads((folder.parent / "oracle" / f"{folder.name}_tools_schema.json").read_text())
        self.tools = {
            entry["function"]["name"]: list(entry["function"]["parameters"].get("properties", {}))
            for entry in schemas
        }
        self.golds = {id: self.gold(id) for id in self.tasks}
        self.writes = [call for gold in self.golds.values() for call in gold if write(call)]
        self.reads = [call for gold in self.golds.values() for call in gold if not write(call)]
        self.reads += [
            {"name": "get_user_details", "arguments": {"user_id": id}} for id in [*self.rows["users"]][:3]
        ]
        self.pool: dict[str, list[Any]] = {}
        for call in (*self.writes, *self.reads):
            for name, value in call["arguments"].items():
                self.pool.setdefault(name, []).append(value)

    def gold(self, id: str) -> list[Call]:
        """The official solution."""
        task = self.tasks[id]
        if self.kind == "tau1":
            return [{"name": a["name"], "arguments": a["kwargs"]} for a in task["actions"]]
        actions = (task["evaluation_criteria"] or {}).get("actions") or []
        return [{"name": a["name"], "arguments": a["arguments"]} for a in actions]

    def facts(self, id: str) -> list[str]:
        """Texts that must be said."""
        task = self.tasks[id]
        if self.kind == "tau1":
            return list(task["outputs"])
        return list((task["evaluation_criteria"] or {}).get("communicate_info") or [])


def _begins(task: dict[str, Any]) -> bool:
    """Whether a task is played from its beginning, by an agent alone."""
    criteria = task.get("evaluation_criteria") or {}
    state = task.get("initial_state") or {}
    return not any(state.values()) and not criteria.get("env_assertions") and not task.get("user_tools")


def say(text: str = "", *calls: Call) -> Said:
    return {"text": text, "calls": list(calls)}


class Dice:
    """Draws that are the same on every version of Python."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(json.dumps(seed)).random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def pick(self, values: Sequence[Any]) -> Any:
        return values[self.below(len(values))]

    def chance(self, share: float) -> bool:
        return self._random() < share


def number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
