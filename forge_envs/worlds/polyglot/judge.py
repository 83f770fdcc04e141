"""Runs an exercise's tests on what the agent wrote, in a fresh box, and says what really passed."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from shlex import quote

from forge_envs.errors import MachineError
from forge_envs.sandbox import Limits, Result, Sandbox, provider
from forge_envs.sandbox.beside import Beside, let_go
from forge_envs.sandbox.disk import RESERVE
from forge_envs.sandbox.waiting import waiting
from forge_envs.worlds.polyglot.exercise import Exercise
from forge_envs.worlds.polyglot.hidden import without_tests
from forge_envs.worlds.polyglot.languages import LANGUAGES, Control, Language, Results
from forge_envs.worlds.polyglot.languages.base import NOTHING, REPORT, Changed
from forge_envs.worlds.polyglot.toolchain import host_environment

LIMITS = Limits(cpus=2.0, memory_mb=2048, pids=512, disk_mb=1024, lifetime=900.0)
UNPACKING = 60.0
"""Seconds to lay out an exercise, which are not taken from its time."""
KILLED = 137
"""Status of a run that was killed from outside, for memory or disk."""
CONTROLS = 2
"""How often a control run that was cut short is tried."""
DRAWS = (False, False, False, True)
"""Controls that are drawn until gold can make one fail, and whether they are plain."""
ALTERED = "Files that are not yours to edit were changed while the tests ran."
UNNOTICED = "With these files the test runner does not notice which tests fail."
CUT_SHORT = "The tests passed, and were cut short by what they ran when they ran again."
SHOWN = 5_000
"""Characters of the output's head, and of its tail, that the agent reads."""


@dataclass(frozen=True, slots=True)
class AnswerVerdict:
    """What a run of the tests showed."""

    passed: bool
    """All tests ran and passed, the runner said so, and it can tell a test that fails."""
    share: float
    """Share of the tests that passed; 1 only if `passed`."""
    output: str
    """What the agent may read: the runner's own output, without durations, places and the tests' text."""
    results: Results = NOTHING
    timed_out: bool = False
    command_passed: bool | None = None
    """Whether the exercise's own command says so, which is all that Aider's harness asks; None if not run."""


def judge(exercise: Exercise, files: Mapping[str, str], *, sandbox: str, timeout: float) -> AnswerVerdict:
    """Run the tests of `exercise` on `files` (path to text) within `timeout` seconds.

    Nothing survives a run: its box is fresh and is closed. A run of the published tests that looks passed is
    believed if no file that decides was changed meanwhile, and if in a second run, in a fresh box, a test
    that must fail is the only one to fail: one of the exercise's own in its place, with one expected value
    changed, drawn for the occasion. No box holds both forms of a test, so nothing tells one from the other.
    Where the reference solution cannot make it fail either, it was drawn badly, and another is drawn; the
    last is plain. The second run begins beside the first where it can (`Beside`). Raises MachineError, also
    where the tests fail and the host's disk is nearly full, and where the second run is cut short twice and a
    fresh box is not well.
    """
    language = LANGUAGES[exercise.language]
    if reason := language.foreign(exercise, files):
        return AnswerVerdict(False, 0.0, reason)
    control = language.control(_texts(exercise), random.SystemRandom())
    second = Beside[str](sandbox, lambda run: _doubt(exercise, files, control, sandbox, timeout, run.keep))
    try:
        found = tested(exercise, files, sandbox, timeout)
        if not found.passed:
            return found
        doubt = second.result()
    finally:
        second.drop()
    return _believed(exercise, files, found, control, doubt, sandbox, timeout)


def _believed(
    exercise: Exercise,
    files: Mapping[str, str],
    found: AnswerVerdict,
    control: Control,
    doubt: str,
    sandbox: str,
    timeout: float,
) -> AnswerVerdict:
    """What passed, unless a control says otherwise, of which the first was tried; others are drawn if it is
    the control that is to blame."""
    language = LANGUAGES[exercise.language]
    for number, plain in enumerate(DRAWS):
        if number:
            control = language.control(_texts(exercise), random.SystemRandom(), plain=plain)
            doubt = _doubt(exercise, files, control, sandbox, timeout)
        if doubt != UNNOTICED or plain or _gold_is_noticed(exercise, control, sandbox, timeout):
            break
    if doubt == CUT_SHORT and not _is_well(exercise, sandbox, timeout):
        text = f"the tests of {exercise.id} passed, and were cut short when they ran again"
        raise MachineError(text, kind="control", stage="sandbox", retryable=True)
    return replace(found, passed=False, share=0.0, output=doubt) if doubt else found


def tested(exercise: Exercise, files: Mapping[str, str], sandbox: str, timeout: float) -> AnswerVerdict:
    """The verdict on a run of the published tests alone, as the exercise's own command has it."""
    tests = LANGUAGES[exercise.language].unskipped(exercise.tests)
    with _laid_out(exercise, files, tests, sandbox, timeout) as run:
        verdict = run.test(timeout)
        changed = verdict.passed and run.has_changed()
        if changed or not verdict.passed:
            run.require_space()
    return replace(verdict, passed=False, share=0.0, output=ALTERED) if changed else verdict


def _doubt(
    exercise: Exercise,
    files: Mapping[str, str],
    control: Control,
    sandbox: str,
    timeout: float,
    keep: Callable[[Callable[[], None]], None] = lambda close: None,
) -> str:
    """Why not to believe a run that looks passed; empty where there is no reason. `keep` is told how its
    boxes are closed."""
    language = LANGUAGES[exercise.language]
    tests, changed = language.change(language.unskipped(exercise.tests), control)
    for _ in range(CONTROLS):
        with _laid_out(exercise, files, tests, sandbox, timeout) as run:
            keep(run.box.close)
            ran = run.run(language.command(exercise.name, exercise.tests), timeout)
            if ran.code != 0 and _notices(language, tests, changed, run.results(ran)):
                return ""
            run.require_space()
            if not ran.timed_out and ran.code != KILLED:
                return UNNOTICED
    return CUT_SHORT


def _notices(language: Language, tests: Mapping[str, str], changed: Changed, results: Results) -> bool:
    """Whether the changed test failed, and nothing else; of tests that share what was changed, some did."""
    failed = [name for name in results.failed if changed.may_fail(name)]
    ran = results.passed + results.failed
    return bool(failed) and len(failed) == len(results.failed) and not language.expected(tests) - ran


def _gold_is_noticed(exercise: Exercise, control: Control, sandbox: str, timeout: float) -> bool:
    """Whether the control does what it must with the reference solution; no without one."""
    if not exercise.example:
        return False
    return not _doubt(exercise, exercise.files(exercise.example), control, sandbox, timeout)


def _is_well(exercise: Exercise, sandbox: str, timeout: float) -> bool:
    """Whether a fresh box runs the tests of the reference solution to their end, or, where none is known, a
    command: then what was cut short was so by its own doing."""
    language = LANGUAGES[exercise.language]
    if exercise.example:
        return tested(exercise, exercise.files(exercise.example), sandbox, timeout).passed
    box = provider(sandbox).open(language.image, limits=LIMITS)
    try:
        return box.run(language.probe, timeout=UNPACKING, env=host_environment(sandbox)).code == 0
    finally:
        box.close()


def _texts(exercise: Exercise) -> dict[str, str]:
    """The texts of the tests, and of what lies beside them."""
    beside = {path: data.decode("utf-8", "replace") for path, data in exercise.support.items()}
    return {**beside, **exercise.tests}


def pack(files: Mapping[str, bytes], locked: Collection[str] = ()) -> bytes:
    """Files by path as a tar; those in `locked` are not writable."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o444 if path in locked else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


@contextmanager
def _laid_out(
    exercise: Exercise, files: Mapping[str, str], tests: Mapping[str, str], sandbox: str, timeout: float
) -> Iterator[_Run]:
    """A fresh box with the agent's files and the tests in it."""
    language = LANGUAGES[exercise.language]
    fixed = {**exercise.support, **{path: text.encode() for path, text in tests.items()}}
    limits = replace(LIMITS, lifetime=LIMITS.lifetime + timeout)
    box = provider(sandbox).open(language.image, limits=limits)
    try:
        run = _Run(box, exercise, language, fixed, host_environment(sandbox))
        run.lay_out({path: text.encode("utf-8", "replace") for path, text in files.items()})
        yield run
    finally:
        let_go(sandbox, box.close)


@dataclass(frozen=True, slots=True)
class _Run:
    """One box with one exercise in it."""

    box: Sandbox
    exercise: Exercise
    language: Language
    fixed: Mapping[str, bytes]
    """The files that are not the agent's, as they were laid out."""
    env: Mapping[str, str]

    @property
    def folder(self) -> str:
        return f"{self.box.workdir}/{self.exercise.name}"

    def lay_out(self, files: Mapping[str, bytes]) -> None:
        """Put the files where the tests run. On its own, so that no program of the agent's can fail it."""
        try:
            self.box.write("exercise.tar", pack({**files, **self.fixed}, self.fixed))
        except OSError as error:
            text = f"exercise {self.exercise.id} could not be written: {error}"
            raise MachineError(text, kind="unpack", stage="sandbox", retryable=True) from error
        done = self.run(f"mkdir -p {REPORT} && tar -xf ../exercise.tar && rm ../exercise.tar", UNPACKING)
        if done.code != 0:
            text = f"exercise {self.exercise.id} could not be unpacked: {done.output[-500:]}"
            raise MachineError(text, kind="unpack", stage="sandbox", retryable=True)

    def test(self, timeout: float) -> AnswerVerdict:
        """Run the tests."""
        language, tests = self.language, self.exercise.tests
        ran = self.run(language.command(self.exercise.name, tests), timeout)
        report, results = self._report(), self.results(ran)
        expected = language.expected(tests)
        total = max(expected.total(), results.total)
        missing = expected - results.passed
        passed = ran.code == 0 and not ran.timed_out and not results.failed and not missing
        share = 1.0 if passed else min(results.passed.total(), total - 1) / total
        hidden = [self.fixed[path].decode() for path in tests]
        said = without_tests(language.human(report, ran.output), hidden, language.begins)
        output = language.clean(clipped(said))
        output = output.replace(f"{self.folder}/", "").replace(self.folder, ".")
        if ran.timed_out:
            output = f"{output}\n\nTests timed out after {timeout:g} seconds.".lstrip()
        elif ran.code == 0 and not passed:
            output = f"{output}\n\nThe run ended before {', '.join(sorted(missing))[:500]} passed.".lstrip()
        return AnswerVerdict(passed, share, output, results, ran.timed_out, ran.code == 0)

    def results(self, ran: Result) -> Results:
        """Per-test results of a run."""
        return self.language.results(self._report(), ran.output)

    def has_changed(self) -> bool:
        """Whether files that are not the agent's are others than they were."""
        sums = "".join(f"{sha256(data).hexdigest()}  {path}\n" for path, data in self.fixed.items())
        return self.run(f"sha256sum --check --status <<'SUMS'\n{sums}SUMS\n", UNPACKING).code != 0

    def require_space(self) -> None:
        """Return if the disk that the box shares with its host has room, or if it has one of its own."""
        said = self.box.run("df --output=size,avail -B1 . | tail -1", timeout=UNPACKING).output.split()
        size, free = map(int, said) if len(said) == 2 and "".join(said).isdecimal() else (0, 0)
        if size > LIMITS.disk_mb << 20 and free < RESERVE:
            text = f"tests of {self.exercise.id} failed on a disk with {free >> 20} MB left: free some"
            raise MachineError(text, kind="disk_full", stage="sandbox", retryable=True)

    def run(self, command: str, timeout: float) -> Result:
        """Run a command in the exercise's folder."""
        there = f"mkdir -p {quote(self.folder)} && cd {quote(self.folder)} && rm -rf {REPORT}/report*"
        ends = 2 * SHOWN
        with waiting(f"the tests of {self.exercise.id}, which may take {timeout:g} s"):
            return self.box.run(f"{there}; {command}", timeout=timeout, env=self.env, head=ends, tail=ends)

    def _report(self) -> str:
        return (self._read(self.language.report) or b"").decode("utf-8", "replace")

    def _read(self, path: str) -> bytes | None:
        try:
            return self.box.read(f"{self.folder}/{path}")
        except (OSError, ValueError):  # gone, replaced by a folder, or grown past all measure
            return None


def clipped(text: str, ends: int = SHOWN) -> str:
    """The text's head and tail.

    >>> clipped("abcdefghij", 2)
    'ab\\n… 6 characters left out …\\nij'
    """
    left = len(text) - 2 * ends
    return text if left <= 0 else f"{text[:ends]}\n… {left} characters left out …\n{text[-ends:]}"
