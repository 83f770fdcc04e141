"""Judges a contest's program by what it answers. The right answers stay out of the box: there is
nothing in it that could be read, patched or printed to pass."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forge_envs.errors import MachineError
from forge_envs.sandbox import Sandbox, provider
from forge_envs.worlds.polyglot.contests.problem import FILE, Case, Contest, same_answer
from forge_envs.worlds.polyglot.judge import LIMITS, UNPACKING, AnswerVerdict, clipped, pack
from forge_envs.worlds.polyglot.languages import LANGUAGES, Results
from forge_envs.worlds.polyglot.toolchain import host_environment

LONGEST_ANSWER = 1_000_000
"""Bytes of an answer; the rest is cut off."""
SHOWN = 600
"""Characters of a case, or of what went wrong, that the agent reads."""
PYTHON = '"${FORGE_PYTHON:-python3}"'
CALL = f"""\
import json
import sys

given = json.load(sys.stdin)
sys.stdin = open("/dev/null")
said, sys.stdout = sys.stdout, sys.stderr
from {FILE.removesuffix(".py")} import solve

said.write(json.dumps(solve(*given)))
said.close()
"""
"""Calls `solve` for a unit case; what the solution prints goes elsewhere."""
EACH = f"""\
cd contest
for place in cases/*/; do
  timeout -k 1 LIMIT {PYTHON} PROGRAM <"$place/given" 2>"$place/error" \
    | head -c {LONGEST_ANSWER} >"$place/answer"
  echo "${{PIPESTATUS[0]}}" >"$place/status"
  tail -c 2000 "$place/error" >"$place/last" && rm -f "$place/error"
done
tar -cf ../answers.tar cases/*/answer cases/*/status cases/*/last
"""


@dataclass(frozen=True, slots=True)
class _Run:
    """What a program did with one case."""

    answer: str
    status: int
    error: str


def judge_contest(
    contest: Contest, files: Mapping[str, str], *, sandbox: str, timeout: float
) -> AnswerVerdict:
    """Run the program on every hidden case, `timeout` seconds for all together. Raises MachineError."""
    box = provider(sandbox).open(LANGUAGES[contest.language].image, limits=LIMITS)
    try:
        runs = _run_all(box, contest, files, host_environment(sandbox), timeout)
    finally:
        box.close()
    if runs is None:
        return AnswerVerdict(
            False, 0.0, f"All cases together took more than {timeout:g} seconds.", timed_out=True
        )
    good = [
        run.status == 0 and same_answer(contest.style, run.answer, case.answer)
        for run, case in zip(runs, contest.cases, strict=True)
    ]
    names = [(f"case {i}", passed) for i, passed in enumerate(good, 1)]
    share = sum(good) / len(good)
    return AnswerVerdict(all(good), share, _told(contest, runs, good), Results.of(names))


def _run_all(
    box: Sandbox, contest: Contest, files: Mapping[str, str], env: Mapping[str, str], timeout: float
) -> list[_Run] | None:
    """The program's answers case by case, None where the time did not last."""
    laid = {path: text.encode("utf-8", "replace") for path, text in files.items()}
    laid["call.py"] = CALL.encode()
    folders = [f"cases/{i:03}" for i in range(len(contest.cases))]
    for folder, case in zip(folders, contest.cases, strict=True):
        laid[f"{folder}/given"] = case.given.encode()
    box.write("contest.tar", pack(laid))
    ready = box.run("mkdir contest && tar -xf contest.tar -C contest", timeout=UNPACKING)
    if ready.code != 0:
        text = f"task {contest.id} could not be unpacked: {ready.output[-500:]}"
        raise MachineError(text, kind="unpack", stage="sandbox", retryable=True)
    program = FILE if contest.style == "stdin" else "call.py"
    script = EACH.replace("LIMIT", f"{contest.limit:g}").replace("PROGRAM", program)
    if box.run(script, timeout=timeout, env=env).timed_out:
        return None
    try:
        found = _unpack(box.read("answers.tar", limit=2 * LONGEST_ANSWER * len(folders)))
    except (OSError, ValueError, tarfile.TarError):
        found = {}  # the program did away with them, which is no failure of the machine's
    return [_run(found, folder) for folder in folders]


def _run(found: Mapping[str, bytes], folder: str) -> _Run:
    """One case; files that the program removed count as a program that failed."""
    text = {name: found.get(f"{folder}/{name}", b"").decode("utf-8", "replace") for name in _KEPT}
    status = text["status"].strip()
    return _Run(text["answer"], int(status) if status.isdecimal() else 1, text["last"])


_KEPT = ("answer", "status", "last")


def _unpack(data: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isfile() else None
            if file is not None:
                found[entry.name] = file.read(LONGEST_ANSWER)
    return found


def _told(contest: Contest, runs: Sequence[_Run], good: Sequence[bool]) -> str:
    """What the agent reads: how many cases passed, and the first that did not, without its right answer."""
    counts = Counter(good)
    text = f"{counts[True]} of {len(good)} hidden cases pass."
    if not counts[False]:
        return text
    at = good.index(False)
    return f"{text} Case {at + 1} does not: {_why(contest, contest.cases[at], runs[at])}"


def _why(contest: Contest, case: Case, run: _Run) -> str:
    if run.status in (124, 137):
        return f"the program took more than {contest.limit:g} seconds."
    if run.status != 0:
        return f"the program ended with status {run.status}.\n{clipped(run.error.strip(), SHOWN // 2)}"
    if not run.answer.strip():
        return "the program gave no answer."
    given, answer = (clipped(text.strip(), SHOWN // 2) for text in (case.given, run.answer))
    return f"the answer is wrong. Given:\n{given}\nAnswered:\n{answer}"
