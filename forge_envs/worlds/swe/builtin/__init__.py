"""Small repositories of our own with bugs planted in them: nothing is downloaded.

A repository is one TOML file: `files` as they should be, and `bugs`. A bug says what it replaces (`plant`),
the issue its user wrote, and tests that fail because of it: `visible` ones stand in the repository that the
agent gets, `hidden` ones only judge.
"""

from __future__ import annotations

import difflib
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from forge_envs.worlds.swe.task import END, START, SweTask

IMAGE = "forge/swe"
BRANCH = "main"

_TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)
_DELIMITER = "END_OF_THE_TESTS"
_GIT = "git -c safe.directory='*'"


def _script(tests: Iterable[str], test_patch: str) -> str:
    """An evaluation script in swebench's form, for any work folder."""
    names = " ".join(tests)
    lines = ["#!/bin/bash", "set -uxo pipefail", f"{_GIT} checkout {BRANCH} -- {names}"]
    if test_patch:
        lines += [f"{_GIT} apply -v - <<'{_DELIMITER}'", test_patch.rstrip("\n"), _DELIMITER]
    lines += [f": '{START}'", f"python3 -m pytest -rA -p no:cacheprovider {names}", f": '{END}'"]
    return "\n".join([*lines, f"{_GIT} checkout {BRANCH} -- {names}", ""])


@functools.cache
def builtin_tasks() -> tuple[SweTask, ...]:
    """All our own tasks, those of the train split first."""
    found: list[SweTask] = []
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            repository = tomllib.loads(file.read_text(encoding="utf-8"))
            found += [_task(repository, bug) for bug in repository["bugs"]]
    return tuple(sorted(found, key=lambda task: task.split != "train"))


def _task(repository: Mapping[str, Any], bug: Mapping[str, Any]) -> SweTask:
    right: dict[str, str] = repository["files"]
    wrong = dict(right)
    for plant in bug["plant"]:
        wrong[plant["path"]] = _replaced(wrong[plant["path"]], plant["right"], plant["wrong"], bug["id"])
    visible, hidden = bug.get("visible", {}), bug["hidden"]
    base = _with_tests(wrong, visible)
    judged = _with_tests(base, hidden)
    test_patch = diff(base, judged)
    tests = sorted({*hidden, *visible})
    shown, failing = list(_names(visible)), [*_names(visible), *_names(hidden)]
    return SweTask(
        id=bug["id"],
        repo=f"forge/{repository['name']}",
        version="1",
        base_commit=BRANCH,
        image=IMAGE,
        statement=bug["statement"].strip(),
        patch=diff(wrong, right),
        test_patch=test_patch,
        eval_script=_script(tests, test_patch),
        fail_to_pass=tuple(failing),
        pass_to_pass=tuple(name for name in _names({t: judged[t] for t in tests}) if name not in failing),
        log_parser="parse_log_pytest",
        eval_type="pass_and_fail",
        split=bug["split"],
        watched=True,
        visible=tuple(shown),
        visible_script=_script(sorted(visible), "") if visible else "",
        files=base,
    )


def _replaced(text: str, old: str, new: str, bug: str) -> str:
    if text.count(old) != 1:
        raise ValueError(f"bug {bug}: what it replaces occurs {text.count(old)} times: {old!r}")
    return text.replace(old, new)


def _with_tests(tree: Mapping[str, str], tests: Mapping[str, str]) -> dict[str, str]:
    added = {path: tree[path] + "\n\n" + text for path, text in tests.items()}
    return {**tree, **added}


def _names(tests: Mapping[str, str]) -> Iterable[str]:
    for path, text in tests.items():
        for name in _TEST.findall(text):
            yield f"{path}::{name}"


def diff(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The git patch from one set of files to another, which have the same paths."""
    parts = []
    for path in sorted(old):
        if old[path] != new[path]:
            before, after = (tree[path].splitlines(keepends=True) for tree in (old, new))
            parts += [f"diff --git a/{path} b/{path}\n"]
            parts += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(parts)
