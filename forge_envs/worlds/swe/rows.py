"""Where tasks come from: our own, rows of swebench 5 in a file or on the Hub, a task repository on disk."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.sandbox.aside import aside
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.task import SweTask, task_of

KNOWN = '"builtin", "swebench:FILE.parquet|.jsonl|.json", "swebench:HUB/NAME" and "repo:FOLDER"'
EXTRA = "pip install 'forge-envs[swe]'"


HUB = 600.0
"""Seconds that a dataset of the Hub may take."""


@dataclass(frozen=True, eq=False)
class SweTasks:
    """The tasks of a source, and its splits in the order of their first task."""

    source: str
    by_id: Mapping[str, SweTask]
    splits: Mapping[str, tuple[str, ...]]

    def find(self, task_id: str) -> SweTask:
        """The task of this id. Raises TaskError."""
        if task_id not in self.by_id:
            raise TaskError(
                f"unknown task {task_id!r}: {self.source} has {len(self.by_id)}, "
                f"the first is {next(iter(self.by_id))!r}"
            )
        return self.by_id[task_id]


def load(source: str, split: str | None = None) -> SweTasks:
    """The tasks of `source`, read once per process.

    `split` names the rows of a file or of the Hub that do not name one themselves; by default "test". Raises
    ValueError for a source that is none, TaskError for data that cannot be used.
    """
    kind, _, rest = source.partition(":")
    if source == "builtin":
        return _index(source, builtin_tasks(), "train")
    if kind == "repo" and rest:
        return _load_repo(source, Path(rest).expanduser().resolve())
    if kind == "swebench" and rest:
        path = Path(rest).expanduser().resolve()
        if path.suffix in _READERS or path.exists():
            return _load_file(source, path, split or "test")
        return _load_hub(source, rest, split or "test")
    raise ValueError(f"source={source!r}: known are {KNOWN}")


def _index(source: str, tasks: Iterable[SweTask], unnamed: str) -> SweTasks:
    by_id: dict[str, SweTask] = {}
    splits: dict[str, list[str]] = {}
    for task in tasks:
        if task.id in by_id:
            raise TaskError(f"{source}: instance_id {task.id!r} occurs twice")
        by_id[task.id] = task
        splits.setdefault(task.split or unnamed, []).append(task.id)
    if not by_id:
        raise TaskError(f"{source}: there are no tasks in it")
    return SweTasks(source, by_id, {name: tuple(ids) for name, ids in splits.items()})


# -- rows ----------------------------------------------------------------------------------------------


@functools.cache
def _load_file(source: str, path: Path, split: str) -> SweTasks:
    if not path.is_file():
        raise TaskError(f"source={source!r}: there is no file {path}")
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise TaskError(f"source={source!r}: rows are read from {', '.join(_READERS)}, not {path.suffix!r}")
    return _index(source, _tasks_of(reader(path), str(path)), split)


@functools.cache
def _load_hub(source: str, name: str, split: str) -> SweTasks:
    try:
        from swebench.harness.utils import load_swebench_dataset
    except ImportError as error:
        raise ImportError(f"source={source!r} needs swebench: {EXTRA}") from error
    words = (
        f"source={source!r}: no file {name!r} here, and the Hub gives no split {split!r} of such a dataset"
    )
    try:
        rows = aside(partial(load_swebench_dataset, name, split)).result(HUB)
    except TimeoutError as error:
        raise TaskError(
            f"{words} within {HUB:g} s. Look at the network, or fetch its Parquet file and name that"
        ) from error
    except Exception as error:  # the Hub's client raises dozens of kinds
        raise TaskError(f"{words}: {type(error).__name__}: {error}") from error
    return _index(source, _tasks_of([dict(row) for row in rows], f"{name} ({split})"), split)


def _tasks_of(rows: list[Any], where: str) -> Iterable[SweTask]:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise TaskError(f"{where}: row {number} is no object but {row!r:.60}")
        yield task_of(row, f"{where}, row {number}")


def _read_parquet(path: Path) -> list[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"reading {path} needs pyarrow: {EXTRA}") from error
    try:
        found: list[Any] = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise TaskError(f"{path} is no Parquet file: {error}; is it a Git LFS pointer?") from error
    return found


def _read_json(path: Path) -> list[Any]:
    rows = _parse(path, _text_of(path))
    if isinstance(rows, dict) and "instance_id" not in rows:
        rows = list(rows.values())
    return rows if isinstance(rows, list) else [rows]


def _read_lines(path: Path) -> list[Any]:
    lines = _text_of(path).split("\n")
    return [_parse(f"{path}, line {i}", line) for i, line in enumerate(lines, 1) if line.strip()]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 text: {error}; is it compressed, or Parquet?") from error
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error}") from error


def _parse(where: object, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TaskError(f"{where} is not JSON: {error}; is it a Git LFS pointer?") from error


_READERS = {".parquet": _read_parquet, ".jsonl": _read_lines, ".json": _read_json}


# -- a task repository -----------------------------------------------------------------------------------


@functools.cache
def _load_repo(source: str, root: Path) -> SweTasks:
    try:
        from swebench.task.repo import task_dirs
    except ImportError as error:
        raise ImportError(f"source={source!r} needs swebench: {EXTRA}") from error
    try:
        folders = task_dirs(root)
    except OSError as error:
        raise TaskError(
            f"source={source!r}: {error}; a task repository has one folder per task below tasks/"
        ) from error
    return _index(source, (_read_folder(folder) for folder in folders), "test")


def _read_folder(folder: Path) -> SweTask:
    import yaml
    from swebench.task.repo import ASSETS_SUBDIR, load_task

    try:
        row = load_task(folder)
    except FileNotFoundError as error:
        raise TaskError(f"{folder}: {Path(error.filename).name} is missing") from error
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise TaskError(f"{folder} cannot be read: {error}") from error
    if row.get("instance_id") != folder.name:
        raise TaskError(f"{folder}: its task.yaml is about {row.get('instance_id')!r}")
    base = folder / ASSETS_SUBDIR
    files = [file for file in base.rglob("*") if file.is_file()] if base.is_dir() else []
    return task_of(row, str(folder), {str(file.relative_to(base)): file.read_bytes() for file in files})
