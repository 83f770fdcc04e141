"""Tasks as the JSON of a folder's tests/task.json, and back."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forge_envs.worlds.polyglot.exercise import Puzzle
    from forge_envs.worlds.swe.task import SweTask


def store_swe(task: SweTask) -> dict[str, Any]:
    """A repository's task, without the repository, which the image holds."""
    kept = {name: value for name, value in vars(task).items() if name not in ("files", "assets")}
    return {**kept, "assets": _packed(task.assets or {})}


def swe_task(stored: Mapping[str, Any]) -> SweTask:
    """What `store_swe` stored."""
    from forge_envs.worlds.swe.task import SweTask

    lists = {name: tuple(stored[name]) for name in ("fail_to_pass", "pass_to_pass", "visible")}
    return SweTask(**{**stored, **lists, "assets": _unpacked(stored["assets"])})


def store_puzzle(task: Puzzle) -> dict[str, Any]:
    """An exercise or a contest."""
    from forge_envs.worlds.polyglot.contests.problem import Contest
    from forge_envs.worlds.polyglot.exercise import Exercise

    plain = {
        "id": task.id,
        "language": task.language,
        "name": task.name,
        "prompt": task.prompt,
        "stubs": dict(task.stubs),
        "example": {},  # nothing judges by it, and it lies in solution/
    }
    if isinstance(task, Contest):
        cases = [[case.given, case.answer] for case in task.cases]
        return {**plain, "style": task.style, "cases": cases, "limit": task.limit}
    assert isinstance(task, Exercise)
    return {**plain, "tests": dict(task.tests), "support": _packed(task.support)}


def puzzle(stored: Mapping[str, Any]) -> Puzzle:
    """What `store_puzzle` stored."""
    from forge_envs.worlds.polyglot.contests.problem import Case, Contest
    from forge_envs.worlds.polyglot.exercise import Exercise

    if "cases" in stored:
        return Contest(**{**stored, "cases": tuple(Case(*case) for case in stored["cases"])})
    return Exercise(**{**stored, "support": _unpacked(stored["support"])})


def _packed(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: base64.b64encode(data).decode() for path, data in files.items()}


def _unpacked(files: Mapping[str, str]) -> dict[str, bytes]:
    return {path: base64.b64decode(text) for path, text in files.items()}
