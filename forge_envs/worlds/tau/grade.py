"""The verdict on an episode, by the rule of the official evaluator.

Source: τ²-bench `evaluator/`, τ-bench `envs/base.py`, retold in `reference/benchmarks.md` §2.1, §2.2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from forge_envs.messages import ToolCall
from forge_envs.people.judges import Verdict
from forge_envs.rewards import Score
from forge_envs.worlds.tau.benchmark import Benchmark
from forge_envs.worlds.tau.domain import Desk
from forge_envs.worlds.tau.task import TauTask


class Standing(NamedTuple):
    """How far an episode has come: `right` of `rows` that gold or the agent changed, `told` of `to_tell`,
    `met` of `asserted`, `made` of `to_make` calls.
    """

    right: int
    rows: int
    told: int
    to_tell: int
    met: int
    asserted: int
    made: int
    to_make: int

    @property
    def share(self) -> float:
        """What of it is done, in [0, 1]; 1 where there is nothing to do."""
        total = self.rows + self.to_tell + self.asserted + self.to_make
        return (self.right + self.told + self.met + self.made) / total if total else 1.0


def standing(
    task: TauTask,
    benchmark: Benchmark,
    desk: Desk,
    told: Collection[int],
    calls: Sequence[ToolCall],
    *,
    guard: bool,
) -> Standing:
    """Compare a desk's rows, what was said and what was called with what a task's basis asks for."""
    right = rows = 0
    if "DB" in task.basis and task.gold is not None:
        right, rows = benchmark.agreement(task, desk)
    to_tell = len(task.communicate) if "COMMUNICATE" in task.basis else 0
    met = asserted = made = to_make = 0
    if "ENV_ASSERTION" in task.basis and task.conditions:
        met, asserted = benchmark.met(task, desk), len(task.conditions)
    if "ACTION" in task.basis and task.gold:
        made = sum(any(gold.matches(call, guard=guard) for call in calls) for gold in task.gold)
        to_make = len(task.gold)
    return Standing(right, rows, len(told) if to_tell else 0, to_tell, met, asserted, made, to_make)


def verdict(task: TauTask, at: Standing, judged: Sequence[Verdict] = ()) -> Score:
    """The product of what the task's basis names, as far as we can tell it (`TauTask.gap`).

    `judged` are a judge's verdicts on the task's assertions; without any, they count for nothing. They are
    told among the parts even where the basis leaves them out.
    """
    parts: dict[str, float] = {}
    if "DB" in task.basis:
        parts["db"] = float(at.right == at.rows)
    if "ENV_ASSERTION" in task.basis and at.asserted:
        parts["env_assertion"] = float(at.met == at.asserted)
    if "COMMUNICATE" in task.basis:
        parts["communicate"] = float(at.told == at.to_tell)
    if "ACTION" in task.basis:
        parts["action"] = float(at.made == at.to_make)
    outcome = 1.0
    for value in parts.values():
        outcome *= value
    if judged:
        met = parts["nl_assertions"] = float(all(found.met for found in judged))
        outcome *= met if "NL_ASSERTION" in task.basis else 1.0
    return Score(outcome, parts)
