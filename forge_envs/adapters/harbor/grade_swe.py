"""Judges a patch of the repository at /testbed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_envs.adapters.harbor.grade import Grade
from forge_envs.adapters.harbor.stored import swe_task
from forge_envs.sandbox import Limits
from forge_envs.worlds.swe.judge import PatchVerdict, judge
from forge_envs.worlds.swe.site import Ground


def grade(stored: Mapping[str, Any], left: Path | None, sandbox: str) -> Grade:
    """The world's verdict on the patch. Raises MachineError."""
    found = PatchVerdict(False, "there is no patch")
    if left is not None:
        ground = Ground(sandbox, Limits(**stored["limits"]))
        found = judge(
            swe_task(stored["task"]),
            left.read_bytes(),
            ground,
            guard=stored["guard"],
            timeout=stored["timeout"],
        )
    if found.log:
        print(found.log)
    return Grade(float(found.resolved), found.parts, found.reason)
