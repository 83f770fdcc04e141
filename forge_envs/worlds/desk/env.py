"""The world of a service desk: a customer asks; the agent looks things up, changes rows, and answers.

A world says which shop stands behind the desk, who the customer is, and where tasks come from.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np

from forge_envs.arguments import known
from forge_envs.env import AgentEnv, Episode, GrammarName, MaxTurns, opening
from forge_envs.errors import check_count, one_of
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.people.chat import chat_of
from forge_envs.people.users import ModelUser, User
from forge_envs.rewards import Criterion, Rubric, Score
from forge_envs.worlds.desk.customer import Customer, Listener
from forge_envs.worlds.desk.fidelity import DeskWatch
from forge_envs.worlds.desk.goals import DeskTask
from forge_envs.worlds.desk.rules import breach
from forge_envs.worlds.desk.tasks import SPLITS, task_id
from forge_envs.worlds.desk.tools import ServiceDesk

DeskTaskT = TypeVar("DeskTaskT", bound=DeskTask)


@dataclass(slots=True)
class Measured:
    """How far an episode was after so many writes and tellings."""

    writes: int
    told: int
    progress: float
    rows_match: bool
    all_told: bool


@dataclass(kw_only=True)
class DeskEpisode(ServiceDesk, Episode[DeskTaskT]):
    """An episode is a desk with a customer at it; the tools run on it."""

    user: User
    """Who is talked to."""
    customer: Customer
    """Who listens for what must be told: the user, or the listener beside one that is a model."""
    measured: Measured | None = None

    def measure(self) -> Measured:
        """Compare rows and customer with what gold leaves; again only after a write or a telling."""
        writes, told = self.writes, self.customer.told
        last = self.measured
        if last is None or last.writes != writes or last.told != told:
            to_tell = self.task.to_tell
            right, rows = self._rows() if writes else (0, len(self.task.target))
            share = (right + told) / (rows + to_tell)
            last = self.measured = Measured(writes, told, share, right == rows, told == to_tell)
        return last

    def _rows(self) -> tuple[int, int]:
        """How many rows are as gold leaves them, of how many that gold or the agent changed."""
        target = self.task.target
        right, rows = 0, len(target)
        for name, table in self.changeable().items():
            for key, row in table.touched().items():
                wanted = target.get((name, key))
                if wanted is not None:
                    right += row == wanted
                else:
                    rows += table.differs(key)
        return right, rows


DeskEpisodeT = TypeVar("DeskEpisodeT", bound=DeskEpisode[Any])


class DeskEnv(AgentEnv[DeskTaskT, DeskEpisodeT], Generic[DeskTaskT, DeskEpisodeT]):
    """What worlds of customer service share; the arguments are explained where a world is.

    The outcome is 1 if exactly the rows that gold changes were changed, to the same values, and the
    customer heard what they had to hear (a fact, or a clear no); else 0. Turn rewards also say which calls
    were made for somebody else, or before the customer was known or had said yes (`desk.rules`).
    """

    name: ClassVar[str]
    """Begins the ids of its tasks."""
    package: ClassVar[str]
    """Where its policy.md lies."""
    compact: ClassVar[str]
    """All that a tiny model is told; it learns the tools from demonstrations."""
    sizes: ClassVar[Collection[str]]
    customer_type: ClassVar[type[Customer]]
    """Who comes to the desk."""
    listener_type: ClassVar[type[Listener]]
    """Who listens where a model comes instead."""
    _rubric: ClassVar[Rubric[Measured]] = Rubric(
        [
            Criterion("rows", lambda measured: measured.rows_match),
            Criterion("told", lambda measured: measured.all_told),
        ]
    )

    def __init__(
        self,
        *,
        split: Annotated[str, known(SPLITS)] = "train",
        level: Annotated[int, known(range(6))] = 0,
        size: Annotated[str, known(("full", "small", "tiny"))] = "full",
        prompt: Annotated[str, known(("full", "compact"))] = "full",
        source: str = "synthetic",
        user: str = "scripted",
        max_turns: MaxTurns = 30,
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
        _check_source(self.name, source)
        self._chat = chat_of(user)
        if self._chat is not None:
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits
        self.split, self.level, self.size = split, level, size
        self.prompt = prompt

    @abstractmethod
    def open_desk(self, task: DeskTaskT) -> DeskEpisodeT:
        """A fresh desk with the task's rows and its `people`."""

    def people(self, task: DeskTaskT) -> tuple[User, Customer]:
        """Who is talked to, and who listens for what must be told."""
        if self._chat is None:
            customer = self.customer_type(task)
            return customer, customer
        listener = self.listener_type(task)
        return ModelUser(listener.brief(), self._chat, int(self.np_random.integers(2**31))), listener

    @property
    def toolkit(self) -> object:
        """The episode itself: its methods are the tools."""
        return self.playing

    def system(self, task: DeskTaskT) -> tuple[str, Sequence[dict[str, Any]]]:
        """What the agent is told before all else, and the schemas that go with it."""
        return (policy(self.package), self._schemas.value) if self.prompt == "full" else (self.compact, ())

    def begin(self, task: DeskTaskT) -> tuple[DeskEpisodeT, Observation]:
        """A fresh desk, and the customer's first line."""
        state = self.open_desk(task)
        system, tools = self.system(task)
        return state, opening(system, [Message(role="user", content=state.user.open())], tools)

    def hear(self, text: str) -> Observation | None:
        """The customer's answer; None when they leave."""
        state = self.playing
        user, customer = state.user, state.customer
        if customer is not user and isinstance(customer, Listener):
            customer.listen(text)
        answer = user.reply(text)
        return None if answer is None else ({"role": "user", "content": answer},)

    def progress(self) -> float:
        """The share of rows and tellings achieved, among those gold has and those that were changed."""
        return self.playing.measure().progress

    def grade(self) -> Score:
        """Rows times told."""
        return self._rubric(self.playing.measure())

    def watch(self, task_id: str) -> DeskWatch:
        """Who tells whether a customer of this task keeps to their notes. Raises TaskError."""
        task = self.find(task_id)
        return DeskWatch(self.listener_type(task), self.customer_type(task))

    def gold(self, task: DeskTaskT) -> list[str]:
        """What an exemplary agent says and calls, one action a turn."""
        write = self.grammar_for(task).write
        return [action if isinstance(action, str) else write(calls=[action]) for action in task.gold]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` (1,000) tasks of a split, in this world's size and level."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, SPLITS)
        return [task_id(self.name, self.size, split, self.level, i) for i in range(1000 if n is None else n)]

    def draw(self, rng: np.random.Generator) -> DeskTaskT:
        """A task of this world's split, size and level."""
        return self.find(task_id(self.name, self.size, self.split, self.level, int(rng.integers(2**31))))

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        message, fault = super()._call(call)
        if fault is None:
            writes = self.tools[call.name].writes
            fault = breach(self.playing, call, message["content"], writes=writes)
        return message, fault


def _check_source(name: str, source: object) -> None:
    """ValueError unless tasks are generated; whoever asks for published ones is told where they are."""
    kind, colon, path = source.partition(":") if isinstance(source, str) else ("", "", "")
    if colon and kind in ("tau1", "tau2"):
        world = f"forge_envs:Forge/{kind.capitalize()}-v0"
        raise ValueError(
            f"source={source!r}: published tasks are a world of their own: "
            f"gymnasium.make({world!r}, domain={name!r}, path={path!r})"
        )
    one_of("source", source, ("synthetic",))


@functools.cache
def policy(package: str) -> str:
    """The rules the agent works by, as the system message gives them."""
    return resources.files(package).joinpath("policy.md").read_text(encoding="utf-8").strip()
