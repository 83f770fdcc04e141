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
from typing import Any

from forge_envs.messages import Message
from forge_envs.people.replies import calls_of, content_of

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
        for number, line in enumerate(_read(file).split("\n"), 1):  # text may hold other ends of a line
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
    task, messages, world = info.get("task"), _talk(info.get("messages")), info.get("world", "")
    if not isinstance(task, str) or not isinstance(world, str) or messages is None:
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


def _talk(messages: Any) -> list[Message] | None:
    """Messages of the OpenAI form with all that they say as text, native calls in the Hermes grammar."""
    if not isinstance(messages, list):
        return None
    talk: list[Message] = []
    for one in messages:
        if not isinstance(one, dict) or one.get("role") not in _ROLES:
            return None
        try:
            said = [content_of(one), *(calls_of(one) if one["role"] == "assistant" else ())]
        except (KeyError, TypeError):
            return None
        if "content" not in one and not any(said):
            return None
        talk.append({**one, "content": "\n".join(filter(None, said))})  # type: ignore[typeddict-item]
    return talk
