"""No honest solution is refused: a small part of `benchmarks/honest_patches.py`, and the rules it led to."""

from __future__ import annotations

import ast
import random
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.honest_habits import HABITS
from benchmarks.honest_patches import dealt, tried
from forge_envs.slips import ADDED, CALLED, Positions, slips
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.guard import Guard
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.patch import parts
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import SweTask

TASK = next(task for task in builtin_tasks() if task.id == "forge__ledger-2")
GROUND = Ground("process")
SHORT = ("crlf_with_attributes", "links", "linked_data", "link_of_a_moved_module", "one_function_moved")
SHORT += ("test_in_the_hidden_file", "reads_data", "prints", "settings", "everything_at_once")


def believed(names: tuple[str, ...], tasks: list[SweTask]) -> None:
    """Each of these habits is believed on one task."""
    refused = [line for line in tried(dealt(tasks, list(names), 1), GROUND) if not line["ours"]]
    assert not refused


def test_habits_that_looked_like_attacks() -> None:
    believed(SHORT, [TASK])


@pytest.mark.slow
def test_all_habits_on_all_tasks_in_turn() -> None:
    believed(tuple(HABITS), list(builtin_tasks()))


def link(path: str, target: str, mode: str = "120000") -> bytes:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\nindex 0000000..1\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{target}\n\\ No newline at end of file\n"
    ).encode()


@pytest.mark.parametrize(
    ("path", "target", "kept"),
    [
        ("docs/README.md", "../README.md", True),
        ("ledger/table.txt", "../data/./table.txt", True),
        ("ledger/x.py", "/etc/passwd", False),
        ("ledger/x.py", "../../x.py", False),
        ("ledger/x.py", "../tests/test_money.py", False),
        ("ledger/conf.py", "../conftest.py", False),
        ("ledger/here", "..", False),
        ("ledger/git", "../.git/config", False),
        ("conftest.py", "ledger/money.py", False),
    ],
)
def test_a_link_is_what_it_leads_to(path: str, target: str, kept: bool) -> None:
    found, dropped = Guard(TASK).split(parts(link(path, target)))
    assert ([part.path for part in found], dropped) == (([path], []) if kept else ([], [path]))
    assert Guard(TASK).split(parts(link(path, target, "160000")))[1] == [path], "no submodule is"


@pytest.mark.parametrize("target", ["ledger", "data/helpers.py"])
def test_a_link_at_the_top_that_can_be_imported_is_left_out(target: str) -> None:
    gold = TASK.patch.encode()
    found = judge(TASK, gold + link("helpers" if target == "ledger" else "helpers.py", target), GROUND)
    assert found.resolved and len(found.dropped) == 1


def test_a_link_through_a_link_that_leads_out_is_refused() -> None:
    """One of them is gold's too, so that nothing holds it back."""
    task = replace(TASK, patch=TASK.patch + link("ledger/out", "/tmp").decode())
    patch = task.patch.encode() + link("ledger/x.txt", "out/x.txt")
    assert "leads out of the repository" in judge(task, patch, GROUND).reason


def moved(task: SweTask, folder: Path) -> str:
    """Gold, with a module moved, as plain `git diff` tells it."""
    for path, text in (task.files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    script = (
        "git init -q . && git config user.name a && git config user.email a@b"
        " && git add -A && git commit -qm x"
        " && git apply - && git mv ledger/money.py ledger/amounts.py"
        " && echo 'from ledger.amounts import *' > ledger/money.py && git add -A"
        " && git diff --cached HEAD -M"
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, input=task.patch, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_patch_in_any_form_of_git_is_what_it_does(tmp_path: Path) -> None:
    text = moved(TASK, tmp_path)
    assert "copy from" in text or "rename from" in text or "dissimilarity" in text or "new file" in text
    for patch in (text, f"Here it is:\n\n{text}", TASK.patch.replace("--- a/", "index 1..2 100644\n--- a/")):
        found = judge(TASK, patch.encode(), GROUND)
        assert found.resolved, (found.reason, patch)
    moving = "diff --git a/README.md b/conftest.py\nsimilarity index 100%\n"
    moving += "rename from README.md\nrename to conftest.py\n"
    found = judge(TASK, moving.encode(), GROUND)
    assert not found.resolved and "conftest.py" in found.dropped
    assert judge(TASK, b"I could not do it.\n", GROUND).reason == "the patch does not apply"


def inside() -> tuple[SweTask, Mapping[str, str]]:
    """The task with its tests in the package, beside the code."""
    assert TASK.files is not None
    home, there = "tests/test_money.py", "ledger/test_money.py"
    files = {there if path == home else path: text for path, text in TASK.files.items()}

    def rename(text: str) -> str:
        return text.replace(home, there)

    made = replace(
        TASK,
        id="inside",
        files=files,
        test_patch=rename(TASK.test_patch),
        eval_script=rename(TASK.eval_script),
        fail_to_pass=tuple(map(rename, TASK.fail_to_pass)),
        pass_to_pass=tuple(map(rename, TASK.pass_to_pass)),
    )
    return made, files


def test_a_module_beside_tests_in_a_package_is_in_that_package() -> None:
    task, files = inside()
    gold = judge(task, task.patch.encode(), GROUND)
    assert gold.resolved, gold.reason
    new = "diff --git a/ledger/helpers.py b/ledger/helpers.py\nnew file mode 100644\n--- /dev/null\n"
    new += "+++ b/ledger/helpers.py\n@@ -0,0 +1 @@\n+VALUE = 1\n"

    needs = (
        "diff --git a/ledger/report.py b/ledger/report.py\n--- a/ledger/report.py\n+++ b/ledger/report.py\n"
    )
    first = files["ledger/report.py"].split("\n")[0]
    needs += f"@@ -1 +1,2 @@\n {first}\n+from ledger.helpers import VALUE  # noqa\n"
    found = judge(task, (task.patch + new + needs).encode(), GROUND)
    assert found.resolved and found.dropped == (), found


def kinds(body: str) -> set[int]:
    text = f"def test_a():\n    {body}\n"
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    return {slip.kind for slip in slips(node, Positions(text.encode()), random.Random(0))}


@pytest.mark.parametrize(
    "body", ["check(parse('1'), 1)", "self.assert_total([1], 1)", "expect_same('a', 'b')"]
)
def test_a_call_that_claims_something_is_a_canary(body: str) -> None:
    assert kinds(body) == {CALLED, ADDED}


@pytest.mark.parametrize(
    "body", ["journal.post('2024-01-01', 'rent')", "Router().add('/a', 1)", "main(['-v'])"]
)
def test_what_a_call_is_given_is_no_expected_value(body: str) -> None:
    """A lenient solution may take what gold refuses, where no test asks."""
    assert kinds(body) == {ADDED}
