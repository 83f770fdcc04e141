"""One repository with a bug, as swebench 5 describes it, and how a row becomes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.task import Task

START, END = ">>>>> Start Test Output", ">>>>> End Test Output"
"""What an evaluation script prints before and after its tests."""
OWNER = "forge"
"""Value of a row's field `evaluator` whose evaluation script runs pytest in a way that we may watch: it keeps
PYTHONPATH and PYTEST_ADDOPTS as they are."""

_NEEDED = ("instance_id", "repo", "base_commit", "problem_statement", "patch", "test_patch", "eval_script")
_OLDER = (
    "; rows of before swebench 5 have no evaluation script: take this instance from a swebench 5 dataset, "
    "such as the Hub's SWE-bench/SWE-bench_Verified"
)


@dataclass(frozen=True, kw_only=True)
class SweTask(Task):
    """An issue, the image that has the repository, and what decides whether it is solved."""

    repo: str
    version: str
    base_commit: str
    image: str
    statement: str
    """The issue, which is all that the agent is told."""
    patch: str
    """Gold."""
    test_patch: str
    eval_script: str
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    log_parser: str
    eval_type: str
    split: str | None = None
    watched: bool = False
    """Whether our pytest plugin reports beside the log; see `forge_envs.worlds.swe.watch`."""
    visible: tuple[str, ...] = ()
    """Tests that the agent can run and that fail at first."""
    visible_script: str = ""
    """Runs these as `eval_script` runs the hidden ones."""
    files: Mapping[str, str] | None = None
    """The repository itself; None when the image holds it."""
    assets: Mapping[str, bytes] | None = None
    """Binary files by path that the hidden tests need and a patch cannot carry."""

    @property
    def row(self) -> dict[str, Any]:
        """The task as a swebench 5 row, as the official harness reads it."""
        return {
            "instance_id": self.id,
            "repo": self.repo,
            "version": self.version,
            "base_commit": self.base_commit,
            "image": self.image,
            "problem_statement": self.statement,
            "hints_text": "",
            "created_at": "",
            "patch": self.patch,
            "test_patch": self.test_patch,
            "eval_script": self.eval_script,
            "FAIL_TO_PASS": list(self.fail_to_pass),
            "PASS_TO_PASS": list(self.pass_to_pass),
            "log_parser": self.log_parser,
            "eval_type": self.eval_type,
        }


def task_of(row: Mapping[str, Any], where: str, assets: Mapping[str, bytes] | None = None) -> SweTask:
    """The task in a row of swebench 5; `where` names the row in errors.

    An image, a parser and an evaluation type that are missing are filled in by swebench's own naming rules.
    Raises TaskError.
    """
    name = row.get("instance_id") or "(no instance_id)"
    missing = [key for key in _NEEDED if not isinstance(row.get(key), str)]
    missing += [key for key in ("FAIL_TO_PASS", "PASS_TO_PASS") if key not in row]
    if missing:
        older = _OLDER if "eval_script" in missing and "instance_id" not in missing else ""
        raise TaskError(f"{where}: {name} lacks {', '.join(missing)}{older}")
    wanted = _assets(row, where)
    if wanted - set(assets or ()):
        first = min(wanted - set(assets or ()))
        raise TaskError(
            f"{where}: {name} needs binary files such as {first!r} that its row does not hold; "
            "use its task repository: source='repo:PATH'"
        )
    task = SweTask(
        id=str(name),
        repo=row["repo"],
        version=str(row.get("version") or ""),
        base_commit=row["base_commit"],
        image=_text(row, "image") or _image(str(name)),
        statement=row["problem_statement"],
        patch=row["patch"],
        test_patch=row["test_patch"],
        eval_script=row["eval_script"],
        fail_to_pass=_tests(row, "FAIL_TO_PASS", where),
        pass_to_pass=_tests(row, "PASS_TO_PASS", where),
        log_parser=_text(row, "log_parser") or _parser(row["repo"]),
        eval_type=_text(row, "eval_type") or _eval_type(row["repo"]),
        split=_text(row, "split") or None,
        watched=row.get("evaluator") == OWNER,
        assets=assets,
    )
    return _checked(task, where)


def _text(row: Mapping[str, Any], key: str) -> str:
    return str(row.get(key) or "")


def _tests(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A list of tests, which is a list or the JSON of one."""
    value = row[key]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise TaskError(f"{where}: {key} of {row['instance_id']} is not JSON: {error}") from error
    if not isinstance(value, (list, tuple)) or not all(isinstance(test, str) for test in value):
        raise TaskError(f"{where}: {key} of {row['instance_id']} must be a list of texts, not {value!r:.80}")
    return tuple(value)


def _assets(row: Mapping[str, Any], where: str) -> set[str]:
    """The paths of the binary files that a row needs."""
    value = row.get("image_assets") or {}
    try:
        declared = json.loads(value) if isinstance(value, str) else value
        found = (entry.get("path") for key in ("test_patch", "patch") for entry in declared.get(key) or ())
        return {str(path) for path in found if path}
    except (ValueError, AttributeError, TypeError) as error:
        raise TaskError(
            f"{where}: image_assets of {row['instance_id']} must be "
            f'{{"test_patch": [{{"path": ...}}]}} or its JSON, not {value!r:.80}: {error}'
        ) from error


def _image(name: str) -> str:
    from swebench.task.checks import expected_image

    return str(expected_image(name))


def _parser(repo: str) -> str:
    """swebench names the parsers of most Python repositories after them."""
    return f"parse_log_{repo.rpartition('/')[2].replace('-', '_')}"


def _eval_type(repo: str) -> str:
    from swebench.harness.constants import FAIL_ONLY_REPOS

    return "fail_only" if repo in FAIL_ONLY_REPOS else "pass_and_fail"


def _checked(task: SweTask, where: str) -> SweTask:
    from swebench.harness.constants import EvalType
    from swebench.harness.log_parsers import PARSER_REGISTRY

    if task.log_parser not in PARSER_REGISTRY:
        raise TaskError(
            f"{where}: {task.id} wants log_parser {task.log_parser!r}, which swebench does not have; "
            "a newer swebench may, or name one in the row"
        )
    if task.eval_type not in {kind.value for kind in EvalType}:
        raise TaskError(f"{where}: {task.id} has eval_type {task.eval_type!r}, which swebench does not know")
    if not task.fail_to_pass:
        raise TaskError(f"{where}: {task.id} has an empty FAIL_TO_PASS, so nothing would decide about it")
    if START not in task.eval_script or END not in task.eval_script:
        raise TaskError(f"{where}: eval_script of {task.id} does not print {START!r} and {END!r}")
    if "diff --git" not in task.patch:
        raise TaskError(f"{where}: patch of {task.id} is no git diff")
    return task
