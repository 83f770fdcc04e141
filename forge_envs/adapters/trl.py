"""TRL's GRPOTrainer on Forge's worlds: one `ForgeSpec`, whose properties are arguments of the trainer.

```python
spec = ForgeSpec("Forge/Retail-v0", {"size": "tiny"}, n=64)
trainer = GRPOTrainer(
    model=..., args=..., train_dataset=spec.train_dataset, reward_funcs=spec.reward_funcs,
    environment_factory=spec.environment_factory, rollout_func=spec.rollout_func,
)
```

There are two doors. `door="tools"`: the model calls the world's tools in the way of its own chat template,
TRL runs the calls (`environment_factory`), and prose reaches the other party through a tool `say`.
`door="text"`: the model's text is the action, as everywhere else in Forge (`rollout_func`), and the worlds
of a batch step side by side. The two are different protocols, so their scores are not comparable: behind
the first, calls of one message are turns of their own, and a message without a call ends the episode.

Worlds of containers belong behind "text" or into AsyncGRPOTrainer: in GRPOTrainer the tools of a batch run
one rollout after the other. AsyncGRPOTrainer takes `environment_factory`, `train_dataset` and `reward_funcs`;
its rewards come from the environment itself, and there are no metrics. It has no place for the text door.

## What it cannot carry

- Turn rewards: TRL takes one number a rollout, the return. With `turn_weight` they are part of it. The named
  parts of all rewards are metrics (`forge/...`).
- Calls that TRL cannot read, or whose tool there is not: behind "tools" they never reach the world, which
  can neither answer nor take a penalty for them.
- The end of an episode: behind "tools" TRL goes on until the model calls no more, and hears that the episode
  is over.

A machine that fails is told as TRL has it: no reward function scores the rollout, which then is left out of
its group's baseline and has advantage 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, Literal

from forge_envs.adapters.asked import asked_tasks
from forge_envs.adapters.library import need
from forge_envs.adapters.session import EPISODE_OVER, Session, arguments
from forge_envs.adapters.trl_text import MARK, Seeds, TextRollout, episode_returns, tell
from forge_envs.adapters.typed import SAY, typed_method
from forge_envs.adapters.written import chat_messages, split_tools
from forge_envs.errors import MachineError

TESTED = (1, 16)
INSTALL = "forge-envs[trl]"
TAKEN = frozenset({"reset", "get_reward", "say"})
"""Names that a tool cannot have here."""


class ForgeSpec:
    """Tasks of one world as TRL takes them.

    `tasks` names them by id; without it they are the first `n` of `split`. `args` are the world's own
    arguments and must be JSON. Raises what `gymnasium.make` raises for a world that cannot be made,
    TaskError for an unknown task and NotInstalled without TRL.
    """

    def __init__(
        self,
        world: str,
        args: Mapping[str, Any] | None = None,
        *,
        tasks: Sequence[str] | None = None,
        split: str = "train",
        n: int = 64,
        seed: int = 0,
        door: Literal["tools", "text"] = "tools",
    ) -> None:
        need("trl", TESTED, INSTALL)
        if door not in ("tools", "text"):
            raise ValueError(f"door={door!r}: it is 'tools' or 'text'")
        self.world, self.args, self.seed, self.door = world, json.dumps(arguments(args)), seed, door
        self.tasks = asked_tasks(world, args, tasks, split, n)
        self.environment_factory = EnvironmentFactory(world, self.args, seed) if door == "tools" else None
        """Makes an environment as TRL wants it; picklable. None behind the door "text"."""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One row a task: the opening, which depends on the task alone, and the task's id.

        Raises MachineError where a world needs a machine to begin.
        """
        with Session(self.world, json.loads(self.args)) as session:
            return [self._row(session, task) for task in self.tasks]

    def _row(self, session: Session, task: str) -> dict[str, Any]:
        messages = session.begin(task)
        if self.door == "tools":
            return {"prompt": split_tools(messages)[0], "task": task}
        prompt = chat_messages(messages, session.env.grammar)
        prompt[0][MARK] = json.dumps([self.world, self.args, task])  # all that a rollout function is given
        return {"prompt": prompt, "task": task}

    @property
    def train_dataset(self) -> Any:
        """`datasets.Dataset` with the columns `prompt` and `task`."""
        return _dataset(self.rows)

    @cached_property
    def rollout_func(self) -> TextRollout | None:
        """Plays a batch of prompts to the end. None behind the door "tools"."""
        return TextRollout(self.seed) if self.door == "text" else None

    @property
    def reward_funcs(self) -> list[Callable[..., list[float | None]]]:
        """The return of each episode, or none where a machine failed; they also tell the metrics."""
        return [episode_parts if self.door == "tools" else episode_returns]


class ForgeMix:
    """Several specs in one run, by name, all behind the same door: `ForgeMix(retail=..., airline=...)`."""

    def __init__(self, **specs: ForgeSpec) -> None:
        if not specs or not all(isinstance(spec, ForgeSpec) for spec in specs.values()):
            raise ValueError(f"a mix of {specs}: give at least one ForgeSpec, by a name of yours")
        doors = {spec.door for spec in specs.values()}
        if len(doors) != 1:
            raise ValueError(f"a mix goes through one door, not {sorted(doors)}: say door=... alike in all")
        self.specs, (self.door,) = specs, doors

    @property
    def train_dataset(self) -> Any:
        """Rows of all specs in turns, with the column `environment`, which names the spec."""
        rows = [[{**row, "environment": name} for row in spec.rows] for name, spec in self.specs.items()]
        longest = max(map(len, rows))
        return _dataset([of[i] for i in range(longest) for of in rows if i < len(of)])

    @property
    def environment_factory(self) -> dict[str, Callable[[], Any]] | None:
        """A factory for each name. None behind the door "text"."""
        made = {name: spec.environment_factory for name, spec in self.specs.items()}
        return {name: factory for name, factory in made.items() if factory} or None

    @cached_property
    def rollout_func(self) -> TextRollout | None:
        """As of one spec: a prompt says which world it is of."""
        return next(iter(self.specs.values())).rollout_func

    @property
    def reward_funcs(self) -> list[Callable[..., list[float | None]]]:
        """As of one spec."""
        return next(iter(self.specs.values())).reward_funcs


def _dataset(rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


# -- the door "tools" ---------------------------------------------------------------------------------


class ForgeEnvironment:
    """What TRL plays with; its subclasses, one a world, have the world's tools as methods."""

    _world: str
    _args: str
    _seeds: Seeds

    def __init__(self) -> None:
        self._session = Session(self._world, json.loads(self._args))

    def reset(self, task: str, **row: Any) -> None:
        """Begin the row's task. The opening stands in its prompt already, so nothing is added to it.

        An exception here would end the run, so a machine that fails is remembered until the reward is asked.
        """
        with suppress(MachineError):
            self._session.begin(task, seed=self._seeds.next(task))

    def get_reward(self) -> float | None:
        """The return, of an episode that is graded where it stands; None if a machine failed."""
        with suppress(MachineError):
            self._session.finish()
            self._session.env.release()  # TRL may keep this object for hours before the next reset
            return self._session.reward
        return None

    @property
    def record(self) -> dict[str, Any]:
        """What became of the episode, as `Session.record` tells it."""
        return self._session.record()


def _answer(environment: ForgeEnvironment, name: str, arguments: dict[str, Any]) -> str:
    try:
        if name != "say":
            return environment._session.call(name, arguments)
        if set(arguments) == {"message"} and isinstance(arguments["message"], str):
            return environment._session.say(arguments["message"])
        return "Error: say takes one argument, message, which is text. Nothing was said."
    except MachineError:
        return EPISODE_OVER


class EnvironmentFactory:
    """Makes environments of one class, which AsyncGRPOTrainer's worker can be sent.

    TRL finds tools on the class, so each world has its own. Raises ValueError, when it is made, for a tool
    whose name TRL needs for itself.
    """

    def __init__(self, world: str, args: str, seed: int) -> None:
        self._made = world, args, seed
        with Session(world, json.loads(args)) as session:
            tools = [schema["function"] for schema in session.env.schemas]
        taken = [tool["name"] for tool in tools if tool["name"] in TAKEN or tool["name"].startswith("_")]
        if taken:
            raise ValueError(f"{world} has tools named {taken}, which TRL would not call: use door='text'")
        methods = {tool["name"]: typed_method(tool, _answer) for tool in [*tools, SAY]}
        name = "".join(letter for letter in world.rpartition("/")[2].title() if letter.isalnum())
        members = {**methods, "_world": world, "_args": args, "_seeds": Seeds(seed)}
        self.type: type[ForgeEnvironment] = type(name, (ForgeEnvironment,), members)

    def __call__(self) -> ForgeEnvironment:
        """A new environment."""
        return self.type()

    def __reduce__(self) -> tuple[type[EnvironmentFactory], tuple[str, str, int]]:
        return EnvironmentFactory, self._made


def episode_parts(environments: Sequence[Any] | None = None, **told: Any) -> list[float | None]:
    """Tells the metrics, and adds 0 to what the environments score; None where they score nothing."""
    if environments is None:  # AsyncGRPOTrainer asks its environments alone
        return [None] * len(told["completions"])
    rewards = [environment.get_reward() for environment in environments]
    tell([environment.record for environment in environments], told.get("log_metric"), told.get("log_extra"))
    return [None if reward is None else 0.0 for reward in rewards]
