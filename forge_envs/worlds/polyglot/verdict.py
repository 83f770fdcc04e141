"""The verdict on an answer, whatever kind of task it answers."""

from __future__ import annotations

from collections.abc import Mapping

from forge_envs.worlds.polyglot.contests.judge import judge_contest
from forge_envs.worlds.polyglot.contests.problem import Contest
from forge_envs.worlds.polyglot.exercise import Exercise, Puzzle
from forge_envs.worlds.polyglot.judge import AnswerVerdict, judge
from forge_envs.worlds.polyglot.wording import UNCHANGED


def verdict(task: Puzzle, files: Mapping[str, str], *, sandbox: str, timeout: float) -> AnswerVerdict:
    """How the agent's files do, within `timeout` seconds. Files as they were given fail untested.

    Raises MachineError.
    """
    if dict(files) == dict(task.stubs):
        return AnswerVerdict(False, 0.0, UNCHANGED)
    if isinstance(task, Contest):
        return judge_contest(task, files, sandbox=sandbox, timeout=timeout)
    assert isinstance(task, Exercise)
    return judge(task, files, sandbox=sandbox, timeout=timeout)
