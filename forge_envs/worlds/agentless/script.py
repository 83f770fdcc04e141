"""The evaluation script of a task with a written test file in place of the hidden ones.

What an evaluation script does stays as it is: its environment, what it puts back, its pytest and the options
of that. The patch of tests that it applies becomes the written one, and the tests it names the written file.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import PurePosixPath

from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.task import END, START, SweTask

_HEREDOC = re.compile(r"<<-?\s*'?(\w+)'?[^\n]*\n(.*?)^\1$", re.MULTILINE | re.DOTALL)


def takes_tests(task: SweTask) -> bool:
    """Whether other tests can be put in place of a task's own: it applies them as a patch, and it runs pytest
    on files or folders that it names."""
    return _patched(task) is not None and _told(task) is not None


def with_tests(task: SweTask, path: str, patch: str) -> SweTask:
    """The task, judged by the test file at `path`, which `patch` writes. ValueError if not `takes_tests`."""
    span, told = _patched(task), _told(task)
    if span is None or told is None:
        raise ValueError(f"task {task.id!r} runs no tests that others could stand in for")
    script = task.eval_script[: span[0]] + patch.rstrip("\n") + "\n" + task.eval_script[span[1] :]
    line, command = told
    script = script.replace(f"\n{line}\n", f"\n{command} {shlex.quote(path)}\n")
    return replace(
        task,
        test_patch=patch,
        eval_script=script,
        fail_to_pass=(f"{path}::",),
        pass_to_pass=(),
        assets=None,
    )


def _patched(task: SweTask) -> tuple[int, int] | None:
    """Where the text of the hidden tests' patch stands in the script."""
    before = task.eval_script.partition(START)[0]
    found = [match.span(2) for match in _HEREDOC.finditer(before) if "diff --git " in match[2]]
    return found[0] if len(found) == 1 else None


def _told(task: SweTask) -> tuple[str, str] | None:
    """The line that runs pytest, and the same without the files and folders that it names."""
    lines = task.eval_script.partition(START)[2].partition(END)[0].split("\n")
    runs = [line for line in lines if re.search(r"\bpytest\b", line)]
    if len(runs) != 1:
        return None
    try:
        words = shlex.split(runs[0])
    except ValueError:
        return None
    if any(re.search(r"[$`;&|<>]", word) for word in words):  # more than a command and its words
        return None
    tests = {name.partition("::")[0] for name in (*task.fail_to_pass, *task.pass_to_pass)}
    tests |= paths_of(task.test_patch)
    kept = [word for word in words if not _names(word, tests)]
    return (runs[0], shlex.join(kept)) if len(kept) < len(words) else None


def _names(word: str, tests: set[str]) -> bool:
    """Whether a word of a command names one of these files, or a folder that one is in."""
    path = str(PurePosixPath(word.partition("::")[0]))
    return not word.startswith("-") and any(
        path == test or PurePosixPath(path) in PurePosixPath(test).parents for test in tests
    )
