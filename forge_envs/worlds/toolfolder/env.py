"""Forge/ToolFolder-v0: real tool schemas over simulated back ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import numpy as np

from forge_envs.arguments import known
from forge_envs.env import AgentEnv, Episode, GrammarName, MaxTurns, opening
from forge_envs.errors import NotGiven, TaskError, check_count, one_of
from forge_envs.messages import Message, Observation
from forge_envs.people.chat import chat_of
from forge_envs.people.users import ModelUser, User
from forge_envs.rewards import Score
from forge_envs.tools import Toolbox
from forge_envs.worlds.toolfolder.backend import RowStore
from forge_envs.worlds.toolfolder.domain import atlas
from forge_envs.worlds.toolfolder.offered import toolbox_of
from forge_envs.worlds.toolfolder.talk import FolderCustomer
from forge_envs.worlds.toolfolder.tasks import LEVELS, SPLITS, FolderTask, playable, task_id, task_of

_ENDLESS = 1 << 30


@dataclass(kw_only=True)
class FolderEpisode(Episode[FolderTask]):
    """A customer, and the rows that the tools run on."""

    store: RowStore
    customer: FolderCustomer
    """Who listens for what must be told: the user, or the listener beside one that is a model."""
    user: User

    def measure(self) -> tuple[float, bool, bool]:
        """How far it is; whether the rows are as gold leaves them, and all was told that must be."""
        target, changed = self.task.target, self.store.changed()
        right = sum(changed.get(key) == row for key, row in target.items())
        rows = len({*target, *changed})
        told, to_tell = self.customer.told, self.task.to_tell
        return (right + told) / max(rows + to_tell, 1), right == rows, told == to_tell


EpisodeT = TypeVar("EpisodeT", bound=FolderEpisode)


class FolderWorld(AgentEnv[FolderTask, EpisodeT], Generic[EpisodeT]):
    """What the worlds of a folder share; the arguments are explained at each."""

    def __init__(
        self,
        *,
        path: str = "",
        split: Annotated[str, known(SPLITS)] = "train",
        level: Annotated[int, known(LEVELS)] = 0,
        domain: str = "",
        user: str = "scripted",
        max_turns: MaxTurns = 30,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        if not path:
            raise NotGiven("path='': give a folder with OpenAPI, MCP or function files, or one such file")
        super().__init__(
            max_turns=max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        self.atlas = atlas(path)
        self.path, self.split, self.level = path, split, level
        self._domains = playable(path)
        if domain:
            one_of("domain", domain, [name for names in self._domains.values() for name in names])
            self._domains = {s: tuple(n for n in names if n == domain) for s, names in self._domains.items()}
        if not any(self._domains.values()):
            raise TaskError(f"path={path!r}: no domain with tasks is in it. {self.atlas.report()[:1500]}")
        self.splits = tuple(name for name in SPLITS if self._domains[name])
        self._chat = chat_of(user)
        if self._chat is not None:
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits
        first = self._domains[split if split in self.splits else self.splits[0]][0]
        self._equip(toolbox_of(self.atlas.domains[first]))

    def toolbox(self, task: FolderTask) -> Toolbox:
        """The tools of the task's domain."""
        return toolbox_of(task.domain)

    @property
    def toolkit(self) -> object:
        """The episode's rows."""
        return self.playing.store

    def people(self, task: FolderTask) -> tuple[User, FolderCustomer]:
        """Who is talked to, and who listens for what must be told."""
        customer = FolderCustomer(task.errands)
        if self._chat is None:
            return customer, customer
        customer.patience = _ENDLESS
        return ModelUser(customer.brief(), self._chat, int(self.np_random.integers(2**31))), customer

    def hear(self, text: str) -> Observation | None:
        """The customer's answer; None when they leave."""
        state = self.playing
        if state.user is not state.customer:
            state.customer.reply(text)
            state.customer.patience = _ENDLESS
        answer = state.user.reply(text)
        return None if answer is None else (Message(role="user", content=answer),)

    def gold(self, task: FolderTask) -> list[str]:
        """What an exemplary agent says and calls, one action a turn."""
        write = self.grammar_for(task).write
        return [one if isinstance(one, str) else write(calls=[one]) for one in task.gold]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` (1,000) tasks of a split in this world's level, its domains in turns."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, self.splits)
        names = self._domains[split]
        wanted = 1000 if n is None else n
        found: list[str] = []
        for number in range(10 * wanted):
            if len(found) == wanted:
                break
            id = task_id(split, names[number % len(names)], self.level, number // len(names))
            try:
                self.find(id)
            except TaskError:
                continue
            found.append(id)
        return found

    def find(self, task_id: str) -> FolderTask:
        """The task of this id. Raises TaskError."""
        return task_of(self.path, task_id)

    def draw(self, rng: np.random.Generator) -> FolderTask:
        """A task of this world's split and level."""
        if self.split not in self.splits:
            raise TaskError(f"split={self.split!r}: this folder has {', '.join(self.splits)}")
        names = self._domains[self.split]
        for _ in range(100):
            id = task_id(
                self.split, names[int(rng.integers(len(names)))], self.level, int(rng.integers(2**31))
            )
            try:
                return self.find(id)
            except TaskError:
                continue
        raise TaskError(f"a hundred draws of level {self.level} gave no task")


class ToolFolderEnv(FolderWorld[FolderEpisode]):
    """Tools as somebody's OpenAPI document, MCP server or list of functions declares them, over a small
    database that this world makes up for them. A customer wants things done and looked up.

    ## Action Space

    A text (`Utterance`): prose to the customer, or calls of the domain's tools in the world's grammar. Which
    tools there are depends on the task; the opening tells them.

    ## Observation Space

    What is new (`Messages`): the results of calls, or the customer's answer.

    ## Rewards

    The outcome, at the end: 1 if exactly the rows that gold changes were changed, to the same values, and the
    customer heard every value and refusal that they had to hear; else 0. `turn_weight` adds turn rewards.

    ## Starting State

    A few rows of each kind, the rules, the tools' schemas and the customer's first wish. The opening depends
    on the task alone.

    ## Episode End

    Terminated when the customer leaves: all is settled, or their patience is at an end. Truncated after
    `max_turns`.

    ## Information

    `task`, `turn`, `turn_reward`, `parts`, and at the end `outcome`. `env.unwrapped.atlas.report()` tells
    what was read, what was mended or refused, and which tools no rule can simulate.

    ## Arguments

    - `path`: a folder with files of tool schemas, or one such file.
    - `split`: "train" or "test"; whole domains are held out for the test.
    - `level`: 1 one wish, 2 by names instead of ids, 3 two wishes, 4 with details that must be asked for and
      things that are not there, 5 three wishes; 0 mixes them.
    - `domain`: one domain alone, by its id; "" is all of them.
    - `user`: "scripted", or a model as "openai:MODEL@URL" (`forge_envs.people.chat`).

    ## Version History

    - v0: first version.
    """

    def begin(self, task: FolderTask) -> tuple[FolderEpisode, Observation]:
        """Fresh rows, and the customer's first wish."""
        user, customer = self.people(task)
        state = FolderEpisode(task=task, store=task.open_store(), customer=customer, user=user)
        first = Message(role="user", content=user.open())
        return state, opening(task.rules, [first], self._schemas.value)

    def progress(self) -> float:
        """The share of rows and tellings achieved, among those gold has and those that were changed."""
        return self.playing.measure()[0]

    def grade(self) -> Score:
        """Rows times told."""
        _, rows, told = self.playing.measure()
        return Score(float(rows and told), {"rows": float(rows), "told": float(told)})
