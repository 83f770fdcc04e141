"""Three kinds of failure that are never mixed.

The agent's own mistake is no exception at all: it is told to the agent and scored. `ToolError` is the
world's refusal. `MachineError` is a failure of what the world runs on. Anything else is a bug.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any


class ToolError(Exception):
    """The world refuses a well-formed call; the text is shown to the agent."""


class MachineError(Exception):
    """Something outside the world's rules failed: a container, a user model, a server.

    The episode ends truncated with `info["error"]`; it is never scored 0 and never trained on.

    >>> MachineError("no answer within 30 s", kind="timeout", stage="user", retryable=True).as_dict()
    {'kind': 'timeout', 'stage': 'user', 'retryable': True, 'message': 'no answer within 30 s'}
    """

    def __init__(self, message: str, *, kind: str, stage: str, retryable: bool) -> None:
        super().__init__(message)
        self.kind = kind
        self.stage = stage
        self.retryable = retryable

    def __reduce__(self) -> tuple[partial[MachineError], tuple[()]]:
        return partial(MachineError, **self.as_dict()), ()  # it crosses from a worker process to its parent

    def as_dict(self) -> dict[str, Any]:
        """What `info["error"]` holds."""
        return {
            "kind": self.kind,
            "stage": self.stage,
            "retryable": self.retryable,
            "message": str(self),
        }


class TaskError(ValueError):
    """An unknown task id or a task file that cannot be used; the text names the value and the fix."""


class NotGiven(ValueError):
    """A world needs something that has no default, such as a folder; the text names it."""


def one_of(name: str, value: object, known: Collection[Any]) -> None:
    """Check an argument of a world's constructor; ValueError unless it is one of `known`."""
    if value not in known:
        raise ValueError(f"{name}={value!r}: known are {', '.join(map(str, known))}")
