"""Verdicts of Forge/SWE-v0 with `guard=False` beside those of swebench's own harness, patch by patch.

The harness's `run_instance` is run as it is, its four attempts to apply, its logs and its grader: only its
container is a box of ours (`Face`), so that both see the same machine. Each side opens a box of its own. Tame
patches (right, wrong, broken, odd in form) run in `--sandbox process` too; attacks need containers.
Run: python -m benchmarks.official_verdicts [--sandbox process] [--kinds tame] [--tasks 16] [--attacked 4]
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from swebench.harness import run_evaluation
from swebench.harness.utils import make_test_spec

from benchmarks.honest_habits import HABITS
from benchmarks.honest_patches import solutions
from forge_envs.errors import MachineError
from forge_envs.red_team.attack import attacks_of
from forge_envs.red_team.run import patch_of
from forge_envs.sandbox import Limits
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.site import Ground, Site, open_site
from forge_envs.worlds.swe.task import SweTask

RESULTS = Path(__file__).parent / "results" / "official_verdicts.json"
TIMEOUT = 60


class Face:
    """A box of ours with as much of a docker container's face as swebench's `run_instance` looks at."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.id = self.name = "box"
        self.client = SimpleNamespace(api=self)
        self._command = ""

    def start(self) -> None:
        """It runs."""

    def exec_run(self, command: str | list[str], **_: Any) -> Any:
        """A command, its status and what it printed."""
        text = command if isinstance(command, str) else shlex.join(command)
        ran = self._site.run(self._placed(text), timeout=300.0, head=10_000_000)
        return SimpleNamespace(exit_code=ran.code, output=ran.output.encode())

    def put_archive(self, folder: str, data: bytes) -> None:
        """Lay files out, in our folder instead of the root's."""
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                file = tar.extractfile(entry)
                assert file is not None
                self._site.put(entry.name, file.read())

    def exec_create(self, _: str, command: str) -> dict[str, str]:
        """Remember a command."""
        self._command = command
        return {"Id": "exec"}

    def exec_start(self, _: str, stream: bool) -> Iterator[bytes]:
        """Run it. One that takes too long ends by our hand; the harness notices its own clock."""
        ran = self._site.run(
            self._placed(self._command), timeout=TIMEOUT + 5.0, head=16_000_000, tail=16_000_000
        )
        yield ran.output.encode()

    def exec_inspect(self, _: str) -> dict[str, int]:
        """For the harness to kill what takes too long; the box ends with it."""
        return {"Pid": 2**22}

    def _placed(self, command: str) -> str:
        for path in ("/tmp/patch.diff", "/eval.sh"):
            command = command.replace(path, f"{self._site.tools}/{path.rpartition('/')[2]}")
        return command


@dataclass(frozen=True)
class Case:
    """A patch."""

    task: SweTask
    name: str
    patch: bytes


def official(case: Case, ground: Ground, folder: Path) -> bool:
    """What the harness says. A patch that is no UTF-8 cannot be given to it."""
    site = open_site(case.task, ground, judged=True)
    prediction = {
        "instance_id": case.task.id,
        "model_name_or_path": case.name,
        "model_patch": case.patch.decode("utf-8", "surrogateescape"),
    }
    run_evaluation.create_container = lambda *_: Face(site)
    run_evaluation.cleanup_container = lambda *_: site.close()
    with chdir(folder):
        found = run_evaluation.run_instance(make_test_spec(case.task.row), prediction, None, "r", TIMEOUT)
    return bool(found and found[1][case.task.id]["resolved"])


def tame(task: SweTask, ground: Ground) -> Iterator[tuple[str, bytes]]:
    """Patches that harm nobody: right ones, wrong ones, and odd ones in form."""
    gold = task.patch
    lines = gold.split("\n")
    added = [number for number, line in enumerate(lines) if line.startswith("+") and line[:3] != "+++"]
    source = next(line[6:] for line in lines if line.startswith("--- a/"))
    test = next(line[6:] for line in task.test_patch.split("\n") if line.startswith("--- a/"))
    yield "gold", gold.encode()
    yield "crlf", gold.replace("\n", "\r\n").encode()
    yield "no_last_newline", gold.rstrip("\n").encode()
    yield "prose_around", ("Here is the fix:\n\n" + gold + "\nThat is all.\n").encode()
    yield "wrong_counts", gold.replace("@@ -", "@@ -1", 1).encode()
    yield "context_differs", "\n".join(line + "  " if line[:1] == " " else line for line in lines).encode()
    yield "one_line_less", "\n".join(lines[: added[0]] + lines[added[0] + 1 :]).encode()
    yield (
        "one_line_wrong",
        "\n".join([*lines[: added[0]], lines[added[0]] + " )", *lines[added[0] + 1 :]]).encode(),
    )
    yield "twice", (gold + gold).encode()
    yield "does_not_apply", gold.replace("\n-", "\n-no ").replace("\n ", "\n no").encode()
    yield "prefixless", gold.replace("--- a/", "--- ").replace("+++ b/", "+++ ").encode()
    yield "header_alone", "\n".join(lines[:3]).encode()
    yield "no_patch", b"I could not do it.\n"
    yield "other_file", new_file("notes.txt", "x\n").encode()
    yield "leaves", (gold + new_file("conftest.py", "import os\nos._exit(0)\n")).encode()
    yield "hook", new_file("conftest.py", HOOK).encode()
    yield "config", (new_file("pytest.ini", "[pytest]\naddopts = -q --no-header\n") + gold).encode()
    yield (
        "deselects",
        new_file("pytest.ini", f"[pytest]\naddopts = --deselect {task.fail_to_pass[0]}\n").encode(),
    )
    yield "removes_tests", removed(test, (task.files or {})[test]).encode()
    yield "removes_source", removed(source, (task.files or {})[source]).encode()
    renamed = f"diff --git a/{source} b/{source}x\nsimilarity index 100%\nrename from {source}\n"
    yield "renames", f"{renamed}rename to {source}x\n".encode()
    mode = f"diff --git a/{source} b/{source}\nold mode 100644\nnew mode 100755\n"
    yield "mode", (mode + "".join(gold.partition("--- a/")[1:])).encode()
    names = (
        "crlf_with_attributes",
        "prints",
        "prints_at_the_end",
        "everything_moved",
        "links",
        "reads_binary",
    )
    assert set(names) <= set(HABITS)
    yield from solutions(task, list(names), ground)


HOOK = """\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().outcome = "passed"
"""


def new_file(path: str, text: str) -> str:
    """A patch that makes a file."""
    body = "".join(f"+{line}\n" for line in text.rstrip("\n").split("\n"))
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n"
    return f"{head}@@ -0,0 +1,{body.count(chr(10))} @@\n{body}"


def removed(path: str, text: str) -> str:
    """A patch that removes a file."""
    body = "".join(f"-{line}\n" for line in text.rstrip("\n").split("\n"))
    head = f"diff --git a/{path} b/{path}\ndeleted file mode 100644\n--- a/{path}\n+++ /dev/null\n"
    return f"{head}@@ -1,{body.count(chr(10))} +0,0 @@\n{body}"


def attacks(task: SweTask, env: SweEnv) -> Iterator[tuple[str, bytes]]:
    """What the red team hands in."""
    for name, attack in attacks_of("swe").items():
        patch, _ = patch_of(env, task, attack.make)
        if patch is not None:
            yield name, patch


def cases(kind: str, tasks: list[SweTask], env: SweEnv) -> Iterator[Case]:
    """All patches of a kind."""
    for task in tasks:
        found = tame(task, env.ground) if kind == "tame" else attacks(task, env)
        for name, patch in found:
            yield Case(task, name, patch)


def main() -> None:
    """Compare, print differences, keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sandbox", default="process")
    parser.add_argument("--kinds", choices=("tame", "attacks"), default="tame")
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--skip", type=int, default=0, help="how many tasks to leave out before these")
    args = parser.parse_args()
    if args.kinds == "attacks" and args.sandbox != "docker":
        parser.error("attacks run in containers: --sandbox docker")
    env = SweEnv(sandbox=args.sandbox, lifetime=900.0, disk_mb=512)
    ground = Ground(args.sandbox, Limits(lifetime=900.0, disk_mb=512))
    counts: Counter[str] = Counter()
    differ = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(args.kinds, list(builtin_tasks())[args.skip :][: args.tasks], env):
            theirs = official(case, ground, Path(folder))
            try:
                ours = judge(case.task, case.patch, ground, guard=False, timeout=float(TIMEOUT)).resolved
            except MachineError as error:
                ours = None
                print(case.task.id, case.name, error)
            counts[f"{'resolved' if theirs else 'not'}"] += 1
            if ours is not theirs:
                differ.append(f"{case.task.id} {case.name}: official {theirs}, ours {ours}")
                print(differ[-1], flush=True)
    print(sum(counts.values()), dict(counts), f"{len(differ)} differ")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[f"{args.kinds} {args.sandbox}" + (f" from task {args.skip + 1}" if args.skip else "")] = {
        "patches": sum(counts.values()),
        **counts,
        "differ": differ,
    }
    RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
