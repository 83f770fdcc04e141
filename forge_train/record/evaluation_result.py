"""What an evaluation found: per task, and over tasks with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from forge_train.trajectory import Trajectory

STOPPED = ("failed", "deadline", "cancelled")
"""Endings that machines or the clock decided, and not the player."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over tasks and what another draw of tasks could have given: see `intervals`.

    >>> print(Estimate(0.5, 0.25, 0.75, tasks=40, asked=40))
    50.0% [25.0, 75.0]
    >>> print(Estimate(1.0, None, None, tasks=1, asked=40))
    100.0%, no interval, 1 of 40 tasks
    """

    mean: float
    low: float | None
    """None where there is no interval: one task tells nothing about others."""
    high: float | None
    tasks: int
    """Tasks with enough graded plays to count."""
    asked: int
    """Tasks that were to be played."""

    @property
    def interval(self) -> str:
        """The interval in percent, or that there is none."""
        if self.low is None or self.high is None:
            return "no interval"
        return f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def __str__(self) -> str:
        text = f"{self.mean:.1%}{',' if self.low is None else ''} {self.interval}"
        return text if self.tasks == self.asked else f"{text}, {self.tasks} of {self.asked} tasks"


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The plays of one task that were graded, and those that a failing machine took away."""

    task: str
    plays: int
    successes: int
    failed: int
    mean_verdict: float | None
    """None when no play was graded."""
    mean_turns: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found. Estimates are missing (None) where no task had enough graded plays."""

    world: str
    repeats: int
    pass_at: dict[int, Estimate]
    pass_hat: dict[int, Estimate]
    mean_verdict: Estimate | None
    mean_turns: float | None
    endings: dict[str, int]
    """Every play by how it ended, failed ones included."""
    tasks: list[TaskResult] = field(repr=False)
    silent: int = 0
    """Plays in which the player did not say a word."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Of the plays that machines or the clock stopped: why, and how many."""
    usage: dict[str, int] = field(default_factory=dict)
    """Requests and tokens of all plays, failed ones included, as the endpoint counted them; {} for others."""

    digest: str | None = None
    """Of the tasks that were judged, ids and contents: see `forge_train.record.task_digest`."""

    @property
    def ungraded(self) -> int:
        """Plays that a failing machine took away: they stand in no estimate."""
        return sum(task.failed for task in self.tasks)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Success of a single play had all that is ungraded been lost, or won; None where all is graded.

        Whoever is taken away may not be like the others: what breaks a machine is often the long episode.
        """
        if not self.ungraded:
            return None
        asked = [task.plays + task.failed for task in self.tasks]
        low = fmean(task.successes / n for task, n in zip(self.tasks, asked, strict=True))
        high = fmean((task.successes + task.failed) / n for task, n in zip(self.tasks, asked, strict=True))
        return low, high

    @property
    def pass_1(self) -> Estimate | None:
        """Success rate of a single play: pass@1 and pass^1 are the same number."""
        return self.pass_at.get(1)

    @property
    def plays(self) -> int:
        """All plays, however they ended."""
        return sum(self.endings.values())

    @property
    def stopped(self) -> int:
        """Plays that machines or the clock stopped."""
        return sum(self.endings.get(ending, 0) for ending in STOPPED)

    @property
    def counts(self) -> bool:
        """Whether at least half of the plays came to an end of their own."""
        return self.pass_1 is not None and 2 * self.stopped <= self.plays

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        data = asdict(self)
        for name in ("pass_at", "pass_hat"):
            data[name] = {str(k): estimate for k, estimate in data[name].items()}
        return data

    def as_event(self) -> dict[str, Any]:
        """As the event log and the report know it: flat, names as people say them."""
        first = self.pass_1
        return {
            "world": self.world,
            "pass@1": first.mean if first else None,
            "low": first.low if first else None,
            "high": first.high if first else None,
            "counted": first.tasks if first else 0,
            "asked": len(self.tasks),
            "pass@k": {str(k): e.mean if e else None for k, e in self.pass_at.items()},
            "pass^k": {str(k): e.mean if e else None for k, e in self.pass_hat.items()},
            "ungraded": self.ungraded,
            "bounds": self.bounds,
            "turns": self.mean_turns,
            "endings": self.endings,
            "reasons": self.reasons,
            "digest": self.digest,
            "tasks": self.as_dict()["tasks"],
            **({"usage": self.usage} if self.usage else {}),
        }

    def table(self) -> list[tuple[str, str]]:
        """Rows of (what, value) to show a person."""
        rows = [(f"pass@{k}", str(estimate)) for k, estimate in self.pass_at.items()]
        rows += [(f"pass^{k}", str(estimate)) for k, estimate in self.pass_hat.items() if k > 1]
        if self.bounds is not None:
            low, high = self.bounds
            rows.append((f"with {self.ungraded} ungraded plays lost, or won", f"{low:.1%} to {high:.1%}"))
        if self.mean_verdict is not None:
            rows.append(("mean outcome", str(self.mean_verdict)))
        if self.mean_turns is not None:
            rows.append(("mean turns", f"{self.mean_turns:.1f}"))
        rows += [(f"ended: {ending}", str(count)) for ending, count in sorted(self.endings.items())]
        rows += [(f"stopped by {reason}", str(count)) for reason, count in self.reasons.items()]
        rows += [(name.replace("_", " "), f"{count:,}") for name, count in self.usage.items()]
        if self.digest is not None:
            rows.append(("digest of the tasks", self.digest))
        return rows


def reasons(played: Iterable[Trajectory]) -> dict[str, int]:
    """Why plays were stopped that did not end by themselves, the most frequent reason first."""
    found: Counter[str] = Counter()
    for trajectory in played:
        if trajectory.ending == "failed":
            error = trajectory.info.get("error") or {}
            told = str(error.get("message") or "").strip().splitlines()
            where = f"{error.get('kind', 'failure')} in {error.get('stage', 'play')}"
            found[f"{where}: {told[0][:160]}" if told else where] += 1
        elif trajectory.ending not in ("terminated", "max_turns"):
            found[ENDED.get(trajectory.ending, trajectory.ending)] += 1
    return dict(found.most_common())


ENDED = {
    "deadline": "the deadline (a longer --deadline or rollout.deadline_s)",
    "context": "max_context (a longer --max-context or rollout.max_context)",
    "tokens": "max_action (a longer --max-action or rollout.max_action)",
}
"""What stopped a play, and what gives it more room."""


def lost_of(event: Mapping[str, Any]) -> str:
    """Plays of an evaluation event that machines or the clock stopped; nothing when there are none.

    >>> lost_of({"endings": {"terminated": 30, "deadline": 8, "failed": 2}})
    '10 of 40'
    """
    endings = event.get("endings") or {}
    stopped = sum(endings.get(ending, 0) for ending in STOPPED)
    return f"{stopped} of {sum(endings.values())}" if stopped else ""


def shares(tasks: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Share of success by task, from `TaskResult`s as an event holds them; those with no graded play are out.

    >>> shares([{"task": "a", "plays": 4, "successes": 1}, {"task": "b", "plays": 0, "successes": 0}])
    {'a': 0.25}
    """
    return {str(t["task"]): t["successes"] / t["plays"] for t in tasks if t["plays"]}
