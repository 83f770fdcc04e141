"""Forge/Telecom-v0: a phone does not do what it should; the agent has the records, the customer the phone."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import numpy as np

from forge_envs.arguments import known
from forge_envs.env import AgentEnv, Episode, GrammarName, MaxTurns, opening
from forge_envs.errors import check_count, one_of
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.people.chat import chat_of
from forge_envs.people.hands import Hands
from forge_envs.people.users import ModelUser, User, has_left
from forge_envs.rewards import Score
from forge_envs.worlds.desk.tasks import SPLITS, task_id
from forge_envs.worlds.telecom.carrier import Carrier
from forge_envs.worlds.telecom.customer import PhoneCustomer
from forge_envs.worlds.telecom.phone import Phone
from forge_envs.worlds.telecom.tasks import HANDOVER, PhoneTask, find_task, open_desk, rows_right, works


@dataclass
class SettledHands(Hands):
    """A phone's tools, after each of which the carrier's side is brought up to date."""

    rounds: int = 0
    refused: int = 0

    def use(self, call: ToolCall) -> str:
        """Do it; the result or the refusal."""
        result = super().use(call)
        self.refused += result.startswith("Error: ")
        if isinstance(self.toolkit, Phone):
            self.toolkit.settle()
        return result


@dataclass(kw_only=True)
class PhoneEpisode(Episode[PhoneTask]):
    """A desk with both sides' rows, and whoever has the phone."""

    desk: Carrier
    user: User
    hands: SettledHands
    went: int = 0
    """Calls of the agent that went through."""
    handed: bool | None = None
    """Handed over, and whether both sides had looked at something before."""
    measured: tuple[int, bool | None, tuple[bool, int, int]] | None = None
    """After so many writes and a handover: whether it works, rows that are right, rows that matter."""


class TelecomEnv(AgentEnv[PhoneTask, PhoneEpisode]):
    """A phone company's technical support, after τ²-bench's telecom, with tasks without limit. Both sides
    have tools: the agent the company's records, the customer the phone.

    ## Action Space

    `Utterance`: any text. Prose reaches the customer; calls are written in the world's `grammar` and run in
    order; prose beside calls reaches nobody.

    ## Observation Space

    `Messages`: what is new since the last action, as dicts in the OpenAI form. The first are the system's,
    with the policy and, under `tools`, the schemas of the tools, and the customer's first line. What the
    customer does with the phone is not shown; they tell what came of it.

    ## Rewards

    The outcome, 0 or 1, when the episode ends, plus `turn_weight` times each turn's reward. Where agent and
    customer can mend it, the outcome is 1 if the phone does again what the customer wants of it, exactly the
    records that gold changes were changed, to the same values, and nobody was handed over. Where they cannot,
    it is 1 if the customer was handed over after both sides had looked at something, and no record changed.
    A turn's reward is the change of progress, less named penalties.

    ## Starting State

    The company's records, and a customer with a broken phone or line of the `split` and `level`: the seed of
    `reset` draws it, or `options={"task": id}` names it. Everything else follows from the task.

    ## Episode End

    Terminated when the customer leaves or is handed over; truncated after `max_turns` actions, graded as it
    is; truncated without an outcome when a machine (the model behind `user`) fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, with `works`, `rows`
    and `handed` among the parts; `error` if a machine failed.

    ## Arguments

    - `split`: "train" or "test"; no customer and case occurs in both.
    - `level`: 1 one fault of the phone; 2 one that the agent must help with; 3 two faults, and a customer who
      says who they are only when asked; 4 two or three; 5 three to five; from 4 on some cannot be mended; 0
      mixes them.
    - `user`: who plays the customer; "scripted", or a model as "openai:MODEL@URL"
      (`forge_envs.people.chat`), which is offered the phone's tools. With a model, replies follow the seed of
      `reset`; gold proves only that the case can be solved.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv; the grammar must be able
      to call tools.

    ## Version History

    - v0: the first.
    """

    toolkit_type = Carrier

    def __init__(
        self,
        *,
        split: Annotated[str, known(SPLITS)] = "train",
        level: Annotated[int, known(range(6))] = 0,
        user: str = "scripted",
        max_turns: MaxTurns = 60,
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
        self._chat = chat_of(user)
        if self._chat is not None:
            self.metadata = {**self.metadata, "quick": False}  # type: ignore[misc]  # waits
        self.split, self.level = split, level

    @property
    def toolkit(self) -> object:
        """The episode's desk: its methods are the tools."""
        return self.playing.desk

    def begin(self, task: PhoneTask) -> tuple[PhoneEpisode, Observation]:
        """A fresh desk with what is wrong, and the customer's first line."""
        desk = open_desk(task)
        hands = SettledHands(Phone(desk))
        user = self._customer(task, hands)
        state = PhoneEpisode(task=task, desk=desk, user=user, hands=hands)
        first = Message(role="user", content=user.open())
        return state, opening(policy(), [first], self._schemas.value)

    def _customer(self, task: PhoneTask, hands: SettledHands) -> User:
        if self._chat is None:
            brief = task.brief
            return PhoneCustomer(brief.goal, task.known, brief.instructions, hands, brief.opening)
        return ModelUser(task.brief, self._chat, int(self.np_random.integers(2**31)), hands=hands)

    def hear(self, text: str) -> Observation | None:
        """The customer's answer; None when they leave."""
        user = self.playing.user
        answer = None if has_left(user) else user.reply(text)
        return None if answer is None else (Message(role="user", content=answer),)

    def _call(self, call: ToolCall) -> tuple[Message, str | None]:
        message, fault = super()._call(call)
        state = self.playing
        state.desk.settle()
        if fault is None and call.name == HANDOVER:
            acted = len(state.hands.made) > state.hands.refused
            state.handed, state.over = bool(state.went) and acted, True
        state.went += fault is None
        return message, fault

    def progress(self) -> float:
        """The share of records that are right, and of what the case asks for besides."""
        done, right, rows = self._measure()
        return (right + done) / (rows + 1)

    def grade(self) -> Score:
        """The records, times the phone or the handover."""
        state = self.playing
        done, right, rows = self._measure()
        solvable = state.task.solvable
        parts = {"rows": float(right == rows), "works" if solvable else "handed": float(done)}
        if solvable and state.handed is not None:
            parts["handed"] = 0.0
        outcome = 1.0
        for value in parts.values():
            outcome *= value
        return Score(outcome, parts)

    def _measure(self) -> tuple[bool, int, int]:
        """Whether what the case asks for is done, rows that are right, rows that matter."""
        state = self.playing
        now = state.desk.writes, state.handed
        if state.measured is None or state.measured[:2] != now:
            done = works(state.task, state.desk) if state.task.solvable else bool(state.handed)
            state.measured = *now, (done, *rows_right(state.task, state.desk))
        return state.measured[2]

    def gold(self, task: PhoneTask) -> list[str]:
        """What an exemplary agent says and calls, one action a turn."""
        return [
            action if isinstance(action, str) else self.grammar.write(calls=[action]) for action in task.gold
        ]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` (1,000) tasks of a split, in this world's level."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, SPLITS)
        count = 1000 if n is None else n
        return [task_id("telecom", "full", split, self.level, number) for number in range(count)]

    def find(self, task_id: str) -> PhoneTask:
        """The task of this id, of any split and level. Raises TaskError."""
        return find_task(task_id)

    def draw(self, rng: np.random.Generator) -> PhoneTask:
        """A task of this world's split and level."""
        return find_task(task_id("telecom", "full", self.split, self.level, int(rng.integers(2**31))))


@functools.cache
def policy() -> str:
    """The rules the agent works by, as the system message gives them."""
    return resources.files(__package__).joinpath("policy.md").read_text(encoding="utf-8").strip()
