"""What an episode is in OpenEnv's protocol, as plain JSON: for its own server, and for ours without it.

An observation holds the new messages; reward, outcome, parts and the rest of `info` travel as OpenEnv has
places for them: `reward`, `done`, and `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.env import AgentEnv
from forge_envs.errors import TaskError

NAME = "forge"
MOST_TASKS = 1000
"""Tasks of a split that are listed; those of worlds that generate have no end."""


def opened(messages: Sequence[Any], info: Mapping[str, Any], outcome: None = None) -> dict[str, Any]:
    """The answer to a reset."""
    metadata = {**info, "truncated": False}
    return {"messages": list(messages), "reward": None, "done": False, "metadata": metadata}


def acted(turn: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a step, from what `env.step` gives, by name."""
    return {
        "messages": list(turn["messages"]),
        "reward": turn["reward"],
        "done": turn["terminated"] or turn["truncated"],
        "metadata": {**turn["info"], "truncated": turn["truncated"]},
    }


def on_wire(observation: Mapping[str, Any]) -> dict[str, Any]:
    """An observation as OpenEnv's clients read it, its metadata in both places where they look."""
    metadata = observation["metadata"]
    return {
        "observation": {"messages": observation["messages"], "metadata": metadata},
        "reward": observation["reward"],
        "done": observation["done"],
        "metadata": metadata,
    }


def chosen_task(env: AgentEnv[Any, Any], task: object, split: object, index: object) -> str | None:
    """The task that a reset asks for, by id or as OpenEnv counts them; None lets the seed draw one.

    Raises TaskError.
    """
    if task is not None or (split is None and index is None):
        if not isinstance(task, str | None):
            raise TaskError(f"task={task!r}: a task is asked for by its id, which is text")
        if split is not None or index is not None:
            raise TaskError(f"task={task!r} with split={split!r}, index={index!r}: ask by one of the two")
        return task
    if split is not None and not isinstance(split, str):
        raise TaskError(f"split={split!r}: known are {', '.join(env.splits)}")
    if index is None:
        raise TaskError(f"split={split!r} without an index: say which of its tasks, counted from 0")
    if type(index) is not int or not 0 <= index < 1_000_000:
        raise TaskError(f"index={index!r}: a split's tasks are counted from 0")
    try:
        ids = env.task_ids(split, index + 1)
    except ValueError as error:
        raise TaskError(str(error)) from error
    if len(ids) <= index:
        raise TaskError(f"index={index}: split {split!r} has {len(ids)} tasks")
    return ids[index]


ACTION_SCHEMA: dict[str, Any] = {
    "title": "ForgeAction",
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What the agent says: prose, or calls in its grammar."},
        "metadata": {"type": "object", "additionalProperties": True},
    },
    "required": ["text"],
    "additionalProperties": False,
}
OBSERVATION_SCHEMA: dict[str, Any] = {
    "title": "ForgeObservation",
    "type": "object",
    "properties": {
        "messages": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "reward": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "done": {"type": "boolean"},
        "metadata": {"type": "object", "additionalProperties": True},
    },
    "required": ["messages"],
    "additionalProperties": False,
}
STATE_SCHEMA: dict[str, Any] = {
    "title": "ForgeState",
    "type": "object",
    "properties": {
        "episode_id": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "step_count": {"type": "integer", "minimum": 0},
    },
    "additionalProperties": True,
}
