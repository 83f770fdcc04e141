"""Folders of published benchmarks: where they may be, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.errors import TaskError
from forge_envs.worlds.tau.airline import AIRLINE
from forge_envs.worlds.tau.benchmark import load
from forge_envs.worlds.tau.files import locate
from forge_envs.worlds.tau.retail import RETAIL
from tests.envs.official import cancelling, task, write_tau1, write_tau2

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
OLD = [{"instruction": "x", "actions": [{"name": "think", "kwargs": {"thought": "x"}}], "outputs": []}]


def test_a_folder_without_data_is_told_where_it_was_looked_for(tmp_path: Path) -> None:
    for world, path, proof in (("Tau2", tmp_path, "db.json"), ("Tau1", tmp_path / "none", "users.json")):
        with pytest.raises(ValueError, match=rf"no {proof} in any of .*retail"):
            gym.make(f"Forge/{world}-v0", path=str(path))


def test_the_path_may_be_the_folder_the_one_above_or_a_clone(tmp_path: Path) -> None:
    write_tau2(tmp_path / "data" / "tau2" / "domains", [task("a", actions=[])])
    folder = tmp_path / "data" / "tau2" / "domains" / "retail"
    for path in (tmp_path, folder.parent, folder, folder.parents[1]):
        assert locate("tau2", str(path), RETAIL) == folder
    with pytest.raises(ValueError, match=r"airline.*no db.json|no db.json.*airline"):
        locate("tau2", str(tmp_path), AIRLINE)


def test_a_folder_is_read_once_and_never_changed(tmp_path: Path) -> None:
    path = write_tau2(tmp_path, [task("a", actions=[cancelling()])])
    first = load(RETAIL, "tau2", path)
    before = json.dumps({name: dict(base.rows) for name, base in first.tables.items()})
    assert first.target(first.find("a")) and load(RETAIL, "tau2", path) is first
    assert json.dumps({name: dict(base.rows) for name, base in first.tables.items()}) == before
    order = next(iter(first.tables["orders"].rows.values()))
    assert order["return_items"] is None, "τ²-bench fills in nulls"


def rewrite(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return apply


def put(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def first_row(table: dict[str, Any], field: str) -> dict[str, Any]:
    key = next(iter(table))
    return {**table, key: {k: v for k, v in table[key].items() if k != field}}


BROKEN_TAU2: dict[str, tuple[Callable[[Path], None], str]] = {
    "not json": (put("db.json", "{"), r"db.json is not JSON"),
    "lfs pointer": (put("db.json", LFS), r"git lfs pull"),
    "no tables": (put("db.json", "[]"), r"no JSON object of tables"),
    "a table is missing": (
        rewrite("db.json", lambda db: {"users": db["users"]}),
        r"'orders' is no JSON object",
    ),
    "an empty table": (rewrite("db.json", lambda db: db | {"users": {}}), r"'users' is no JSON object"),
    "a row without a field": (
        rewrite("db.json", lambda db: db | {"orders": first_row(db["orders"], "status")}),
        r"row '#W\d+' of 'orders' lacks status",
    ),
    "a row that is none": (
        rewrite("db.json", lambda db: db | {"users": {"u": 1}}),
        r"row 'u' of 'users' lacks",
    ),
    "no policy": (lambda folder: (folder / "policy.md").unlink(), r"policy.md cannot be read"),
    "no tasks": (lambda folder: (folder / "tasks.json").unlink(), r"tasks.json cannot be read"),
    "tasks are no list": (put("tasks.json", "{}"), r"tasks.json: at the top: .*list"),
    "a task without an id": (
        put("tasks.json", '[{"user_scenario": {}}]'),
        r"tasks.json: at 0.id: field required",
    ),
    "an unknown basis": (
        put("tasks.json", json.dumps([task("a", reward_basis=["LUCK"])])),
        r"at 0.evaluation_criteria.reward_basis.0: .*got 'LUCK'",
    ),
    "an unknown tool": (
        put("tasks.json", json.dumps([task("a", actions=[{"name": "fly", "arguments": {}}])])),
        r"'tau2/retail/a' of tau2:.* calls unknown tool 'fly'; known: .*calculate",
    ),
    "the same id twice": (
        put("tasks.json", json.dumps([task("a"), task("a")])),
        r"two tasks have the same id",
    ),
    "a split of unknown tasks": (put("split_tasks.json", '{"test": ["z"]}'), r"'test' names tasks that .*z"),
    "splits that are none": (put("split_tasks.json", '{"test": 3}'), r"no JSON object of lists"),
    "not text": (lambda folder: (folder / "tasks.json").write_bytes(b"\xff") and None, r"cannot be read"),
}
BROKEN_TAU1: dict[str, tuple[Callable[[Path], None], str]] = {
    "no orders": (lambda folder: (folder / "orders.json").unlink(), r"orders.json cannot be read"),
    "tasks as Python": (lambda folder: (folder / "tasks_test.json").unlink(), r"tasks are Python: dump"),
    "an action without a name": (
        put("tasks_test.json", '[{"instruction": "x", "actions": [{"kwargs": {}}]}]'),
        r"tasks_test.json: at 0.actions.0.name: field required",
    ),
    "a tool of the other benchmark": (
        rewrite(
            "tasks_test.json", lambda t: [t[0] | {"actions": [{"name": "get_item_details", "kwargs": {}}]}]
        ),
        r"unknown tool 'get_item_details'",
    ),
}


@pytest.mark.parametrize("broken", BROKEN_TAU2)
def test_broken_files_of_tau2_are_named(tmp_path: Path, broken: str) -> None:
    path = write_tau2(tmp_path, [task("a", actions=[cancelling()])])
    check("Forge/Tau2-v0", path, tmp_path / "retail", *BROKEN_TAU2[broken])


@pytest.mark.parametrize("broken", BROKEN_TAU1)
def test_broken_files_of_tau1_are_named(tmp_path: Path, broken: str) -> None:
    check("Forge/Tau1-v0", write_tau1(tmp_path, OLD), tmp_path / "retail", *BROKEN_TAU1[broken])


def check(world: str, path: str, folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(TaskError, match=message) as caught:
        gym.make(world, path=path, split="base")
    assert str(folder) in str(caught.value)
