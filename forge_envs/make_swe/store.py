"""Tasks on disk: a swebench 5 task repository, and its rows as JSON lines and Parquet."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.make_swe.diff import git_diff
from forge_envs.make_swe.errors import MakeError
from forge_envs.make_swe.hide import CannotHide
from forge_envs.make_swe.image import task_dockerfile
from forge_envs.make_swe.lab import Baseline
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.script import STEERING, eval_script

DATASET = "forge/made"
NO_TEXT = re.compile(rb"^Binary files (?:a/)?(\S+) and (?:b/)?\S+ differ$", re.M)
EXTRA = "pip install 'forge-envs[swe]'"
PARSER = "parse_log_pytest"


@dataclass(frozen=True)
class Unproved:
    """A task before it was proved. Files are what differs from the package."""

    id: str
    package: Package
    source_before: Mapping[str, bytes]
    """Files with the bug, as the agent finds them."""
    source_after: Mapping[str, bytes]
    """The same files as gold leaves them."""
    tests_before: Mapping[str, bytes]
    """Test files as the agent finds them."""
    tests_after: Mapping[str, bytes]
    """Test files as they judge."""
    statement: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    """More columns: what the task was made by."""


def require_swebench() -> None:
    """Raises ImportError that names the extra."""
    try:
        import swebench.task.checks  # noqa: F401
        import yaml  # noqa: F401
    except ImportError as error:
        raise ImportError(f"make-swe writes and checks tasks with swebench: {EXTRA}") from error


def image_of(task_id: str) -> str:
    """The name of a task's image, as swebench derives it."""
    from swebench.task.checks import expected_image

    return str(expected_image(task_id))


def write_task(draft: Unproved, folder: Path, base: Baseline, shared: Path, split: str) -> None:
    """Write a task folder; `shared` holds the package's `source.tar.gz` and `requirements.txt`.

    Raises CannotHide when a patch is not UTF-8, which a task repository cannot hold.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    package = draft.package
    agent = {**draft.source_before, **draft.tests_before}
    touched = {path: package.files[path] for path in agent if path in package.files}
    patches = {
        "base.patch": git_diff(touched, agent, folder),
        "gold.patch": git_diff(draft.source_before, draft.source_after, folder),
        "test.patch": git_diff(draft.tests_before, draft.tests_after, folder),
    }
    if binary := sorted({name for patch in patches.values() for name in NO_TEXT.findall(patch)}):
        told = ", ".join(name.decode("utf-8", "replace") for name in binary[:3])
        raise CannotHide(f"{draft.id}: {told} is no text, and a task's patches are")
    for name, patch in patches.items():
        (folder / name).write_bytes(patch)
    try:
        test_patch = patches["test.patch"].decode("utf-8")
        patches["gold.patch"].decode("utf-8")
    except UnicodeDecodeError as error:
        raise CannotHide(f"{draft.id}: its patch is not UTF-8") from error
    kept = [
        path
        for path in package.files
        if path.rpartition("/")[2] in STEERING and path not in draft.source_after
    ]
    folders = [target for target in package.targets if not target.endswith(".py")]
    restored = sorted({*folders, *(p for p in package.targets if p in package.files), *kept})
    script = eval_script(test_patch, base.targets, base.options, restored, folders)
    (folder / "eval.sh").write_bytes(script.encode())
    (folder / "problem_statement.md").write_bytes(draft.statement.encode())
    (folder / "Dockerfile").write_text(task_dockerfile(package))
    for name in ("source.tar.gz", "requirements.txt"):
        _link(shared / name, folder / name)
    write_tests(folder, draft.fail_to_pass, draft.pass_to_pass)
    _write_meta(folder, draft, split)


def _link(source: Path, target: Path) -> None:
    """Put a file of all tasks of a package in place: the same file on disk where that can be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_tests(folder: Path, fail_to_pass: Iterable[str], pass_to_pass: Iterable[str]) -> None:
    """Write the tests that decide."""
    lists = {"FAIL_TO_PASS": list(fail_to_pass), "PASS_TO_PASS": list(pass_to_pass)}
    (folder / "tests.json").write_text(
        json.dumps(lists, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _write_meta(folder: Path, draft: Unproved, split: str) -> None:
    meta = {
        "instance_id": draft.id,
        "repo": f"forge/{draft.package.name}",
        "version": draft.package.version,
        "base_commit": "",
        "environment_setup_commit": "",
        "created_at": "",
        "split": split,
        "datasets": [DATASET],
        "image": image_of(draft.id),
        "log_parser": PARSER,
        "eval_type": "pass_and_fail",
        "evaluator": "forge",
        **draft.facts,
    }
    save_meta(folder, meta)


def load_meta(folder: Path) -> dict[str, Any]:
    """A task's metadata."""
    import yaml

    loaded: dict[str, Any] = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))
    return loaded


def save_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write a task's metadata."""
    import yaml

    (folder / "task.yaml").write_text(yaml.safe_dump(dict(meta), allow_unicode=True), encoding="utf-8")


def row_of(folder: Path) -> dict[str, Any]:
    """A task as the official harness reads it."""
    from swebench.task.repo import load_task

    row: dict[str, Any] = load_task(folder)
    return row


def write_config(out: Path, split: str) -> None:
    """Write or widen `sweb.yaml`, which names the dataset and its splits. Raises MakeError for another's."""
    import yaml

    path = out / "sweb.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    if config.get("datasets", [DATASET]) != [DATASET]:
        raise MakeError(f"{path} publishes {config['datasets']}: give --out a folder of its own")
    splits = sorted({*config.get("splits", []), split})
    path.write_text(yaml.safe_dump({"datasets": [DATASET], "splits": splits}), encoding="utf-8")


def compile_rows(out: Path) -> dict[str, int]:
    """Check the task repository and write `data/<split>.jsonl` and `.parquet`; returns rows by split.

    Raises MakeError with what swebench's checks say.
    """
    from swebench.task.checks import check_task_repo, errors
    from swebench.task.publish import compile_datasets

    if problems := errors(check_task_repo(out)):
        raise MakeError(f"{out} is no task repository: " + "; ".join(map(str, problems[:5])))
    counts = {}
    for split, rows in compile_datasets(out)[DATASET].items():
        folder = out / "data"
        folder.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
        _write_parquet(rows, folder / f"{split}.parquet")
        counts[split] = len(rows)
    return counts


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return  # the JSON lines hold the same rows
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
