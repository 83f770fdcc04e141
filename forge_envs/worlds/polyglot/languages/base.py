"""What a language must say so that its exercises can be judged."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from forge_envs.worlds.polyglot.exercise import Puzzle

REPORT = ".forge"
"""Folder inside the exercise's for what the test runner reports to a file."""


@dataclass(frozen=True, slots=True)
class Control:
    """A test that must fail: a run in which it passes, or is not even seen, was not an honest one.

    It is one of the exercise's own tests, told once more beside itself with one expected value changed. Where
    `plain`, or where no test can be retold, it compares two numbers. `Language.control` draws one for each
    judgement.
    """

    name: str
    """In the form that the language takes for a test's name, of words of its neighbours."""
    seed: int = 0
    """Decides which test and which value."""
    plain: bool = False

    @property
    def chance(self) -> random.Random:
        """The same choices at every call."""
        return random.Random(self.seed)


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

    def control(self, tests: Mapping[str, str], rng: random.Random, *, plain: bool = False) -> Control:
        """A control under a name of this language's kind that is no part of the tests' text."""
        text = "\n".join(tests.values()).lower()
        names = " ".join(self.expected(tests))
        words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]{2,}", names)} - {"test", "control"}
        known = sorted(words | {"other", "more", "with", "after", "twice", "again"})
        while True:
            name = self.named(rng.sample(known, rng.randint(3, 4)))
            if name.lower() not in text:
                return Control(name, rng.getrandbits(32), plain)

    def named(self, words: Sequence[str]) -> str:
        """A test's name of these words."""
        return "_".join(words)

    @abstractmethod
    def plant(self, text: str, control: Control) -> str:
        """A test file with a plain control test at its end."""

    def retell(self, text: str, control: Control) -> str | None:
        """A test file in which one of its tests is told once more, with one expected value changed, as the
        control; None where none can be."""
        return None

    def altered(self, tests: Mapping[str, str], control: Control) -> dict[str, str]:
        """The test files, as `prepare` leaves them, that are others when the control runs: with one expected
        value changed in place, where tests are rows of a table that several share."""
        return {}

    def prepare(self, tests: Mapping[str, str], control: Control) -> dict[str, str]:
        """The test files as they are run: nothing skipped, and the control among the tests of one of them."""
        ready = self.unskipped(tests)
        if not control.plain:
            for path in control.chance.sample(list(ready), len(ready)):
                if (told := self.retell(ready[path], control)) is not None:
                    return {**ready, path: told}
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

    def foreign(self, puzzle: Puzzle, files: Mapping[str, str]) -> str:
        """Why these files are not an answer: they put things where only libraries do; empty if they are."""
        return ""

    def may_add(self, path: str, puzzle: Puzzle) -> bool:
        """Whether the agent may make this new file."""
        return False

    def clean(self, output: str, control: Control) -> str:
        """The output without what differs from run to run."""
        for pattern in self.noise:
            output = re.sub(pattern, "", output.replace(control.name, "control"), flags=re.MULTILINE)
        return output.strip()
