"""Worlds for verifiers, and so for prime-rl: a taskset and an env that a package of a few lines brings in.

```console
$ python -m forge_envs.adapters.verifiers Forge/Retail-v0 --out .     # writes ./forge_retail
$ pip install -e forge_retail
$ vf-validate forge_retail --runtime.type subprocess -n 10            # gold earns 1, silence does not
$ vf-eval forge_retail -m MODEL --client.base-url URL --env.taskset.split test -n 20
```

verifiers finds a taskset by the name of a module, so a world is such a module. The policy plays as `player`:
the null harness, a chat without tools of its own, in a subprocess; what it says is the action, and the tools
stand in the system message. The score is the task's own reward, read from `trace.info["forge"]`, the
episode's record, so `vf-replay` scores again what was kept.

A machine that fails raises MachineError inside the interaction: the trace has no rewards and an error, and
is not `ok`, nor is its episode. Retries are asked for: `--env.retries.max-retries 2`, or a rule whose
`message` matches.

## What it cannot carry

- Turn rewards: verifiers takes one number, here the return. `trace.info["forge"]` has them, with the parts.
- A seed: an episode does not know which of its task's it is. It draws one, which `trace.info["forge"]` tells.
- An answer that was cut for its length, or a policy that was stopped at a limit: the world is graded where
  it stands, without hearing the action that was cut.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import gymnasium as gym
from pydantic import Field

from forge_envs.adapters.asked import asked_tasks, episode_seed, json_object
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import as_text, chat_messages
from forge_envs.errors import MachineError, NotInstalled
from forge_envs.messages import Observation

try:
    need("verifiers", (0, 4), "verifiers==0.4.0")
except NotInstalled as missing:
    if __name__ == "__main__":
        raise SystemExit(str(missing)) from None
    raise

import verifiers.v1 as vf
from verifiers.v1.task import task_key


class ForgeData(vf.TaskData):  # type: ignore[misc]
    """One task of a world; its `id` is the world's own."""

    world: str
    args: dict[str, Any] = Field(default_factory=dict)


class ForgeConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Which tasks: `--env.taskset.split test`, and so on."""

    world: str = ""
    """A world's id."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Its arguments."""
    split: str = "train"
    n: int | None = 512
    """The first so many tasks of the split; None: all."""
    tasks: list[str] | None = None
    """Task ids, in place of a split."""


class ForgeTask(vf.Task[ForgeData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    """A world's task: its gold is the proof, and its record the score."""

    @property
    def key(self) -> str:
        """The same for the task before and after its opening was read."""
        return str(task_key({"world": self.data.world, "args": self.data.args, "id": self.data.id}))

    async def validate(self, runtime: vf.Runtime) -> bool:
        """Whether gold earns the outcome 1. Raises MachineError."""
        with Session(self.data.world, self.data.args) as session:
            await aside(session, session.begin, self.data.id)
            for action in session.env.gold_actions(session.task):
                await aside(session, session.act, action)
            return session.outcome == 1.0

    @vf.reward  # type: ignore[untyped-decorator]
    async def episode_return(self, trace: vf.Trace) -> float:
        """The return; 0 where nobody played."""
        return float(trace.info.get("forge", {}).get("reward", 0.0))

    @vf.metric  # type: ignore[untyped-decorator]
    async def parts(self, trace: vf.Trace) -> dict[str, float]:
        """The outcome, the sum of the turn rewards, and the named parts."""
        record = trace.info.get("forge")
        if record is None:
            return {}
        told = {"outcome": record["outcome"], "turn_reward": sum(record["turn_rewards"])}
        return told | {f"part_{name}": value for name, value in record["parts"].items()}


class ForgeTaskset(vf.Taskset[ForgeTask, ForgeConfig]):  # type: ignore[misc]
    """Tasks of one world; no episode is begun to list them."""

    def load(self) -> Iterator[ForgeTask]:
        """The tasks in their order. ValueError without a world, TaskError for an unknown task or none."""
        asked = self.config
        if not asked.world:
            raise ValueError('no world: give --env.taskset.world, as "Forge/Retail-v0"')
        for task in asked_tasks(asked.world, asked.args, asked.tasks, asked.split, asked.n):
            told = ForgeData(id=task, name=task, world=asked.world, args=asked.args)
            yield ForgeTask(told, asked.task)


class ForgeEnvConfig(vf.EnvConfig):  # type: ignore[misc]
    """Who plays."""

    player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime=vf.SubprocessConfig())
    """The policy. The null harness runs no code, so a subprocess is safe, and no cloud is asked."""


class ForgeEnv(vf.Env[ForgeEnvConfig]):  # type: ignore[misc]
    """One episode of a world for each of verifiers'."""

    async def run(self, task: ForgeTask, agents: vf.Agents) -> None:
        """Play the task. Raises MachineError, within the interaction, and TaskError before it."""
        with Session(task.data.world, task.data.args) as session:
            seed = episode_seed(uuid4().hex)
            opening, failure = await _opened(session, task.data.id, seed)
            async with agents.player.interaction(_opening_told(task, opening, session)) as player:
                try:
                    if failure is not None:
                        raise failure
                    await _play(session, player)
                finally:
                    player.trace.info["forge"] = {**session.record(), "seed": seed}


async def _opened(session: Session, task: str, seed: int) -> tuple[Observation, MachineError | None]:
    """The opening, or the failure: it is raised later, where there is a trace that can have it."""
    try:
        return await aside(session, session.begin, task, seed=seed), None
    except MachineError as error:
        return (), error


def _opening_told(task: ForgeTask, opening: Observation, session: Session) -> ForgeTask:
    """The task as the harness is given it. A system prompt that the config names stands for the world's."""
    told, system = [], task.data.system_prompt
    for message in chat_messages(opening, session.env.grammar):
        if message["role"] == "system":
            system = system or message["content"]
        elif message["role"] == "assistant":
            told.append(vf.AssistantMessage(content=message["content"]))
        else:
            told.append(vf.UserMessage(content=as_text([message])))  # type: ignore[list-item]
    return task.with_data(system_prompt=system, prompt=told or None)  # type: ignore[no-any-return]


async def _play(session: Session, player: vf.Interaction) -> None:
    said = await player.turn()
    while not said.terminated and player.trace.calls[-1].finish_reason != "length":
        turn = await aside(session, session.act, said.last_reply)
        if turn.over:
            return
        said = await player.turn(as_text(turn.messages))
    if not player.trace.errors:  # a policy that failed has no score either, and asks no judge
        await aside(session, session.finish)


def write_package(
    world: str, place: Path, args: Mapping[str, Any] | None = None, name: str | None = None
) -> Path:
    """Write a package by whose name verifiers finds the world, `forge_retail` by default; its folder.

    Raises what `Session` raises, ValueError for a name that is no module's, FileExistsError.
    """
    with Session(world, args):
        pass
    name = name or _name(world)
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"{name!r} is no name of a module in lower case, by which verifiers looks for it")
    if name in sys.stdlib_module_names:
        raise ValueError(
            f"{name!r} is a module of Python's own, which the package would hide: take another name"
        )
    folder = place / name
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: remove it, or take another name or folder")
    folder.mkdir(parents=True)
    (folder / f"{name}.py").write_text(MODULE.format(world=world, args=dict(args or {})), "utf-8")
    (folder / "pyproject.toml").write_text(PROJECT.format(name=name), "utf-8")
    return folder


def _name(world: str) -> str:
    short = world.rpartition("/")[2].rpartition("-v")[0] or world
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", short)
    return "_".join(["forge", *words]).lower()


MODULE = '''"""{world} for verifiers."""

from typing import Any

import verifiers.v1 as vf

from forge_envs.adapters.verifiers import ForgeConfig, ForgeEnv, ForgeTask, ForgeTaskset


class Config(ForgeConfig):
    world: str = {world!r}
    args: dict[str, Any] = {args!r}


class Tasks(ForgeTaskset, vf.Taskset[ForgeTask, Config]):
    pass


__all__ = ["ForgeEnv", "Tasks"]
'''
PROJECT = """[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"
dependencies = ["forge-envs[verifiers]"]

[tool.setuptools]
py-modules = ["{name}"]
"""


def main() -> None:
    """Write a package for a world."""
    parser = argparse.ArgumentParser("forge_envs.adapters.verifiers", description=main.__doc__)
    parser.add_argument("world", help="id of a world, e.g. Forge/Retail-v0")
    parser.add_argument("--args", type=json_object, default={}, help="its arguments, as JSON")
    parser.add_argument("--name", help="of the package; by default forge_ and the world's")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write it into (here)")
    asked = parser.parse_args()
    try:
        print(write_package(asked.world, asked.out, asked.args, asked.name))
    except (ValueError, FileExistsError, gym.error.Error) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
