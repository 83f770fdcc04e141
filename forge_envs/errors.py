"""Three kinds of failure that are never mixed.

The agent's own mistake is no exception at all: it is told to the agent and scored. `ToolError` is the
world's refusal. `MachineError` is a failure of what the world runs on. Anything else is a bug.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from numbers import Integral
from reprlib import Repr
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


class NotInstalled(ImportError):
    """A world needs what is not installed here; the text is the command that installs it."""


class TaskError(ValueError):
    """An unknown task id or a task file that cannot be used; the text names the value and the fix."""


class NotGiven(ValueError):
    """A world needs something that has no default, such as a folder; the text names it."""


def one_of(name: str, value: object, known: Collection[Any]) -> None:
    """Check an argument of a world's constructor; ValueError unless it is one of `known`."""
    if value not in known:
        raise ValueError(f"{name}={value!r}: known are {', '.join(map(str, known))}")


class _Brief(Repr):
    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write a number of more than 4,300 digits.
        return f"<a number of {x.bit_length()} bits>" if x.bit_length() > 1024 else super().repr_int(x, level)


_brief = _Brief()
_brief.maxstring = _brief.maxother = _brief.maxlong = 60
_brief.maxlevel = 3


def brief(value: object) -> str:
    """A value as a message names it: whoever sent it decides how long it is, and we how much is read back.

    >>> brief("a" * 1000), brief(10**5000), brief([[[[1]]]])
    ("'aaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaa'", '<a number of 16610 bits>', '[[[...]]]')
    """
    return _brief.repr(value)


def check_options(options: object) -> None:
    """Raise ValueError for `options` of a `reset` that are no dict or hold more than a task."""
    if not isinstance(options, Mapping | None):
        raise ValueError(f'options {brief(options)}: reset takes a dict, options={{"task": id}}')
    unknown = sorted(map(brief, set(options or ()) - {"task"}))
    if unknown:
        raise ValueError(f'options [{", ".join(unknown)}] are unknown; reset takes options={{"task": id}}')


def check_count(n: object) -> None:
    """Raise ValueError for the `n` of a `task_ids` that is no number of tasks."""
    if n is not None and not (isinstance(n, Integral) and int(n) >= 0):
        raise ValueError(f"n={brief(n)}: a whole number of tasks is needed; None asks for as many as usual")


def task_asked(options: Mapping[str, Any] | None) -> str | None:
    """The task that checked `options` of a `reset` ask for. Raises TaskError for one that is no text.

    >>> task_asked({"task": "train/0"}), task_asked({}), task_asked(None)
    ('train/0', None, None)
    """
    task = (options or {}).get("task")
    if not isinstance(task, str | None):
        raise TaskError(f"task {brief(task)}: a task is asked for by its id, which is text")
    return task
