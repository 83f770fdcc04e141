"""Forge/Airline-v0: a customer of an airline asks; the agent looks things up, books, changes, and answers."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any, ClassVar

import numpy as np

from forge_envs.env import AgentEnv, Episode, opening
from forge_envs.messages import Message, Observation
from forge_envs.rewards import Criterion, Rubric, Score
from forge_envs.tables import Table
from forge_envs.worlds.airline.customer import Customer
from forge_envs.worlds.airline.database import SIZES
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.gold import changed_rows
from forge_envs.worlds.airline.ids import task_id
from forge_envs.worlds.airline.network import database
from forge_envs.worlds.airline.tasks import find_task
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.desk.ids import SPLITS

COMPACT = (
    "You serve an airline's customers. Ask for the user id first. "
    "Before a change, ask for a yes. Then say what you did."
)
"""All that a tiny model is told; it learns the tools from demonstrations."""


@dataclass(kw_only=True)
class AirlineEpisode(Airline, Episode[AirlineTask]):
    """An episode is an airline with a customer in it; the tools run on it."""

    customer: Customer
    measured: Measured | None = None

    def measure(self) -> Measured:
        """Compare airline and customer with what gold leaves; again only after a write or a telling."""
        writes, told = self.writes, self.customer.told
        last = self.measured
        if last is None or last.writes != writes or last.told != told:
            target, to_tell = self.task.target, self.task.to_tell
            changed = changed_rows(self) if writes else {}
            right = sum(key in changed and changed[key] == row for key, row in target.items())
            rows = len(target.keys() | changed.keys())
            share = (right + told) / (rows + to_tell)
            last = self.measured = Measured(writes, told, share, right == rows, told == to_tell)
        return last


@dataclass(slots=True)
class Measured:
    """How far an episode was after so many writes and tellings."""

    writes: int
    told: int
    progress: float
    rows_match: bool
    all_told: bool


class AirlineEnv(AgentEnv[AirlineTask]):
    """An airline's customer service, after τ-bench airline, with synthetic airlines and tasks without limit.

    The outcome is 1 if exactly the rows that gold changes were changed, to the same values, and the
    customer heard what they had to hear (a fact, or a clear no); else 0.

    Args:
        split: "train" or "test"; no request occurs in both.
        level: 1 one fact; 2 one cancellation; 3 one write with arguments; 4 two requests, a change of mind or
            an unknown reservation; 5 several writes and a forbidden request; 0 mixes them.
        size: "full" (500 users), "small" (50) or "tiny" (20, direct flights only).
        prompt: "full" (policy and tool schemas) or "compact" (one line, no schemas).
        source: where tasks come from; "synthetic".
        user: who plays the customer; "scripted".
        max_turns, turn_weight, grammar, render_mode: see AgentEnv; the grammar must be able to call tools.
    """

    toolkit_type = Airline
    _rubric: ClassVar[Rubric[Measured]] = Rubric(
        [
            Criterion("rows", lambda measured: measured.rows_match),
            Criterion("told", lambda measured: measured.all_told),
        ]
    )

    def __init__(
        self,
        *,
        split: str = "train",
        level: int = 0,
        size: str = "full",
        prompt: str = "full",
        source: str = "synthetic",
        user: str = "scripted",
        max_turns: int = 30,
        turn_weight: float = 0.0,
        grammar: str = "hermes",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            max_turns=max_turns, turn_weight=turn_weight, grammar=grammar, render_mode=render_mode
        )
        _one_of("split", split, SPLITS)
        _one_of("level", level, range(6))
        _one_of("size", size, SIZES)
        _one_of("prompt", prompt, ("full", "compact"))
        _one_of("source", source, ("synthetic",))
        _one_of("user", user, ("scripted",))
        self.split, self.level, self.size = split, level, size
        self._system = (policy(), self.schemas) if prompt == "full" else (COMPACT, [])

    @property
    def toolkit(self) -> object:
        """The episode itself: its methods are the tools."""
        return self.playing

    @property
    def playing(self) -> AirlineEpisode:
        """The episode in play. Raises ResetNeeded before the first reset."""
        if self.state is None:
            return super().playing  # type: ignore[return-value]  # raises
        return self.state  # type: ignore[return-value]  # begin() made it

    def begin(self, task: AirlineTask) -> tuple[Episode[AirlineTask], Observation]:
        """A fresh airline, and the customer's first line."""
        customer, airline = Customer(task), database(task.size)
        state = AirlineEpisode(
            task=task,
            database=airline,
            users=Table(task.users),
            reservations=Table(task.reservations),
            flights=Table(airline.flights),
            customer=customer,
        )
        system, tools = self._system
        return state, opening(system, [Message(role="user", content=customer.open())], tools)

    def hear(self, text: str) -> Observation | None:
        """The customer's answer; None when they leave."""
        answer = self.playing.customer.reply(text)
        return None if answer is None else (Message(role="user", content=answer),)

    def progress(self) -> float:
        """The share of rows and tellings achieved, among those gold has and those that were changed."""
        return self.playing.measure().progress

    def grade(self) -> Score:
        """Rows times told."""
        return self._rubric(self.playing.measure())

    def gold(self, task: AirlineTask) -> list[str]:
        """What an exemplary agent says and calls, one action a turn."""
        return [
            action if isinstance(action, str) else self.grammar.write(calls=[action]) for action in task.gold
        ]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` (1,000) tasks of a split, in this world's size and level."""
        split = self.split if split is None else split
        _one_of("split", split, SPLITS)
        return [task_id(self.size, split, self.level, i) for i in range(1000 if n is None else n)]

    def find(self, task_id: str) -> AirlineTask:
        """The task of this id, of any size, split and level. Raises TaskError."""
        return find_task(task_id)

    def draw(self, rng: np.random.Generator) -> AirlineTask:
        """A task of this world's split, size and level."""
        return find_task(task_id(self.size, self.split, self.level, int(rng.integers(2**31))))


def _one_of(name: str, value: object, known: Any) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r}: known are {', '.join(map(str, known))}")


@functools.cache
def policy() -> str:
    """The rules the agent works by, as the system message gives them."""
    return resources.files(__package__).joinpath("policy.md").read_text(encoding="utf-8").strip()
