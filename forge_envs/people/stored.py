"""Episodes that somebody stored: the plays and data of `forge-train collect`, the rollouts of a run or of
`forge-train eval --out`, and any JSON lines with a task and messages in the OpenAI form.
"""

from __future__ import annotations

import gzip
import json
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from forge_envs.messages import Message

_ROLES = ("system", "user", "tool", "assistant")


@dataclass(frozen=True)
class Stored:
    """One stored episode."""

    where: str
    """File and line, for whoever has to look."""
    world: str
    """Id of the world; "" where the file does not say."""
    args: Mapping[str, Any]
    """The world's arguments, as far as they are known."""
    task: str
    messages: list[Message] = field(repr=False)
    """Everything said: the opening, then the agent's actions as role `assistant`, and the answers."""
    ending: str
    """How it ended, as the trainer names it; "" where the file does not say."""
    failed: bool
    """A machine failed: nothing can be said of whoever took part."""


def read_stored(path: Path) -> Iterator[Stored]:
    """The episodes of a file (.jsonl or .jsonl.gz), or of a folder that a command of `forge-train` wrote.

    Raises ValueError that names file, line and what is wrong there.
    """
    for file in _files(path):
        known, found = _worlds(file), False
        for number, line in enumerate(_read(file).splitlines(), 1):
            if line.strip():
                found = True
                yield _episode(line, f"{file}, line {number}", known)
        if not found:
            raise ValueError(f"{file} holds no episodes: it is empty")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / "plays.jsonl").is_file():  # all of them, where episodes.jsonl has the best alone
        return [path / "plays.jsonl"]
    files = sorted(path.glob("rollouts/*.jsonl*"))
    if not files:
        raise ValueError(f"{path} holds neither plays.jsonl nor rollouts/: give a file of episodes")
    return files


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _worlds(file: Path) -> dict[str, dict[str, Any]]:
    """The worlds of the run that a file of rollouts belongs to, by the name that its episodes carry."""
    config = file.parent.parent / "config.toml"
    if file.parent.name != "rollouts" or not config.is_file():
        return {}
    try:
        worlds = tomllib.loads(config.read_text(encoding="utf-8"))["worlds"]
        return {one.get("name") or one["id"].rpartition(":")[2]: one for one in worlds}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{config} is no config of a run: {error!r}") from None


def _episode(line: str, where: str, known: Mapping[str, dict[str, Any]]) -> Stored:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error}); is the file cut off?") from None
    if not isinstance(data, dict):
        raise ValueError(f"{where} is no JSON object")
    info = data["info"] if isinstance(data.get("info"), dict) else data
    task, messages, world = info.get("task"), info.get("messages"), info.get("world", "")
    if not isinstance(task, str) or not isinstance(world, str) or not _is_talk(messages):
        raise ValueError(f'{where} is no episode: it needs a "task", and "messages" with role and content')
    told = known.get(world, {})
    args = data.get("args", told.get("args", {}))
    if not isinstance(args, dict):
        raise ValueError(f'{where}: "args" are the world\'s arguments by name, not {args!r:.60}')
    return Stored(
        where=where,
        world=told.get("id", world),
        args=args,
        task=task,
        messages=messages,
        ending=str(data.get("ending") or ""),
        failed=bool(info.get("error")) or data.get("ending") == "failed",
    )


def _is_talk(messages: Any) -> TypeGuard[list[Message]]:
    return isinstance(messages, list) and all(
        isinstance(one, dict) and one.get("role") in _ROLES and isinstance(one.get("content"), str)
        for one in messages
    )
