"""Forge/SWE-v0: mend a repository in a sandbox, judged by hidden tests as SWE-bench judges."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field

from forge_envs.arguments import Seconds, known
from forge_envs.env import AgentEnv, Episode, MaxTurns, opening
from forge_envs.errors import NotInstalled, ToolError, check_count, one_of
from forge_envs.messages import Message, Observation
from forge_envs.rewards import Score
from forge_envs.sandbox import PROVIDERS, Limits, Result
from forge_envs.sandbox.present import tell_missing
from forge_envs.worlds.swe import patch as patches
from forge_envs.worlds.swe.judge import APPLYING, PatchVerdict, judge
from forge_envs.worlds.swe.place import Broken, Place
from forge_envs.worlds.swe.rows import EXTRA, SweTasks, load
from forge_envs.worlds.swe.scaffold import SCAFFOLDS, Scaffold
from forge_envs.worlds.swe.site import STARTING, Ground, Site
from forge_envs.worlds.swe.task import SweTask

T = TypeVar("T")
Characters = Annotated[int, Field(ge=0, le=10_000_000)]
Megabytes = Annotated[int, Field(ge=1, le=16_777_216)]

NOBODY = "Nobody reads along. Use a tool; call submit when the work is done."
THINKING = 60.0
"""Seconds of a box's lifetime for what happens outside of it in a turn."""


@dataclass(kw_only=True)
class SweEpisode(Episode[SweTask]):
    """A box, and what came of it."""

    place: Place
    patch: bytes | None = None
    """What was submitted."""
    ran: bool = False
    """Whether something ran in the box since progress was measured."""
    measured: tuple[bytes, float] = (b"", 0.0)
    """A patch, and the share of visible tests that it mends."""
    verdict: PatchVerdict | None = None


class SweEnv(AgentEnv[SweTask, SweEpisode]):
    """Repositories with a bug: fix what the issue describes.

    ## Action Space

    `Utterance`: any text with calls of the `scaffold`: bash, str_replace_edit and submit, or one bash block
    a turn. Prose reaches nobody.

    ## Observation Space

    `Messages`: at first the system's, which tells the tools, and the issue; then what the commands printed.

    ## Rewards

    The outcome, 0 or 1, when the episode ends, plus `turn_weight` times each turn's reward. It is 1 if the
    submitted patch resolves the task as SWE-bench has it, judged in a fresh box: all tests that must be
    mended pass, and all that passed still do. What is not submitted earns 0. A turn's reward is the change
    of progress (see `visible_progress`), less named penalties.

    ## Starting State

    A fresh box with the repository before the fix. The seed of `reset` draws a task of the `split`, or
    `options={"task": instance_id}` names it.

    ## Episode End

    Terminated by `submit`, and when the agent broke its box and no command runs there any more; truncated
    after `max_turns` actions; truncated without an outcome when a machine fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, with `submitted`,
    `applied`, `fail_to_pass`, `pass_to_pass` and `files_not_judged` among the parts; `error` if a machine
    failed.

    ## Arguments

    - `source`: "builtin" for repositories of our own, "swebench:PATH" with rows of swebench 5 as .parquet,
      .jsonl or .json, "swebench:NAME" of the Hub, "repo:PATH" for a swebench 5 task repository.
    - `split`: where tasks are drawn from; by default "train" if there is one, else the first. It also names
      the rows of a file, and says which split of a dataset of the Hub to load ("test" by default).
    - `scaffold`: "tools" for bash, str_replace_edit and submit; "mini" for one bash block a turn.
    - `sandbox`: "docker", or "process", which is no jail and plays the builtin tasks only.
    - `guard`: leave out what a patch does to tests and runners, and doubt logs that contradict themselves;
      False is the official verdict exactly.
    - `visible_progress`: progress is the share of visible failing tests that the changes mend, measured in a
      fresh box after every turn that changed something; tasks without such tests have none.
    - `max_turns`: actions after which the episode is truncated; this and the next three are by default the
      limits of the Klear-AgentForge paper.
    - `command_timeout`: seconds that a command may take.
    - `head`, `tail`: characters that are shown of the beginning and of the end of its output.
    - `eval_timeout`: seconds that the tests may take.
    - `patch_limit`: bytes of a patch.
    - `cpus`, `memory_mb`, `pids`, `disk_mb`: what a box may use, see `forge_envs.sandbox.Limits`.
    - `lifetime`: seconds after which a box is removed; by default longer than turns and tests can take.
    - `turn_weight`, `strict`, `render_mode`: see AgentEnv.

    ## Version History

    - v0: the first.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        **AgentEnv.metadata,
        "quick": False,
        "snapshot_leaves_out": "processes, and what commands changed outside of the work folder",
    }

    def __init__(
        self,
        *,
        source: str = "builtin",
        split: str | None = None,
        scaffold: Annotated[str, known(SCAFFOLDS)] = "tools",
        sandbox: Annotated[str, known(PROVIDERS)] = "docker",
        guard: bool = True,
        visible_progress: bool = False,
        max_turns: MaxTurns = 200,
        command_timeout: Seconds = 60.0,
        head: Characters = 5_000,
        tail: Characters = 5_000,
        eval_timeout: Seconds = 1_800.0,
        patch_limit: Annotated[int, Field(ge=1)] = 4_000_000,
        cpus: Annotated[float, Field(gt=0, le=1_024)] = 1.0,
        memory_mb: Megabytes = 2_048,
        pids: Annotated[int, Field(ge=1, le=4_194_304)] = 256,
        disk_mb: Megabytes = 2_048,
        lifetime: Annotated[float, Field(gt=0)] | None = None,
        turn_weight: float = 0.0,
        strict: bool = False,
        render_mode: str | None = None,
    ) -> None:
        self._scaffold: type[Scaffold] = SCAFFOLDS[scaffold]
        self.toolkit_type = self._scaffold
        super().__init__(
            max_turns=max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=self._scaffold.grammar,
            render_mode=render_mode,
        )
        if lifetime is None:
            lifetime = max(max_turns * (command_timeout + THINKING), eval_timeout) + STARTING + APPLYING
        require_tools(source, sandbox)
        self.tasks: SweTasks = load(source, split)
        self.splits = tuple(self.tasks.splits)
        if split is None:
            split = "train" if "train" in self.splits else self.splits[0]
        one_of("split", split, self.splits)
        self.split, self.guard, self.visible_progress = split, guard, visible_progress
        self.command_timeout, self.eval_timeout = command_timeout, eval_timeout
        self._head, self._tail, self.patch_limit = head, tail, patch_limit
        self.ground = Ground(
            sandbox, Limits(cpus=cpus, memory_mb=memory_mb, pids=pids, disk_mb=disk_mb, lifetime=lifetime)
        )
        if sandbox == "docker":
            tell_missing({task.image for task in self.tasks.by_id.values()})
        self._policy = self._scaffold.policy(timeout=command_timeout, head=head, tail=tail, turns=max_turns)
        self._told = self._schemas.value if self._scaffold.tells_schemas else []

    @property
    def toolkit(self) -> object:
        """The scaffold's tools."""
        return self._scaffold(self)

    def begin(self, task: SweTask) -> tuple[SweEpisode, Observation]:
        """A fresh box, and the issue."""
        state = SweEpisode(task=task, place=Place(task, self.ground))
        _ = state.place.site
        return state, opening(self._policy, [Message(role="user", content=asked(task))], self._told)

    def hear(self, text: str) -> Observation | None:
        """Nobody is there to answer."""
        return (Message(role="user", content=NOBODY),)

    def progress(self) -> float:
        """The share of visible failing tests that what the agent changed mends; 0 unless asked for."""
        state = self.playing
        task = state.task
        if not self.visible_progress or not task.visible or not state.ran:
            return state.measured[1]
        state.ran = False
        try:
            patch = state.place.use(self._take) if state.patch is None else state.patch
        except (patches.PatchError, Broken):
            return state.measured[1]
        if patch != state.measured[0]:
            shown = replace(task, fail_to_pass=task.visible, pass_to_pass=(), eval_script=task.visible_script)
            share = judge(shown, patch, self.ground, guard=self.guard, timeout=self.eval_timeout).fail_to_pass
            state.measured = patch, share
        return state.measured[1]

    def grade(self) -> Score:
        """The verdict on what was submitted. Nothing of the agent's is alive while it is judged."""
        state = self.playing
        state.place.close()
        found = PatchVerdict(False, "nothing was submitted")
        if state.patch is not None:
            found = judge(state.task, state.patch, self.ground, guard=self.guard, timeout=self.eval_timeout)
        state.verdict = found
        return Score(float(found.resolved), {"submitted": float(state.patch is not None), **found.parts})

    def gold(self, task: SweTask) -> list[str]:
        """Actions that apply the gold patch and submit it."""
        return self._scaffold.gold(self.grammar, task.patch)

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` tasks of a split, in the order of their source."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, self.splits)
        return list(self.tasks.splits[split][:n])

    def find(self, task_id: str) -> SweTask:
        """The task of this id, which is its instance_id. Raises TaskError."""
        return self.tasks.find(task_id)

    def draw(self, rng: np.random.Generator) -> SweTask:
        """A task of this world's split."""
        ids = self.tasks.splits[self.split]
        return self.tasks.by_id[ids[int(rng.integers(len(ids)))]]

    def release(self) -> None:
        """Remove the episode's box."""
        if self.state is not None:
            self.state.place.close()

    # -- what the tools do ---------------------------------------------------------------------------

    def execute(self, command: str) -> Result:
        """Run a command of the agent's. Raises SandboxError, and ToolError for what no shell can be told."""
        if "\0" in command:
            raise ToolError("a command cannot hold a NUL character")
        self.playing.ran = True
        timeout, head, tail = self.command_timeout, self._head, self._tail
        return self._use(lambda site: site.run(command, timeout=timeout, head=head, tail=tail))

    def shown(self, result: Result) -> str:
        """Output as the agent reads it."""
        if not result.elided:
            return result.output
        head, tail = result.output[: self._head], result.output[self._head :]
        return f"{head}\n[… {result.elided} characters left out …]\n{tail}"

    def submit(self) -> int:
        """Take the patch and end the episode; returns its size in bytes. Raises PatchError, SandboxError."""
        state = self.playing
        state.patch = patch = self._use(self._take)
        state.over = True
        return len(patch)

    def _take(self, site: Site) -> bytes:
        return patches.take(site, self.patch_limit)

    def _use(self, act: Callable[[Site], T]) -> T:
        """Do something in the agent's box. One that the agent broke ends the episode: Broken."""
        try:
            return self.playing.place.use(act)
        except Broken:
            self.playing.over = True
            raise


def asked(task: SweTask) -> str:
    """What the agent is told of a task."""
    return f"Solve this issue in the repository.\n\n<issue>\n{task.statement.strip()}\n</issue>"


def require_tools(source: str, sandbox: str) -> None:
    """Raise NotInstalled or ValueError for what is missing, before anything is loaded."""
    if importlib.util.find_spec("swebench") is None:
        raise NotInstalled(f"patches are judged by swebench: {EXTRA}")
    if sandbox == "process":
        if source != "builtin":
            raise ValueError(
                f"sandbox='process', source={source!r}: its repositories are in images; use sandbox='docker'"
            )
        if importlib.util.find_spec("pytest") is None:
            raise NotInstalled("sandbox='process' runs the tests with this Python: pip install pytest")
