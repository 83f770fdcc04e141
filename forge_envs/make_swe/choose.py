"""Which bug is tried next, and which of those tried becomes a task."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_envs.make_swe.kinds import Bug
from forge_envs.make_swe.lab import Baseline

MOST = 0.5
"""Share of the tests that differences between releases may break."""
SEVERITY = 0.1
"""Share of the tests that a bug may break, where nothing else is asked for."""
FEW = 3
"""Tests that a bug may always break, however few there are."""
FIRST_TOUCH = frozenset(
    {"NameError", "UnboundLocalError", "SyntaxError", "ImportError", "ModuleNotFoundError"}
)
"""Exceptions that whoever made the change would have seen at once."""
CLUMSY = frozenset({"TypeError", "AttributeError"})
"""Exceptions that whoever made the change would have seen, if nothing that reaches it goes through."""
RARE = {
    "opposite_comparison": 4.0,
    "negated_condition": 4.0,
    "arithmetic": 3.0,
    "changed_text": 3.0,
    "augmented": 2.0,
    "boolean_operator": 2.0,
    "swapped_branches": 2.0,
    "shifted_index": 2.0,
    "flipped_flag": 2.0,
}
"""Kinds that people slip into more seldom than into others, by how much."""


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
        drawn = sum(weight * (2 * self._kept[name] + self._tried[name]) for name, weight in weights)
        return RARE.get(kind, 1.0) * (1.0 + drawn)


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


def weigh(
    result: Mapping[str, Any],
    base: Baseline,
    *,
    severity: tuple[float, float] = (0.0, MOST),
    reaching: Sequence[str] = (),
) -> Trial:
    """Whether a run of the tests makes a task of a change.

    `severity` is the least and the largest share of the tests that it may break, `reaching` are the tests
    that reach what was changed: a slip that none of several survives is none that a person would leave.
    """
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
    least, most = severity
    if not passed or len(failed) > max(most * len(base.good), min(FEW, MOST * len(base.good))):
        return Trial("too many fail")
    if len(failed) < least * len(base.good):
        return Trial("too few fail")
    told = [
        result["failures"][nodeid]["type"]
        for nodeid in failed
        if "type" in result["failures"].get(nodeid, {})
    ]
    if told and all(name in FIRST_TOUCH for name in told):
        return Trial("fails at first touch")
    clumsy = bool(told) and all(name in CLUMSY for name in told)
    if (clumsy or len(reaching) > FEW) and reaching and set(reaching) <= set(failed):
        return Trial("fails at first touch")
    failures = {nodeid: result["failures"][nodeid] for nodeid in failed if nodeid in result["failures"]}
    return Trial("", failed, passed, failures)
