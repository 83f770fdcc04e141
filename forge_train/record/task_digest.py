"""What tasks a run has, so that a run whose tasks were changed under it does not go on as if nothing were.

`tasks.json` of the run folder holds, for training and for judging and for each world, every task's id with a
digest of its content: all that `find` of the world says of it (the goal, the gold, the hidden tests), the id
apart. A world that knows no tasks by name has none; nor have tasks of training that no update comes to, for
some worlds make a task when they are asked for it, and thousands of them would be made for nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from forge_train.record.run_folder import write_atomic

Contents = dict[str, str | None]
"""By task id the digest of its content; None where it is not known."""
Tasks = dict[str, dict[str, Contents]]
"""By purpose ("train", "eval") and world."""

SHOWN = 3
"""Tasks of one kind of change that are named."""


def digest_of(content: Any) -> str | None:
    """12 hex digits of a task's content; equal for equal content, whatever the process. None of nothing."""
    plain = _plain(content)
    if dataclasses.is_dataclass(content):
        plain[1].pop("id", None)  # two tasks with the same content are the same task
    if plain is None or plain == [type(content).__qualname__, {}]:
        return None
    return _hash(plain)


def digest_of_all(contents: Contents) -> str:
    """12 hex digits of a set of tasks, ids and contents, whatever their order."""
    return _hash(sorted((task, content or "") for task, content in contents.items()))


def changes(before: Tasks, now: Tasks) -> list[str]:
    """How tasks differ, a line for each kind of change; what either does not know is no difference."""
    lines = []
    for purpose in sorted(before.keys() | now.keys()):
        old_worlds, new_worlds = before.get(purpose, {}), now.get(purpose, {})
        for world in sorted(old_worlds.keys() | new_worlds.keys()):
            old, new = old_worlds.get(world, {}), new_worlds.get(world, {})
            kinds = {
                "gone": [task for task in old if task not in new],
                "new": [task for task in new if task not in old],
                "of another content": [t for t, c in old.items() if c and new.get(t) not in (None, c)],
            }
            lines += [f"{purpose}, {world}: {_some(found)} {kind}" for kind, found in kinds.items() if found]
            if not lines and list(old) != list(new):
                lines.append(f"{purpose}, {world}: the same tasks in another order")
    return lines


def same_content(tasks: Tasks) -> list[tuple[str, str]]:
    """Pairs of a training and a held-out task, of any worlds, with the same content."""
    trained = {c: task for world in tasks["train"].values() for task, c in world.items() if c}
    return [
        (trained[content], task)
        for world in tasks["eval"].values()
        for task, content in world.items()
        if content in trained
    ]


def settle(path: Path, now: Tasks, *, allowed: bool) -> list[str]:
    """Write `now` to `path`; returns how it differs from what stood there.

    Raises ValueError with every kind of change, unless they are `allowed`. What only the old one knew stays.
    """
    before: Tasks = json.loads(path.read_bytes()) if path.exists() else {}
    found = changes(before, now) if before else []
    if found and not allowed:
        raise ValueError(
            f"{path.parent}: its tasks are not those it began with:\n  " + "\n  ".join(found) + "\n"
            "restore them, choose another run.out, or set run.changed_tasks = true to go on with the new "
            "ones (scores from before and after are then of different tasks)"
        )
    merged = {
        purpose: {
            world: {t: c or before.get(purpose, {}).get(world, {}).get(t) for t, c in contents.items()}
            for world, contents in worlds.items()
        }
        for purpose, worlds in now.items()
    }
    write_atomic(path, json.dumps(merged, ensure_ascii=False, separators=(",", ":")).encode())
    return found


def _some(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - SHOWN} more" if len(tasks) > SHOWN else ""
    return ", ".join(tasks[:SHOWN]) + more


def _hash(plain: Any) -> str:
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _plain(value: Any) -> Any:
    """`value` as JSON, the same in every process: no addresses, no order of sets; of an object its kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [type(value).__qualname__, fields]
    if isinstance(value, Mapping):
        return sorted(([_plain(k), _plain(v)] for k, v in value.items()), key=json.dumps)
    if isinstance(value, Set):
        return sorted(map(_plain, value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return hashlib.blake2b(value, digest_size=6).hexdigest()
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    return str(value) if isinstance(value, Path) else type(value).__qualname__
