"""Judges the files of an exercise or of a contest's program."""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_envs.adapters.harbor.grade import Grade
from forge_envs.adapters.harbor.stored import puzzle
from forge_envs.worlds.polyglot.exercise import Puzzle
from forge_envs.worlds.polyglot.languages import LANGUAGES
from forge_envs.worlds.polyglot.verdict import verdict

LARGEST = 4_000_000
"""Bytes of a file that is judged; a longer one counts as not written."""


def grade(stored: Mapping[str, Any], left: Path | None, sandbox: str) -> Grade:
    """The world's verdict on the files. Raises MachineError."""
    task = puzzle(stored["task"])
    files = task.files({} if left is None else answer(task, left))
    found = verdict(task, files, sandbox=sandbox, timeout=stored["timeout"])
    print(found.output)
    return Grade(float(found.passed), {"tests": found.share}, "timed out" if found.timed_out else "")


def answer(task: Puzzle, archive: Path) -> dict[str, str]:
    """The files of an archive that the agent may write; nothing else of it is looked at."""
    language, found = LANGUAGES[task.language], dict[str, str]()
    with tarfile.open(archive) as tar:
        for entry in tar:
            path = posixpath.normpath(entry.name)
            if not entry.isfile() or entry.size > LARGEST or path.startswith(("/", "..")):
                continue
            if path in task.stubs or language.may_add(path, task):
                file = tar.extractfile(entry)
                assert file is not None
                found[path] = file.read().decode("utf-8", "replace")
    return found
