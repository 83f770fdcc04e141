"""Official tasks as their files have them, and episodes that are nearly gold."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.worlds.tau.env import OfficialEnv


def official_tasks(kind: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The tasks of a domain's folder by our ids."""
    if kind == "tau2":
        tasks = json.loads((folder / "tasks.json").read_text())
        return {f"tau2/{folder.name}/{task['id']}": task for task in tasks}
    return {
        f"tau1/{folder.name}/{path.stem.removeprefix('tasks_')}/{n}": task
        for path in sorted(folder.glob("tasks_*.json"))
        for n, task in enumerate(json.loads(path.read_text()))
    }


def gold_calls(kind: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    """The official solution of a task."""
    if kind == "tau2":
        return list(task["evaluation_criteria"]["actions"])
    return [{"name": action["name"], "arguments": action["kwargs"]} for action in task["actions"]]


def gold_hashes(kind: str, folder: Path) -> tuple[str, dict[str, str]]:
    """What the official code computed: the hash of the database as it begins, and as gold leaves it.

    An altered copy of a folder without an oracle of its own has that of the shared data.
    """
    if kind == "tau2":
        oracle = json.loads((_origin(folder) / "oracle.json").read_text())
        gold = {f"tau2/{folder.name}/{id}": task["gold"]["db"] for id, task in oracle["tasks"].items()}
        return oracle["base"]["db"], gold
    began, hashes = "", {}
    for path in sorted(folder.glob("tasks_*.json")):
        split = path.stem.removeprefix("tasks_")
        oracle = json.loads((folder.parent / "oracle" / f"{folder.name}_{split}.json").read_text())
        began = oracle["initial_data_hash"]
        for task in oracle["tasks"]:
            hashes[f"tau1/{folder.name}/{split}/{task['index']}"] = task["gt_data_hash"]
    return began, hashes


def _origin(folder: Path) -> Path:
    return (folder / "db.json").resolve().parent


def writes(env: OfficialEnv, action: str) -> bool:
    return any(env.tools[call.name].writes for call in HERMES.parse(action).calls)


def perturbed(
    env: OfficialEnv, gold: list[str], foreign: list[str], rng: np.random.Generator
) -> Iterator[tuple[str, list[str]]]:
    """Gold and what is nearly gold, by the name of the change."""
    yield "gold", gold
    yield "silent", [*gold[:-1], *[""] * 4]
    yield "untold", [*gold[:-1], "All is done."]
    places = [n for n, action in enumerate(gold) if writes(env, action)]
    for n in places:
        yield "dropped", gold[:n] + gold[n + 1 :]
        yield "duplicated", [*gold[: n + 1], gold[n], *gold[n + 1 :]]
        yield "wrong", [*gold[:n], wrong(env, gold[n], rng), *gold[n + 1 :]]
    for n, m in itertools.pairwise(places):
        swapped = list(gold)
        swapped[n], swapped[m] = gold[m], gold[n]
        yield "swapped", swapped
    if foreign:
        yield "foreign", [*gold[:-1], foreign[0], gold[-1]]


def wrong(env: OfficialEnv, action: str, rng: np.random.Generator) -> str:
    """The call with one argument changed to another value that its schema allows."""
    (made,) = HERMES.parse(action).calls
    name = str(rng.choice(list(made.arguments)))
    value, schema = made.arguments[name], env.tools[made.name].parameters["properties"][name]
    others: list[Any]
    if "enum" in schema:
        others = [other for other in schema["enum"] if other != value]
    elif isinstance(value, list):
        others = [value[::-1] if len(value) > 1 else [*value, *value], value[:-1]]
    elif isinstance(value, int):
        others = [value + 1]
    elif name in ("payment_method_id", "payment_id"):
        users = env.benchmark.tables["users"].rows.values()
        mine = next(u["payment_methods"] for u in users if value in u["payment_methods"])
        others = [other for other in mine if other != value] or ["paypal_0000000"]
    elif name in ("order_id", "reservation_id"):
        others = list(env.benchmark.tables[f"{name[:-3]}s"].rows)[:50]
    else:
        others = [f"{value} B"]
    other = others[int(rng.integers(len(others)))]
    return HERMES.write(calls=[ToolCall(made.name, {**made.arguments, name: other})])
