"""Exercises and contests as task folders: the stubs in, the whole folder out, the hidden tests run once."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import PurePosixPath

from forge_envs.adapters.harbor.folder import FolderDraft
from forge_envs.adapters.harbor.recipes import on_debian
from forge_envs.adapters.harbor.stored import store_puzzle
from forge_envs.errors import TaskError
from forge_envs.worlds.polyglot import wording
from forge_envs.worlds.polyglot.contests.problem import Contest
from forge_envs.worlds.polyglot.env import PolyglotEnv
from forge_envs.worlds.polyglot.exercise import Puzzle
from forge_envs.worlds.polyglot.judge import CONTROLS, LIMITS, UNPACKING
from forge_envs.worlds.polyglot.languages import LANGUAGES

USER = "forge"
ABOVE = "/exercise"
"""Is root's, so that the agent cannot do away with the folder that commands start in."""
AGENT = 1_800.0
"""Seconds; the world itself has no clock, and its agent has one turn."""
SPARE = 120.0
LEAVES = "answer.tar"
WORDS = """\
The files lie in {folder}: write your solution there, in these very files. Nothing needs to be submitted:
when you stop, the hidden tests run once on the files as they are then, and what you say is not read. There is
no network. The container has the tools of the language, and neither tests nor build files.
"""
TAKE = """\
set -u
out=/logs/artifacts
mkdir -p "$out" && rm -rf "$out/{leaves}" "$out/refused.txt"
if cd {folder}; then
  find . -xdev -type f -size -4000k \\( {patterns} \\) -print0 | sort -z \\
    | tar --null --no-recursion -cf "$out/.part" -T - && mv "$out/.part" "$out/{leaves}"
else
  echo "the folder is gone" > "$out/refused.txt"
fi
"""
SOLVE = """\
#!/bin/bash
# A solution that earns 1.
set -e
cp -r "$(dirname "$0")/files/." {folder}/
"""


def require(env: PolyglotEnv) -> None:
    """Raises ValueError for what no folder can hold."""
    if env.tries != 1:
        raise ValueError(
            f"tries={env.tries}: after a failed try the agent reads what the hidden tests say, and a folder "
            "judges once, when the agent is done; give --arg tries=1"
        )


def draft(env: PolyglotEnv, task_id: str) -> FolderDraft:
    """The folder of one exercise. Raises TaskError."""
    task = env.find(task_id)
    folder = f"{ABOVE}/{task.name}"
    dockerfile, files = on_debian(LANGUAGES[task.language].image)
    dockerfile += (
        f"\nCOPY {json.dumps(['files', folder])}\n"
        f"RUN chown -R {USER}:{USER} {shlex.quote(folder)}\nUSER {USER}\nWORKDIR {folder}\n"
    )
    files |= {f"files/{path}": text.encode() for path, text in task.stubs.items()}
    asked = wording.task(task.prompt, task.language, task.stubs)
    return FolderDraft(
        task=task.id,
        instruction=f"{asked}\n\n{WORDS.format(folder=folder)}",
        environment={"Dockerfile": dockerfile.encode(), **files},
        solution=_solution(env, task, folder),
        judge="polyglot",
        stored={"task": store_puzzle(task), "leaves": LEAVES, "user": USER, "timeout": env.timeout},
        take=_take(task, folder),
        user=USER,
        agent_seconds=AGENT,
        verifier_seconds=(1 + CONTROLS) * env.timeout + 2 * UNPACKING + SPARE,
        resources=asdict(LIMITS),
        keywords=(task.language, "contest" if isinstance(task, Contest) else "exercise"),
        differs=(
            "The agent works in a container with its own tools; in the world it answers once, with text.",
            "Nothing is submitted: the files are judged as they are when the agent stops.",
        ),
    )


def _solution(env: PolyglotEnv, task: Puzzle, folder: str) -> dict[str, bytes]:
    try:
        env.gold(task)
    except TaskError:
        return {}
    solve = SOLVE.format(folder=shlex.quote(folder))
    return {"solve.sh": solve.encode(), **{f"files/{p}": text.encode() for p, text in task.example.items()}}


def _take(task: Puzzle, folder: str) -> str:
    suffixes = sorted({PurePosixPath(path).suffix for path in task.stubs})
    patterns = " -o ".join(f"-name {shlex.quote('*' + suffix)}" for suffix in suffixes)
    return TAKE.format(leaves=LEAVES, folder=shlex.quote(folder), patterns=patterns)
