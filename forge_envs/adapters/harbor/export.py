"""Writes tasks of a world as Harbor task folders, schema 1.4.

task.toml         name, timeouts, resources, no network, a separate verifier and the hook that feeds it
instruction.md    the world's own words for the task
environment/      Dockerfile and its files: buildable without any image of ours, with nothing hidden
tests/            test.sh, the task with its hidden tests, and judge/: the world's own judge as files
solution/         solve.sh
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gymnasium as gym

from forge_envs.adapters.harbor import polyglot, swe
from forge_envs.adapters.harbor.folder import FolderDraft, toml
from forge_envs.adapters.harbor.grade import SEPARATE
from forge_envs.adapters.harbor.vendor import judge_files
from forge_envs.env import AgentEnv
from forge_envs.worlds.polyglot.env import PolyglotEnv
from forge_envs.worlds.swe.env import SweEnv

SCHEMA = "1.4"
ORG = "forge"
BUILDING = 1_800.0
"""Seconds that an image may take; C++ parses its headers once, which takes two minutes."""
SPARE = 60.0
TEST = """\
#!/bin/bash
# Judges what the agent left with the world's own judge, tests/judge/. Writes /logs/verifier/reward.json and
# reward.txt; or, if a machine failed, neither.
set -u
here=$(cd "$(dirname "$0")" && pwd)
rm -f /logs/verifier/reward.json /logs/verifier/reward.txt
for python in python3 /usr/bin/python3 /opt/miniconda3/bin/python3; do
  if "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
    exec "$python" -I -B "$here/judge" "$here"
  fi
done
echo "forge: no reward, because there is no Python 3.11 or newer to judge with" >&2
exit 1
"""
_NAME = re.compile(r"[^a-z0-9._-]+")
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Refused(ValueError):
    """A world, or a way to play it, that no task folder can hold; the text says why."""


def export(
    world: str,
    args: Mapping[str, Any] | None = None,
    *,
    out: Path,
    tasks: Sequence[str] = (),
    split: str | None = None,
    n: int | None = None,
    org: str = ORG,
    force: bool = False,
) -> Iterator[Path]:
    """Write one folder below `out` for each of `tasks`, else for the first `n` of a split; yields paths.

    A folder is written whole or not at all. Raises what `gymnasium.make` raises, Refused, TaskError for an
    unknown task, ValueError for a folder that is there already (unless `force`, which replaces it) and for
    tasks whose images nobody else could build, and OSError.
    """
    if not _ORG.fullmatch(org) or ".." in org:
        raise ValueError(f"org={org!r}: letters, digits, '.', '_' and '-', a letter or digit first")
    made = gym.make(world, **(args or {}))
    try:
        env = made.unwrapped
        require_exportable(world, env)
        assert isinstance(env, SweEnv | PolyglotEnv)
        chosen = list(dict.fromkeys(tasks)) or env.task_ids(split or env.split, n)
        for task in chosen:
            env.find(task)
        places = _places(chosen, out, force)
        about = {"world": world, "args": json.dumps(args or {}, sort_keys=True), "forge_envs": _version()}
        out.mkdir(parents=True, exist_ok=True)
        for place, task in zip(places, chosen, strict=True):
            _write(place, _files(_draft(env, task), f"{org}/{_slug(world)}-{place.name}", about))
            yield place
    finally:
        made.close()


def require_exportable(world: str, env: gym.Env[Any, Any]) -> None:
    """Raises Refused."""
    if isinstance(env, SweEnv | PolyglotEnv):
        if env.turn_weight:
            raise Refused(
                f"turn_weight={env.turn_weight:g}: Harbor has one reward a task and no place for turn "
                "rewards; leave it at 0"
            )
        if isinstance(env, PolyglotEnv):
            try:
                polyglot.require(env)
            except ValueError as error:
                raise Refused(str(error)) from error
        return
    if not isinstance(env, AgentEnv):
        raise Refused(f"world {world!r} is no AgentEnv but {type(env).__name__}: it has no tasks to export")
    name = type(env).__name__
    why = {
        "NextTurn": "one turn of a conversation is judged by what is said in it, and a folder's verifier "
        "sees files, not the reply",
    }.get(
        name,
        "somebody answers the agent in the middle of the task, and the verdict is about a database that "
        "changes while they talk: a folder has an instruction, a container, a script, and nobody to talk to",
    )
    raise Refused(f"world {world!r} ({name}) cannot be a Harbor task folder: {why}")


def _draft(env: SweEnv | PolyglotEnv, task: str) -> FolderDraft:
    return swe.draft(env, task) if isinstance(env, SweEnv) else polyglot.draft(env, task)


# -- the folder ------------------------------------------------------------------------------------------


def _places(tasks: Sequence[str], out: Path, force: bool) -> list[Path]:
    """A folder for each task. Raises ValueError and NotADirectoryError."""
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is no folder")
    by_name: dict[str, str] = {}
    for task in tasks:
        name = _slug(task)
        if name in by_name:
            raise ValueError(
                f"tasks {by_name[name]!r} and {task!r} would both be called {name!r}; export one"
            )
        by_name[name] = task
    there = [name for name in by_name if (out / name).exists()]
    if there and not force:
        raise ValueError(
            f"{out / there[0]} is there already ({len(there)} of {len(by_name)}); --force replaces"
        )
    return [out / name for name in by_name]


def _slug(text: str) -> str:
    """A name that Harbor, Docker and file systems take.

    >>> _slug("contest/train/1/0"), _slug("forge__Ledger-2")
    ('contest-train-1-0', 'forge__ledger-2')
    """
    return _NAME.sub("-", text.lower().removeprefix("forge/")).strip("-._") or "task"


def _files(draft: FolderDraft, name: str, about: Mapping[str, str]) -> dict[str, bytes]:
    """All files of a folder."""
    judge = judge_files(draft.judge)
    tests = {
        "test.sh": TEST.encode(),
        "take.sh": draft.take.encode(),
        "task.json": (
            json.dumps({"judge": draft.judge, **draft.stored}, indent=1, ensure_ascii=False) + "\n"
        ).encode(),
        **{f"judge/{path}": data for path, data in judge.items()},
    }
    parts = {"environment": draft.environment, "tests": tests, "solution": draft.solution}
    found = {f"{part}/{path}": data for part, files in parts.items() for path, data in files.items()}
    found["instruction.md"] = draft.instruction.encode()
    found["task.toml"] = _task_toml(draft, name, about).encode()
    return found


def _task_toml(draft: FolderDraft, name: str, about: Mapping[str, str]) -> str:
    machine = {
        "build_timeout_sec": BUILDING,
        "cpus": draft.resources["cpus"],
        "memory_mb": draft.resources["memory_mb"],
        "storage_mb": draft.resources["disk_mb"],
        "network_mode": "no-network",
    }
    user = {"user": draft.user} if draft.user else {}
    text = toml(
        {
            "": {"schema_version": SCHEMA},
            "task": {
                "name": name,
                "version": about["forge_envs"],
                "description": f"{draft.task} of {about['world']}, a world of Forge",
                "keywords": ["forge", *draft.keywords],
            },
            "metadata": {
                **about,
                "task": draft.task,
                "oracle": "solution/"
                if draft.solution
                else "none: no solution is known, so nothing proves it",
                "differs_from_the_world": list(draft.differs),
            },
            "environment": machine,
            **({"environment.env": dict(draft.variables)} if draft.variables else {}),
            "agent": {"timeout_sec": draft.agent_seconds, **user},
            "verifier": {
                "timeout_sec": draft.verifier_seconds,
                "user": "root",
                "environment_mode": "separate",
            },
            "verifier.environment": machine,
            "verifier.environment.env": {SEPARATE: "1"},
            "verifier.collect": [{"user": "root", "timeout_sec": 240.0, "command": draft.take}],
        }
    )
    return f"{text}\n"


def _write(place: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder whole: beside its place first, then in it."""
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for path, data in files.items():
            file = part / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(0o755 if file.suffix == ".sh" else 0o644)
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _version() -> str:
    try:
        return version("forge-envs")
    except PackageNotFoundError:  # a checkout on the path
        return "unknown"
