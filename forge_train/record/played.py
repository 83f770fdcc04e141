"""What became of groups, as the journal tells it to whoever chooses what is played next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_train.trajectory import Trajectory, branch_of


@dataclass(frozen=True, slots=True)
class Played:
    """What became of one group.

    >>> Played("retail", "t1", plays=8, solved=3).told()
    {'world': 'retail', 'task': 't1', 'plays': 8, 'solved': 3}
    """

    world: str
    task: str
    plays: int
    """Members that the policy ended, whatever became of them: failed machines say nothing."""
    solved: int

    @classmethod
    def of(cls, group: Sequence[Trajectory]) -> Played | None:
        """Of a group that was played; None for one without members.

        Neither branches of an episode nor judgements of it are plays of its task.
        """
        if not group or "task" not in group[0].info:
            return None
        whole = [t for t in group if not (t.is_judgement or t.is_grounded) and branch_of(t, 0).root]
        counted = [t for t in whole if t.ending not in ("failed", "cancelled")]
        solved = sum(t.solved for t in counted)
        return cls(str(group[0].info.get("world", "")), str(group[0].info["task"]), len(counted), solved)

    def told(self) -> dict[str, Any]:
        """As the journal has it."""
        return {"world": self.world, "task": self.task, "plays": self.plays, "solved": self.solved}


@dataclass(frozen=True, slots=True)
class RunSoFar:
    """What of a run so far decides what it plays next."""

    updates: Sequence[int] = ()
    """Of each group so far, the update that it was meant for."""
    taken: Mapping[int, Sequence[Played]] = field(default_factory=dict)
    """By update what became of the groups that it took, those without a lesson included."""
    warmed: Mapping[int, float] = field(default_factory=dict)
    """Temperatures that held-out tasks chose, by the update after which they did."""
