"""What a door is asked to play: tasks that exist, and a seed for each episode."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forge_envs.adapters.session import Session
from forge_envs.errors import TaskError
from forge_envs.messages import Observation


def asked_tasks(
    world: str,
    args: Mapping[str, Any] | None,
    tasks: Sequence[str] | None = None,
    split: str = "train",
    n: int | None = None,
) -> list[str]:
    """The tasks named, all of them known, or else the first `n` of a split.

    Raises TaskError for an unknown task or none at all, and what `Session` raises.
    """
    with Session(world, args) as session:
        return _known(session, tasks, split, n)


def openings(
    world: str,
    args: Mapping[str, Any] | None,
    tasks: Sequence[str] | None = None,
    split: str = "train",
    n: int | None = None,
) -> Iterator[tuple[Session, str, Observation]]:
    """Of each of these tasks in turn the session that has just begun it, its id and its opening.

    Raises as `asked_tasks`, and MachineError where a world needs a machine to begin.
    """
    with Session(world, args) as session:
        for task in _known(session, tasks, split, n):
            yield session, task, session.begin(task)


def _known(session: Session, tasks: Sequence[str] | None, split: str, n: int | None) -> list[str]:
    if isinstance(tasks, str):
        raise TaskError(f"tasks={tasks!r}: a list of ids is needed, as [{tasks!r}]")
    found = session.env.task_ids(split, n) if tasks is None else list(tasks)
    if not found:
        raise TaskError(f"no tasks of {session.world}: tasks={tasks!r}, split={split!r}, n={n}")
    for task in found if tasks is not None else ():
        session.env.find(task)
    return found


def at_least_one(**counts: int) -> None:
    """Raise ValueError, with its name, for a count below 1: a batch or a group of none trains nothing.

    >>> at_least_one(group_size=0)
    Traceback (most recent call last):
    ValueError: group_size=0: at least 1 is needed
    """
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}={count!r}: at least 1 is needed")


def json_object(text: str) -> dict[str, Any]:
    """Arguments of a world as somebody types them. Raises ArgumentTypeError."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'{text!r}: arguments are one JSON object, as {{"size": "small"}}')
    return found


def episode_seed(*parts: object) -> int:
    """A seed that follows from what names an episode, never from the order of arrival.

    >>> episode_seed(0, "retail/1", 3) == episode_seed(0, "retail/1", 3) != episode_seed(0, "retail/1", 4)
    True
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big")
