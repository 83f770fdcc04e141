"""Which bug is tried next, and which of those tried becomes a task."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_envs.make_swe.kinds import Bug
from forge_envs.make_swe.lab import Baseline

MOST = 0.5
"""Share of the tests that a bug may break."""


class Chooser:
    """Hands out bugs so that kinds, files and functions take turns; the same seed gives the same order."""

    def __init__(self, bugs: Iterable[Bug], seed: int) -> None:
        dice = random.Random(seed)
        groups: dict[tuple[str, str, str], list[Bug]] = defaultdict(list)
        for bug in bugs:
            groups[bug.kind, bug.path, bug.function].append(bug)
        order = sorted(groups)
        dice.shuffle(order)
        for group in groups.values():
            dice.shuffle(group)
        self._groups = {key: groups[key] for key in order}
        self._tried: Counter[tuple[str, ...]] = Counter()
        self._kept: Counter[tuple[str, ...]] = Counter()

    def next(self) -> Bug | None:
        """The next bug to try, None when all were."""
        if not self._groups:
            return None
        key = min(self._groups, key=self._weight)
        group = self._groups[key]
        bug = group.pop()
        if not group:
            del self._groups[key]
        self._tried.update(_names(bug))
        return bug

    def keep(self, bug: Bug) -> None:
        """This bug became a task, others take their turn."""
        self._kept.update(_names(bug))

    def _weight(self, key: tuple[str, str, str]) -> float:
        kind, path, function = key
        weights = (((kind,), 1.0), ((path, function), 1.0), ((path,), 0.2), (key, 1.0))
        return sum(weight * (2 * self._kept[name] + self._tried[name]) for name, weight in weights)


def _names(bug: Bug) -> list[tuple[str, ...]]:
    return [(bug.kind,), (bug.path,), (bug.path, bug.function), (bug.kind, bug.path, bug.function)]


@dataclass(frozen=True)
class Trial:
    """How a change did."""

    reason: str
    """Why it is no task; empty if it may be one."""
    failed: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    failures: Mapping[str, Any] = field(default_factory=dict)
    """What the driver tells of those that failed."""


def weigh(result: Mapping[str, Any], base: Baseline, *, most: float = MOST) -> Trial:
    """Whether a run of the tests makes a task of a change."""
    if result["end"] != "done":
        return Trial(str(result["end"]))
    if result["broken"] or result["exit"] not in (0, 1):
        return Trial("collection")
    if result["stage"] == "quick":
        return Trial("survived")
    tests = result["tests"]
    if any(nodeid not in tests for nodeid in base.good):
        return Trial("tests vanish")
    passed = tuple(nodeid for nodeid in base.good if tests[nodeid] == "passed")
    failed = tuple(nodeid for nodeid in base.good if tests[nodeid] in ("failed", "error"))
    if not failed or not any(nodeid in result["failures"] for nodeid in failed):
        return Trial("survived")
    if not passed or len(failed) > most * len(base.good):
        return Trial("nearly all fail")
    failures = {nodeid: result["failures"][nodeid] for nodeid in failed if nodeid in result["failures"]}
    return Trial("", failed, passed, failures)
