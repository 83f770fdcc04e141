"""The verdict on an episode, by the rule of the official evaluator.

Source: τ²-bench `evaluator/`, τ-bench `envs/base.py`, retold in `reference/benchmarks.md` §2.1, §2.2.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from forge_envs.messages import ToolCall
from forge_envs.rewards import Score
from forge_envs.worlds.official.benchmark import Changes, Key, Wanted
from forge_envs.worlds.official.task import OfficialTask


def heard(task: OfficialTask, text: str, *, strict: bool = False) -> set[int]:
    """Which of the texts the agent must say are in this line, by index.

    The official rule looks for them anywhere in the lower-case line without its commas, so that "10" is said
    by "2010"; `strict` wants no letter or digit on either side.
    """
    line = text.lower().replace(",", "")
    wanted = enumerate(text.lower() for text in task.communicate)
    if not strict:
        return {n for n, want in wanted if want in line}
    return {n for n, want in wanted if re.search(rf"(?<!\w)(?<!\d\.){re.escape(want)}(?!\w)(?!\.\d)", line)}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an episode has come: `right` of `rows` that gold or the agent changed, `told` of `to_tell`."""

    right: int
    rows: int
    told: int
    to_tell: int

    @property
    def share(self) -> float:
        """What of it is done, in [0, 1]; 1 where there is nothing to do."""
        total = self.rows + self.to_tell
        return (self.right + self.told) / total if total else 1.0


def standing(
    task: OfficialTask, target: Mapping[Key, Wanted], changes: Changes, told: Collection[int]
) -> Standing:
    """Compare an episode's changes and what was said with what gold leaves and what must be said."""
    right = rows = 0
    if "DB" in task.basis and task.gold is not None:
        right = sum(key in target and target[key].equals(row) for key, row in changes.items())
        rows = len(target.keys() | changes.keys())
    to_tell = len(task.communicate) if "COMMUNICATE" in task.basis else 0
    return Standing(right, rows, len(told) if to_tell else 0, to_tell)


def verdict(task: OfficialTask, at: Standing, calls: Sequence[ToolCall], *, strict: bool = False) -> Score:
    """The product of what the task's basis names, as far as we can tell it (`OfficialTask.gap`)."""
    parts: dict[str, float] = {}
    if "DB" in task.basis:
        parts["db"] = float(at.right == at.rows)
    if "COMMUNICATE" in task.basis:
        parts["communicate"] = float(at.told == at.to_tell)
    if "ACTION" in task.basis:
        parts["action"] = float(_all_made(task, calls, strict))
    outcome = 1.0
    for value in parts.values():
        outcome *= value
    return Score(outcome, parts)


def _all_made(task: OfficialTask, calls: Iterable[ToolCall], strict: bool) -> bool:
    made = list(calls)
    return all(any(gold.matches(call, strict=strict) for call in made) for gold in task.gold or ())
