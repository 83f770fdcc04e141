"""What an evaluation found: per task, and over tasks with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over tasks and the interval that resampling the tasks gives.

    >>> print(Estimate(0.5, 0.25, 0.75, tasks=40))
    50.0% [25.0, 75.0]
    """

    mean: float
    low: float
    high: float
    tasks: int
    """Tasks with enough graded plays to count."""

    def __str__(self) -> str:
        return f"{self.mean:.1%} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


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
    usage: dict[str, int] = field(default_factory=dict)
    """Requests and tokens of all plays, failed ones included, as the endpoint counted them; {} for others."""

    @property
    def pass_1(self) -> Estimate | None:
        """Success rate of a single play: pass@1 and pass^1 are the same number."""
        return self.pass_at.get(1)

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
            "pass@1": first.mean if first else 0.0,
            "low": first.low if first else 0.0,
            "high": first.high if first else 0.0,
            "pass@k": {str(k): e.mean if e else None for k, e in self.pass_at.items()},
            "pass^k": {str(k): e.mean if e else None for k, e in self.pass_hat.items()},
            "turns": self.mean_turns or 0.0,
            "endings": self.endings,
            "tasks": self.as_dict()["tasks"],
            **({"usage": self.usage} if self.usage else {}),
        }

    def table(self) -> list[tuple[str, str]]:
        """Rows of (what, value) to show a person."""
        rows = [(f"pass@{k}", str(estimate)) for k, estimate in self.pass_at.items()]
        rows += [(f"pass^{k}", str(estimate)) for k, estimate in self.pass_hat.items() if k > 1]
        if self.mean_verdict is not None:
            rows.append(("mean outcome", str(self.mean_verdict)))
        if self.mean_turns is not None:
            rows.append(("mean turns", f"{self.mean_turns:.1f}"))
        rows += [(f"ended: {ending}", str(count)) for ending, count in sorted(self.endings.items())]
        rows += [(name.replace("_", " "), f"{count:,}") for name, count in self.usage.items()]
        return rows
