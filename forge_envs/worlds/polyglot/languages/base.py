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
    """The draw of a second run, in which one test must fail, and no other.

    It is one of the exercise's own tests in its own place and under its own name, with one expected value
    changed. Where `plain`, or where no test can be changed, it is one more that compares two numbers.
    """

    name: str
    """Of the plain test, made of words of its neighbours."""
    seed: int = 0
    """Decides which test and which value."""
    plain: bool = False

    @property
    def chance(self) -> random.Random:
        """The same choices at every call."""
        return random.Random(self.seed)


@dataclass(frozen=True, slots=True)
class Changed:
    """The one test file that is another in the second run."""

    text: str
    failing: str
    """The test that must fail; "" where tests share what was changed, and any of them may."""

    def may_fail(self, name: str) -> bool:
        """Whether the test of this name may fail: the changed one, or a part of it."""
        whole = self.failing
        return not whole or name == whole or name.startswith((f"{whole}/", f"{whole}["))


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

    `command` runs the tests as they are and must succeed, and runs them in another box, with one changed by
    `change`, where it must fail for its sake alone. It ends at no test that fails.
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

    @abstractmethod
    def retell(self, text: str, control: Control) -> Changed | None:
        """A test file with one expected value changed in its place; None where none can be."""

    def change(self, tests: Mapping[str, str], control: Control) -> tuple[dict[str, str], Changed]:
        """The test files, as `unskipped` leaves them, for the second run, and the one that is another."""
        if not control.plain:
            for path in control.chance.sample(list(tests), len(tests)):
                if (told := self.retell(tests[path], control)) is not None:
                    return {**tests, path: told.text}, told
        for path, text in tests.items():
            planted = {**tests, path: self.plant(text, control)}
            for name in self.expected(planted) - self.expected(tests):
                return planted, Changed(planted[path], name)
        raise ValueError(f"no test of {self.name} can be planted in {', '.join(tests)}")

    @abstractmethod
    def command(self, name: str, tests: Mapping[str, str]) -> str:
        """The exercise's own test command. Exit status 0 means all passed."""

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

    def clean(self, output: str) -> str:
        """The output without what differs from run to run."""
        for pattern in self.noise:
            output = re.sub(pattern, "", output, flags=re.MULTILINE)
        return output.strip()
