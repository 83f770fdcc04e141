"""Forge/Agentless-v0: two roles without an agent loop over the tasks of Forge/SWE-v0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from forge_envs.arguments import Seconds, known
from forge_envs.env import AgentEnv, GrammarName, MaxTurns, opening
from forge_envs.errors import TaskError, check_count, one_of
from forge_envs.messages import Message, Observation
from forge_envs.prose import ProseEnv, ProseEpisode, say
from forge_envs.rewards import Score
from forge_envs.sandbox import PROVIDERS, Limits
from forge_envs.worlds.agentless import gold, trial, wording
from forge_envs.worlds.agentless.edits import (
    UnusableAnswer,
    apply_edits,
    named_files,
    patch_of,
    read_edits,
    write_edits,
)
from forge_envs.worlds.agentless.repository import files_of, texts_of
from forge_envs.worlds.agentless.script import takes_tests
from forge_envs.worlds.agentless.wording import FIXER, ROLES, TESTER
from forge_envs.worlds.agentless.written import WrittenVerdict, judge_written, refuse_file
from forge_envs.worlds.swe.env import Megabytes, require_tools
from forge_envs.worlds.swe.judge import APPLYING, PatchVerdict, judge
from forge_envs.worlds.swe.patch import parts, paths_of
from forge_envs.worlds.swe.rows import SweTasks, load
from forge_envs.worlds.swe.site import STARTING, Ground
from forge_envs.worlds.swe.task import SweTask

Shown = Annotated[int, Field(ge=1_000, le=10_000_000)]


@dataclass
class AgentlessEpisode(ProseEpisode[SweTask]):
    """Two answers. A box is opened to look, to edit and to judge, and closed at once: none is here."""

    located: bool = False
    """Whether files were named and shown."""
    patch: bytes | None = None
    """What the edits change; None where there were none that fit."""
    path: str = ""
    """The test file that they write."""
    verdict: PatchVerdict | WrittenVerdict | None = None


class AgentlessEnv(ProseEnv[SweTask, AgentlessEpisode]):
    """Kimi-Dev's BugFixer and TestWriter (arXiv 2509.23045): two questions and two answers, no tools.

    ## Action Space

    `Utterance`: any text. The first answer names files, one a line between fences; the second holds
    SEARCH/REPLACE edits. There are no tools.

    ## Observation Space

    `Messages`: at first the system's, and the issue with the repository's files as a tree; then the files
    that were named.

    ## Rewards

    The outcome, 0 or 1, when the episode ends, plus `turn_weight` times each turn's reward. A fixer earns 1
    if its patch resolves the task, judged as Forge/SWE-v0 judges it. A tester earns 1 if its one test file
    has a test that fails on the code as it was when it is called, and if with gold all its tests pass; with
    `guard` both must come out the same when the code is rewritten to do the same. Edits that do not fit earn
    0. A turn's reward is a penalty for an answer that could not be used, or nothing.

    ## Starting State

    The seed of `reset` draws a task of the `split`, or `options={"task": instance_id}` names it.

    ## Episode End

    Terminated by the second answer, whether its edits fit or not; truncated after `max_turns` actions;
    truncated without an outcome when a machine fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, and among the parts
    `fits` (whether the edits did), and of a fixer `applied`, `fail_to_pass`, `pass_to_pass`,
    `files_not_judged`, of a tester `fails_before`, `passes_after`, `steady`; `error` if a machine failed.

    ## Arguments

    - `role`: "fixer" mends the code, "tester" writes a test that shows what is wrong with it.
    - `source`, `split`, `sandbox`: where tasks come from and run, as in Forge/SWE-v0. A tester's are those
      whose evaluation script applies hidden tests as a patch and runs pytest on files that it names.
    - `localised`: skip the first question and show the files that gold changes, as where Kimi-Dev trains the
      second answer alone.
    - `files`: how many files may be named.
    - `tree`, `text`: characters of the tree and of the files that are shown.
    - `guard`: judge more strictly than the papers do, see Forge/SWE-v0 and `worlds.agentless.written`.
    - `eval_timeout`: seconds that the tests may take.
    - `cpus`, `memory_mb`, `pids`, `disk_mb`: what a box may use, see `forge_envs.sandbox.Limits`.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv.

    ## Version History

    - v0: the first.
    """

    metadata: ClassVar[dict[str, Any]] = {**AgentEnv.metadata, "quick": False}  # type: ignore[misc]

    def __init__(
        self,
        *,
        role: Annotated[str, known(ROLES)] = FIXER,
        source: str = "builtin",
        split: str | None = None,
        sandbox: Annotated[str, known(PROVIDERS)] = "docker",
        localised: bool = False,
        files: Annotated[int, Field(ge=1, le=100)] = 5,
        tree: Shown = 20_000,
        text: Shown = 60_000,
        guard: bool = True,
        eval_timeout: Seconds = 1_800.0,
        cpus: Annotated[float, Field(gt=0, le=1_024)] = 1.0,
        memory_mb: Megabytes = 2_048,
        pids: Annotated[int, Field(ge=1, le=4_194_304)] = 256,
        disk_mb: Megabytes = 2_048,
        max_turns: MaxTurns = 4,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            max_turns=max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        require_tools(source, sandbox)
        self.role, self.localised, self.guard = role, localised, guard
        self.files, self._tree, self._text = files, tree, text
        self.eval_timeout = eval_timeout
        lifetime = eval_timeout + STARTING + APPLYING
        self.ground = Ground(
            sandbox, Limits(cpus=cpus, memory_mb=memory_mb, pids=pids, disk_mb=disk_mb, lifetime=lifetime)
        )
        self.tasks: SweTasks = load(source, split)
        self._ids = {name: self._playable(ids) for name, ids in self.tasks.splits.items()}
        self.splits = tuple(name for name, ids in self._ids.items() if ids)
        if not self.splits:
            raise TaskError(
                f"{source}: none of its {len(self.tasks.by_id)} tasks runs pytest on files that it names, so "
                "nobody can write tests for them; role='fixer' plays them"
            )
        if split is None:
            split = "train" if "train" in self.splits else self.splits[0]
        one_of("split", split, self.splits)
        self.split = split

    def begin(self, task: SweTask) -> tuple[AgentlessEpisode, Observation]:
        """The issue, and the first question; or the second, where the files are known."""
        if self.localised:
            asked = f"{wording.issue(task)}\n\n{self._second(task, self._located_by_gold(task))}"
        else:
            tree = files_of(task, self.ground)
            asked = wording.locate(task, self.role, tree, self.files, self._tree)
        state = AgentlessEpisode(task, located=self.localised)
        return state, opening(wording.SYSTEM[self.role], [Message(role="user", content=asked)])

    def hear(self, text: str) -> Observation | None:
        """The first answer is followed by files, the second by the end."""
        state = self.playing
        if not text.strip():
            state.malformed += 1
            return say(wording.SILENT)
        if not state.located:
            paths = named_files(text, files_of(state.task, self.ground), self.files)
            if not paths:
                state.malformed += 1
                return say(wording.nothing_named(self.files))
            state.located = True
            return say(self._second(state.task, paths))
        state.over = True
        try:
            state.path, state.patch = self._read(state.task, text)
        except UnusableAnswer as error:
            state.malformed += 1
            return say(wording.unusable(str(error)))
        return None

    def progress(self) -> float:
        """0: only the outcome is paid."""
        return 0.0

    def grade(self) -> Score:
        """The verdict on the patch or the test file, in fresh boxes."""
        state = self.playing
        limits: dict[str, Any] = {"guard": self.guard, "timeout": self.eval_timeout}
        found: PatchVerdict | WrittenVerdict
        if self.role == FIXER:
            found = PatchVerdict(False, "there is no patch")
            if state.patch is not None:
                found = judge(state.task, state.patch, self.ground, **limits)
            good = found.resolved
        else:
            found = WrittenVerdict("there is no test file")
            if state.patch is not None:
                found = judge_written(state.task, state.path, state.patch, self.ground, **limits)
            good = found.good
        state.verdict = found
        return Score(float(good), {"fits": float(state.patch is not None), **found.parts})

    def gold(self, task: SweTask) -> list[str]:
        """Gold's files and edits, or the tests of FAIL_TO_PASS as a file. Raises TaskError where an answer
        cannot hold them, and MachineError."""
        edits = gold.gold_fix(task, self.ground)
        if self.role == TESTER:
            edits = [gold.gold_test(task, self.ground)]
        answers = [write_edits(edits)]
        if not self.localised:
            names = "\n".join(self._located_by_gold(task))
            answers.insert(0, f"```\n{names}\n```")
        return [self.grammar.write(answer) for answer in answers]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` tasks of a split, in the order of their source."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, self.splits)
        return list(self._ids[split][:n])

    def find(self, task_id: str) -> SweTask:
        """The task of this id, which is its instance_id. Raises TaskError."""
        task = self.tasks.find(task_id)
        if self.role == TESTER and not takes_tests(task):
            raise TaskError(f"task {task_id!r} runs no pytest on files that it names: role='fixer' plays it")
        return task

    def draw(self, rng: np.random.Generator) -> SweTask:
        """A task of this world's split."""
        ids = self._ids[self.split]
        return self.tasks.by_id[ids[int(rng.integers(len(ids)))]]

    # -- for selection among plays ---------------------------------------------------------------------

    def patch_said(self, task_id: str, said: Sequence[str]) -> bytes | None:
        """The patch that the last of an agent's lines makes; None if none. Raises MachineError."""
        prose = self.grammar.parse(said[-1]).prose if said else ""
        try:
            return self._read(self.find(task_id), prose)[1]
        except UnusableAnswer:
            return None

    def outcomes(self, task_id: str, patch: bytes | None, tests: Sequence[bytes]) -> list[dict[str, bool]]:
        """Whether each test of written files passes on the code as it was (None), or with a patch; {} of a
        file that cannot be run. Raises MachineError."""
        return trial.outcomes(self.find(task_id), patch, tests, self.ground, timeout=self.eval_timeout)

    # -- parts of a turn -----------------------------------------------------------------------------------

    def _playable(self, ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(i for i in ids if self.role == FIXER or takes_tests(self.tasks.by_id[i]))

    def _located_by_gold(self, task: SweTask) -> list[str]:
        """Files that gold changes, for a tester those of hidden tests too; any, where all are new."""
        tree = files_of(task, self.ground)
        wanted = paths_of(task.patch) | (paths_of(task.test_patch) if self.role == TESTER else set())
        return [path for path in tree if path in wanted][: self.files] or list(tree[:1])

    def _second(self, task: SweTask, paths: Sequence[str]) -> str:
        return wording.edit(self.role, texts_of(task, self.ground, paths), self._text)

    def _read(self, task: SweTask, text: str) -> tuple[str, bytes]:
        """The test file's path, empty of a fixer, and the patch. Raises UnusableAnswer, MachineError."""
        edits = read_edits(text)
        tree = files_of(task, self.ground)
        there = set(tree)
        texts = texts_of(task, self.ground, sorted({edit.path for edit in edits} & there))
        if missing := [edit.path for edit in edits if edit.path in there and edit.path not in texts]:
            raise UnusableAnswer(f"{missing[0]} is no text that can be edited")
        changed = apply_edits(edits, texts)
        path = refuse_file(changed, tree, task) if self.role == TESTER else ""
        patch = patch_of({p: texts[p] for p in changed if p in texts}, changed)
        assert {part.path for part in parts(patch)} == set(changed)
        return path, patch
