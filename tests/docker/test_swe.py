"""Forge/SWE-v0 in containers: the contract, images with a future, and the official harness's own verdicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  # registers the world
from forge_envs.grammars import BASH
from forge_envs.messages import ToolCall
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.testing import check_world
from forge_envs.worlds.swe.builtin import builtin_tasks, diff
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.site import Ground
from forge_envs.worlds.swe.task import SweTask, task_of

ID = "forge__ledger-2"
DOCKERFILE = """\
FROM forge/swe
USER root
COPY repository /testbed
RUN chown root:root /testbed && cd /testbed && git init -q -b main && git config user.name a \\
 && git config user.email a@b && git add -A && git commit -qm base
"""
FUTURE = """\
COPY gold.patch /tmp/gold.patch
RUN cd /testbed && git checkout -q -b next && git apply /tmp/gold.patch && git commit -qam SECRET-fix \\
 && git tag v2 && git checkout -q main && rm /tmp/gold.patch \\
 && git update-ref refs/remotes/origin/main next && echo SECRET-head > .git/FETCH_HEAD \\
 && { python3 -m pytest -q || true; }
"""
HOOK = """\
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    outcome.get_result().outcome = "passed"
"""

Build = Callable[[SweTask, str], str]


@pytest.fixture(scope="module")
def build(
    swe_image: str, engine: Engine, docker: DockerProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Build]:
    """Makes an image of a task's repository as published ones are: root's, with a `.git`; its name."""
    made: list[str] = []

    def build(task: SweTask, extra: str = "") -> str:
        folder = tmp_path_factory.mktemp("context")
        for path, text in (task.files or {}).items():
            place = folder / "repository" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        (folder / "gold.patch").write_text(task.patch)
        (folder / "Dockerfile").write_text(DOCKERFILE + extra)
        name = f"forge-test/{task.id}-{len(made)}:{os.getpid()}"  # another run may share the daemon
        with engine.asking(f"image {name}", patience=300.0):
            said = list(
                engine.api.build(
                    path=str(folder), tag=name, network_mode="none", rm=True, decode=True, timeout=300
                )
            )
        assert not any("error" in line for line in said), said[-5:]
        made.append(name)
        return name

    yield build
    docker.close()
    for name in made:
        engine.api.remove_image(name, force=True)


def own(task_id: str = ID) -> SweTask:
    return next(task for task in builtin_tasks() if task.id == task_id)


@pytest.mark.slow
@pytest.mark.parametrize("scaffold", [pytest.param("tools", marks=pytest.mark.matrix), "mini"])
def test_keeps_the_contract(swe_image: str, docker: DockerProvider, scaffold: str) -> None:
    check_world("Forge/SWE-v0", tasks=1, scaffold=scaffold, max_turns=3)


# -- images with a future ---------------------------------------------------------------------------------


def test_the_future_is_not_in_the_box(build: Build, tmp_path: Path) -> None:
    task = own()
    row = {**task.row, "image": build(task, FUTURE)}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    made = gym.make("Forge/SWE-v0", source=f"swebench:{tmp_path}/rows.json", scaffold="mini").unwrapped
    assert isinstance(made, SweEnv)
    made.reset(options={"task": ID})

    def bash(command: str) -> str:
        messages, *_ = made.step(BASH.write(calls=[ToolCall("bash", {"command": command})]))
        return messages[0]["content"]

    added = next(line[1:] for line in task.patch.splitlines() if line.startswith("+  ")).strip()
    dump = "git cat-file --batch-all-objects --batch-check='%(objectname)' | git cat-file --batch"
    for command in ("git log --all", "git tag; git branch -a; git reflog --all", dump, "grep -r SECRET .git"):
        said = bash(command)
        assert "SECRET" not in said and added not in said, (command, said)
    assert "base" in bash("git log --format=%s") and "origin" not in bash("git remote; git branch -a")
    assert "<output>\n\n</output>" in bash("find . -name '__pycache__' -o -name '.pytest_cache'")
    for action in made.gold_actions(ID):
        *_, info = made.step(action)
    assert info["outcome"] == 1.0, made.playing.verdict
    made.close()


# -- images of root's -------------------------------------------------------------------------------------

WAYS_OUT = (
    "rm -rf /bin /usr/bin",
    "rm -f /usr/bin/bash && printf '#!/bin/sh\\nsleep 1000' > /usr/bin/bash && chmod +x /usr/bin/bash",
)
"""What breaks a box from within, so that no command runs there any more."""


def test_who_breaks_the_box_loses_and_is_scored(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge_envs.sandbox.engine.BEGINNING", 10.0)  # seconds that a shell may say nothing
    row = {**own().row, "image": build(own())}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    source = f"swebench:{tmp_path}/rows.json"
    made = gym.make("Forge/SWE-v0", source=source, scaffold="mini").unwrapped
    assert isinstance(made, SweEnv)
    for command in WAYS_OUT:
        made.reset(options={"task": ID})
        made.step(made.gold_actions(ID)[0])
        for words in (command, "true", "true"):
            *_, terminated, truncated, info = made.step(
                BASH.write(calls=[ToolCall("bash", {"command": words})])
            )
            if terminated or truncated:
                break
        assert terminated and "error" not in info and info["outcome"] == 0.0, (command, info)
        assert made.playing.place._broken, "the box was broken: so it was an attack"
    solution = "import os; os.system('rm -rf /bin /usr/bin')"
    found = judge(task_of(row, "here"), added(solution), Ground("docker"), timeout=60.0)
    assert not found.resolved and found.applied
    made.close()


def added(line: str) -> bytes:
    """A patch that puts a line in front of what the hidden tests import."""
    files = dict(own().files or {})
    path = sorted(paths_of(own().patch))[0]
    return diff(files, {**files, path: f"{line}\n{files[path]}"}).encode()


# -- the official harness ---------------------------------------------------------------------------------


def patches(task: SweTask) -> dict[str, str]:
    """Patches by name; those that the harness can be fooled with too."""
    assert task.files is not None
    source = sorted(paths_of(task.patch))[0]
    tests = sorted(paths_of(task.test_patch))[0]
    files = dict(task.files)
    blank = dict.fromkeys([*files, "conftest.py"], "")
    lenient = files[tests].replace("assert ", "assert True or ")
    return {
        "gold": task.patch,
        "wrong": diff(files, {**files, source: files[source] + "\nx = 1\n"}),
        "broken": diff(files, {**files, source: "raise SystemExit(0)\n" + files[source]}),
        "edited-tests": diff(files, {**files, tests: lenient}),
        "conftest": diff({"conftest.py": blank["conftest.py"]}, {"conftest.py": HOOK}).replace(
            "--- a/conftest.py", "new file mode 100644\n--- /dev/null"
        ),
        "does-not-apply": task.patch.replace("@@ -", "@@ -9").replace("\n-", "\n-no "),
    }


def official(rows: list[dict[str, Any]], answers: dict[str, str], folder: Path) -> set[str]:
    """Ids that the unmodified harness of swebench resolves."""
    (folder / "rows.json").write_text(json.dumps(rows))
    lines = [
        {"instance_id": name, "model_name_or_path": "m", "model_patch": patch}
        for name, patch in answers.items()
    ]
    (folder / "predictions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = "--dataset_name rows.json --predictions_path predictions.jsonl --run_id r --timeout 300"
    done = subprocess.run(
        [sys.executable, "-m", "swebench.harness.run_evaluation", *words.split(), "--max_workers", "2"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )
    # its summary lists every container of the daemon, and fails if somebody else's goes meanwhile
    assert "All instances run." in done.stdout, done.stderr[-2000:]
    logs = folder / "logs" / "run_evaluation" / "r" / "m"
    assert {log.parent.name for log in logs.glob("*/run_instance.log")} == {n for n in answers if answers[n]}
    reports = [json.loads(report.read_text()) for report in logs.glob("*/report.json")]
    return {name for report in reports for name, found in report.items() if found["resolved"]}


def test_verdicts_are_those_of_the_official_harness(build: Build, tmp_path: Path) -> None:
    task = own()
    image = build(task, "")
    answers = {f"{ID}-{name}": patch for name, patch in {**patches(task), "empty": ""}.items()}
    rows = [{**task.row, "instance_id": name, "image": image} for name in answers]
    resolved = official(rows, answers, tmp_path)
    assert resolved == {f"{ID}-gold", f"{ID}-conftest"}, "the harness itself falls for conftest.py"
    for row in rows:
        name = row["instance_id"]
        patch = answers[name].encode()
        ours = judge(task_of(row, "here"), patch, Ground("docker"), guard=False, timeout=300.0)
        assert ours.resolved is (name in resolved), (name, ours)
        guarded = judge(
            task_of({**row, "evaluator": "forge"}, "here"), patch, Ground("docker"), timeout=300.0
        )
        assert guarded.resolved is (name == f"{ID}-gold"), (name, guarded)
