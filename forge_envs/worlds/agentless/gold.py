"""Answers that earn 1 in both roles, made of what the task knows."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import PurePosixPath

from forge_envs.errors import TaskError
from forge_envs.syntax import parse
from forge_envs.worlds.agentless.edits import FileEdit, edits_between, is_plain
from forge_envs.worlds.agentless.repository import files_of, texts_of
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import SweTask


def gold_fix(task: SweTask, ground: Ground) -> list[FileEdit]:
    """The gold patch as edits. Raises MachineError, and TaskError where an answer cannot hold it.

    A file that gold removes is left empty. What is no Python and cannot be written as an edit, such as prose
    with a line of =======, is left out: no test asks for it.
    """
    paths = sorted(path for path in paths_of(task.patch) if is_plain(path))
    before, after = texts_of(task, ground, paths), texts_of(task, ground, paths, task.patch)
    edits: list[FileEdit] = []
    for path in paths:
        new = after.get(path, "")
        if before.get(path) == new or (path not in before and path not in after):
            continue
        found = edits_between(path, before.get(path), new)
        if not found and path.endswith(".py"):
            raise TaskError(f"task {task.id!r}: an answer cannot hold what gold does to {path}")
        edits += found
    if not edits:
        raise TaskError(f"task {task.id!r}: an answer cannot hold its gold patch")
    return edits


def gold_test(task: SweTask, ground: Ground) -> FileEdit:
    """A new test file with the tests of FAIL_TO_PASS, of the hidden file that has most of them; with the
    helpers and fixtures that stand beside them. Raises MachineError and TaskError."""
    counts = Counter(name.partition("::")[0] for name in task.fail_to_pass if "::" in name)
    if not counts:
        raise TaskError(f"task {task.id!r}: its FAIL_TO_PASS names no tests of a file")
    path = max(sorted(counts), key=counts.__getitem__)
    text = texts_of(task, ground, [path], task.test_patch).get(path)
    if text is None:
        raise TaskError(f"task {task.id!r}: {path} cannot be read")
    wanted = {name.partition("::")[2].partition("[")[0] for name in task.fail_to_pass if _in(name, path)}
    pure = PurePosixPath(path)
    tree, number = set(files_of(task, ground)), 1
    while (new := str(pure.with_name(f"test_{pure.stem.removeprefix('test_')}_issue{number}.py"))) in tree:
        number += 1
    return edits_between(new, None, only_tests(text, wanted))[0]


def _in(name: str, path: str) -> bool:
    return name.partition("::")[0] == path


def only_tests(text: str, wanted: set[str]) -> str:
    """A test file without the tests that are not `wanted`, which are named as pytest does, Class::test.

    >>> only_tests("import a\\n\\ndef test_x():\\n    a.x()\\n\\ndef test_y():\\n    a.y()\\n", {"test_y"})
    'import a\\n\\n\\ndef test_y():\\n    a.y()\\n'
    """
    lines = text.splitlines(keepends=True)
    for first, last, blanks in reversed(_unwanted(parse(text), "", wanted)):
        lines[first - 1 : last] = [f"{blanks}pass\n"] if blanks else []
    return "".join(lines)


def _unwanted(node: ast.AST, inside: str, wanted: set[str]) -> list[tuple[int, int, str]]:
    """First and last lines of tests that go; and the blanks before the `pass` that stands for them."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            found += _unwanted(child, f"{inside}{child.name}::", wanted)
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif child.name.startswith("test") and f"{inside}{child.name}" not in wanted:
            first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            found.append((first, child.end_lineno or child.lineno, " " * child.col_offset))
    return found
