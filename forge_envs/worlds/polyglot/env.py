"""Forge/Polyglot-v0: programming exercises in six languages, two tries each, hidden tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from forge_envs.arguments import Seconds, known
from forge_envs.env import AgentEnv, GrammarName, MaxTurns, opening
from forge_envs.errors import TaskError, check_count, one_of
from forge_envs.messages import Message, Observation
from forge_envs.prose import ProseEnv, ProseEpisode, say
from forge_envs.rewards import Score
from forge_envs.sandbox import PROVIDERS
from forge_envs.sandbox.present import tell_missing
from forge_envs.worlds.polyglot import wording
from forge_envs.worlds.polyglot.contests.generator import LEVELS, Contests
from forge_envs.worlds.polyglot.edits import FORMATS, Answer, read_diff, read_whole, write_diff, write_whole
from forge_envs.worlds.polyglot.exercise import Puzzle
from forge_envs.worlds.polyglot.gaps import NO_EXAMPLE
from forge_envs.worlds.polyglot.judge import AnswerVerdict
from forge_envs.worlds.polyglot.languages import LANGUAGES
from forge_envs.worlds.polyglot.tasks import SPLITS, Exercises, Puzzles
from forge_envs.worlds.polyglot.toolchain import require
from forge_envs.worlds.polyglot.verdict import verdict


@dataclass
class PolyglotEpisode(ProseEpisode[Puzzle]):
    """One exercise being solved. A box is opened for a run of the tests and closed after it: none is here."""

    edited: dict[str, str] = field(default_factory=dict)
    """Files that the agent has changed or added, as they are now."""
    tries: list[bool] = field(default_factory=list)
    """Whether the tests passed, once for each time they ran."""
    share: float = 0.0
    """Share of the tests that passed when they last ran."""
    reflections: int = 0
    """Answers of this try that could not be used."""


class PolyglotEnv(ProseEnv[Puzzle, PolyglotEpisode]):
    """Programming exercises after the Aider polyglot benchmark, by its protocol: files are given, the agent
    answers with edits, hidden tests run, and where they fail the agent sees what they say and tries again.

    ## Action Space

    `Utterance`: any text, read as an answer in the `edit_format`: whole files, or search/replace blocks.
    There are no tools.

    ## Observation Space

    `Messages`: at first the system's and the exercise with its files; then what was wrong with the answer,
    or what the tests said.

    ## Rewards

    The outcome, 0 or 1, when the episode ends, plus `turn_weight` times each turn's reward. It is 1 if all
    hidden tests pass in one of the `tries`. A turn's reward is the change of the share of tests that pass,
    less a penalty for an answer that could not be used.

    ## Starting State

    An exercise as it is given, with the stubs of its files. The seed of `reset` draws it from the `split`,
    or `options={"task": id}` names it.

    ## Episode End

    Terminated when the tests pass or the tries are used up; truncated after `max_turns` actions; truncated
    without an outcome when a machine fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, and among the parts
    `first_try` (whether the first run passed), `tests` (the share that passed last) and `well_formed`
    (whether every answer could be used); `error` if a machine failed.

    ## Arguments

    - `source`: "builtin" (two tasks in each language), "contests" (problems without limit, in Python), or
      the path of a checkout of Aider-AI/polyglot-benchmark.
    - `language`: "python", "javascript", "go", "rust", "java", "cpp", or "all".
    - `split`: "train" or "test": what is drawn; the name of an exercise decides, in all languages the same.
    - `sandbox`: "docker", or "process", which uses the host's tools and is no jail.
    - `edit_format`: "whole" files, or "diff": search/replace blocks.
    - `level`: of contests: 1 one pass; 2 two pointers, sorting, stacks; 3 dynamic programming and shortest
      ways; 0 mixes them.
    - `timeout`: seconds that the tests may take, build included.
    - `tries`: how often the tests run. With more than 1 the agent sees what they say, as in Aider's
      protocol, and may answer a case that it has seen by heart; `forge_envs.worlds.polyglot.hidden` leaves
      tests that a program prints wholesale out of it.
    - `reflections`: unusable answers that a try forgives before the tests run on the files as they are.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv. By default no episode is
      cut short.

    ## Version History

    - v0: the first.
    """

    metadata: ClassVar[dict[str, Any]] = {**AgentEnv.metadata, "quick": False}  # type: ignore[misc]
    splits = SPLITS

    def __init__(
        self,
        *,
        source: str = "builtin",
        language: Annotated[str, known(("all", *LANGUAGES))] = "all",
        split: Annotated[str, known(SPLITS)] = "train",
        sandbox: Annotated[str, known(PROVIDERS)] = "docker",
        edit_format: Annotated[str, known(FORMATS)] = "whole",
        level: Annotated[int, known((0, *LEVELS))] = 0,
        timeout: Seconds = 180.0,
        tries: Annotated[int, Field(ge=1, le=100)] = 2,
        reflections: Annotated[int, Field(ge=0, le=100)] = 3,
        max_turns: MaxTurns | None = None,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        longest = max(2, tries * (1 + reflections))
        super().__init__(
            max_turns=longest if max_turns is None else max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        self.split, self.sandbox, self.edit_format = split, sandbox, edit_format
        self.timeout, self.tries, self.reflections = timeout, tries, reflections
        self.tasks = _tasks(source, language, level)
        if sandbox == "docker":
            names = LANGUAGES if language == "all" and source != "contests" else [language]
            tell_missing(LANGUAGES["python" if name == "all" else name].image for name in names)

    # -- the world ---------------------------------------------------------------------------------

    def begin(self, task: Puzzle) -> tuple[PolyglotEpisode, Observation]:
        """Show the task and its files. Raises MachineError where the language cannot be played."""
        require(task.language, self.sandbox)
        asked = Message(role="user", content=wording.task(task.prompt, task.language, task.stubs))
        return PolyglotEpisode(task), opening(
            wording.system(task.language, self.edit_format, self.tries), [asked]
        )

    def hear(self, text: str) -> Observation | None:
        """Read the answer, run the tests."""
        state = self.playing
        answer = self._read(text)
        state.edited.update(answer.changed)
        if answer.error is not None:
            state.malformed += 1
            state.reflections += 1
            left = self.reflections - state.reflections
            if left >= 0:
                return say(wording.malformed(answer.error, left))
        verdict = self._test()
        state.tries.append(verdict.passed)
        state.share, state.reflections = verdict.share, 0
        left = self.tries - len(state.tries)
        if verdict.passed or not left:
            return None
        notes = answer.notes if answer.error is None else (f"Your answer cannot be used: {answer.error}.",)
        return say(wording.failed(verdict.output, self._files, notes, left))

    def progress(self) -> float:
        """The share of the tests that passed when they last ran."""
        return self.playing.share

    def grade(self) -> Score:
        """1 if a run passed."""
        state = self.playing
        passed = float(any(state.tries))
        parts = {
            "first_try": float(state.tries[:1] == [True]),
            "tests": state.share,
            "well_formed": float(not state.malformed),
        }
        return Score(passed, parts)

    def gold(self, task: Puzzle) -> list[str]:
        """The example, in the format asked for. Raises TaskError for an exercise without a known solution."""
        if not task.example:
            wants = NO_EXAMPLE.get(task.id.partition("/")[2], "what is not here")
            raise TaskError(f"task {task.id!r} has no solution to show: its reference needs {wants}")
        fence = LANGUAGES[task.language].fence
        if self.edit_format == "diff":
            return [self.grammar.write(write_diff(task.example, task.stubs, fence))]
        return [self.grammar.write(write_whole(task.example, fence))]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """See AgentEnv."""
        check_count(n)
        one_of("split", split, (None, *SPLITS))
        return self.tasks.ids(split, n)

    def find(self, task_id: str) -> Puzzle:
        """Any exercise of the source, also of another language or split. Raises TaskError."""
        return self.tasks.find(task_id)

    def draw(self, rng: np.random.Generator) -> Puzzle:
        """An exercise of the language and split."""
        return self.tasks.draw(self.split, rng)

    # -- parts of a turn -----------------------------------------------------------------------------

    @property
    def _files(self) -> Mapping[str, str]:
        return self.task.files(self.playing.edited)

    def _read(self, text: str) -> Answer:
        read = read_diff if self.edit_format == "diff" else read_whole
        language, task = LANGUAGES[self.task.language], self.task
        return read(text, self._files, lambda path: language.may_add(path, task))

    def _test(self) -> AnswerVerdict:
        return verdict(self.task, self._files, sandbox=self.sandbox, timeout=self.timeout)


def _tasks(source: str, language: str, level: int) -> Puzzles:
    if source != "contests":
        if level:
            raise ValueError(f"level={level}: only source='contests' has levels")
        return Exercises(source, language)
    if language not in ("all", "python"):
        raise ValueError(f"language={language!r}: contests are written in python")
    return Contests(level)
