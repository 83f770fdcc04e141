"""What a server answers instead of what was asked for. It never looks like a reward."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.errors import MachineError, brief

STATUS = {
    "machine": 502,
    "malformed": 400,
    "token": 401,
    "forbidden": 403,
    "unknown": 404,
    "late": 408,
    "busy": 409,
    "turn": 409,
    "gone": 410,
    "large": 413,
    "argument": 422,
    "bug": 500,
    "full": 503,
    "closing": 503,
}
"""Kinds of fault and their HTTP status. A machine failure has kinds of its own, and the first status."""


class Fault(Exception):
    """A request that got no answer; `retryable` says whether the same one may get one later."""

    def __init__(self, kind: str, message: str, *, retryable: bool = False, stage: str = "server") -> None:
        super().__init__(message)
        self.kind, self.retryable, self.stage = kind, retryable, stage
        self.status = STATUS.get(kind, STATUS["machine"])

    @classmethod
    def of(cls, error: MachineError) -> Fault:
        """A machine failure as it is told to a client."""
        fault = cls(error.kind, str(error), retryable=error.retryable, stage=error.stage)
        fault.status = STATUS["machine"]
        return fault

    def as_dict(self) -> dict[str, Any]:
        """The body of the answer; the inner record is that of `MachineError.as_dict`."""
        return {
            "error": {
                "kind": self.kind,
                "stage": self.stage,
                "retryable": self.retryable,
                "message": str(self),
            }
        }

    def body(self) -> bytes:
        """The same, as it is sent."""
        return json.dumps(self.as_dict()).encode()


def fields_told(found: Sequence[Mapping[str, Any]], skip: int = 0) -> str:
    """What pydantic found in a form, field by field, with the values; `skip` leaves out how it came.

    >>> fields_told([{"type": "int", "loc": ("body", "n"), "msg": "it must be 1 or more", "input": -1}], 1)
    'n=-1: it must be 1 or more'
    """
    told = []
    for one in found[:5]:
        name = ".".join(map(str, one["loc"][skip:]))
        if one["type"] not in ("missing", "json_invalid", "model_attributes_type"):
            name += f"={brief(one['input'])}"
        told.append(f"{name}: {one['msg']}")
    return "; ".join(told)[:500]


def written(told: Mapping[str, Any]) -> str:
    """An answer as JSON. Raises Fault where the world told what is none: NaN, or an object of its own."""
    try:
        return json.dumps(told, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise Fault("bug", f"the world's answer is no JSON: {error}", stage="step") from error
