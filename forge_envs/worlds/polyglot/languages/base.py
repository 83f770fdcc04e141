"""What a language must say so that its exercises can be judged."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from forge_envs.worlds.polyglot.exercise import Puzzle

REPORT = ".forge"
"""Folder inside the exercise's for what the test runner reports to a file."""


@dataclass(frozen=True, slots=True)
class Control:
    """A test that must fail: a run in which it passes, or is not even seen, was not an honest one.

    `name` is drawn anew for each judgement, in the form that every language takes for a test's name.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Results:
    """What the runner reported: name and verdict of each test, names as often as they occur."""

    passed: Counter[str]
    failed: Counter[str]

    @property
    def total(self) -> int:
        """How many tests ran."""
        return self.passed.total() + self.failed.total()

    @classmethod
    def of(cls, verdicts: list[tuple[str, bool]]) -> Results:
        """From a list of (name, whether it passed)."""
        passed = Counter(name for name, good in verdicts if good)
        return cls(passed, Counter(name for name, good in verdicts if not good))


NOTHING = Results(Counter(), Counter())


class Language(ABC):
    """Runs an exercise's own test command, and reads per-test results from what it leaves behind.

    The control test is planted in the tests from the start. `command` leaves it out and must succeed;
    `control_command` runs it among the others and must fail for its sake alone.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    fence: ClassVar[str]
    """What stands after the backticks of a code block."""
    tools: ClassVar[tuple[str, ...]]
    """Programs it needs, looked for on PATH where the sandbox is `process`."""
    probe: ClassVar[str]
    """A command that fails without the tools and otherwise prints their version first."""
    least: ClassVar[tuple[int, ...]]
    """The oldest version that will do."""
    install: ClassVar[str]
    """What to type where tools are missing."""
    begins: ClassVar[str]
    """A pattern of a test's first line."""
    addable: ClassVar[str] = ""
    """What the agent is told of files that it may add, with a blank in front."""
    noise: ClassVar[tuple[str, ...]] = ()
    """Patterns of what differs from run to run in the output, such as durations; they are cut out."""

    @property
    def image(self) -> str:
        """The image of its boxes."""
        return f"forge/polyglot-{self.name}"

    @abstractmethod
    def expected(self, tests: Mapping[str, str]) -> Counter[str]:
        """Names of the tests that stand in the test files, skipped ones included."""

    def unskipped(self, tests: Mapping[str, str]) -> dict[str, str]:
        """The test files with tests switched on that are published as skipped, to be taken in turn."""
        return dict(tests)

    @abstractmethod
    def plant(self, text: str, control: Control) -> str:
        """A test file with the control test at its end."""

    def prepare(self, tests: Mapping[str, str], control: Control) -> dict[str, str]:
        """The test files as they are run: nothing skipped, and the control test planted in the first."""
        ready = self.unskipped(tests)
        first = next(iter(ready))
        return {**ready, first: self.plant(ready[first], control)}

    @abstractmethod
    def command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """The exercise's own test command, without the control test. Exit status 0 means all passed."""

    @abstractmethod
    def control_command(self, name: str, tests: Mapping[str, str], control: Control) -> str:
        """Run all tests and the control test; nothing is built anew."""

    @abstractmethod
    def results(self, report: str, output: str) -> Results:
        """Per-test results from the report file and from the output; none where nothing ran."""

    @property
    @abstractmethod
    def report(self) -> str:
        """Path of the report file inside the exercise's folder."""

    def human(self, report: str, output: str) -> str:
        """What the agent reads of a run."""
        return output

    def may_add(self, path: str, puzzle: Puzzle) -> bool:
        """Whether the agent may make this new file."""
        return False

    def clean(self, output: str, control: Control) -> str:
        """The output without what differs from run to run."""
        for pattern in self.noise:
            output = re.sub(pattern, "", output.replace(control.name, "control"), flags=re.MULTILINE)
        return output.strip()
