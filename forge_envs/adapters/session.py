"""One live episode of a world as other libraries hold it: begun, acted in, scored, and never half dead.

A library may forget to close what it made, go on after the end, or stop before it; and it must not take a
failed machine for a reward of 0. That is settled here once, and no door has rules of its own.
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from forge_envs.env import AgentEnv
from forge_envs.errors import MachineError
from forge_envs.messages import Message, Observation, ToolCall

EPISODE_OVER = "The episode is over. Nothing more happens."
"""What an agent hears that goes on after the end."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a world answered to one action."""

    messages: Observation
    reward: float
    """What `step` returned: outcome + turn_weight * turn reward."""
    turn_reward: float
    parts: Mapping[str, float]
    over: bool
    truncated: bool = False
    """Whether it is over because the world, or whoever called, had enough."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What `step` told beside."""


class Session:
    """One episode at a time of the world `world`, made with `args`.

    >>> import forge_envs
    >>> with Session("Forge/Retail-v0") as session:
    ...     _ = session.begin("retail/small/train/2/1")
    ...     for action in session.env.gold_actions(session.task):
    ...         _ = session.act(action)
    ...     session.over, session.outcome, session.record()["error"]
    (True, 1.0, None)

    It is no env and not thread-safe: one caller at a time, as of any env. Dropped without `close`, it closes
    its world when it is collected, or at exit.
    """

    def __init__(self, world: str, args: Mapping[str, Any] | None = None) -> None:
        """Make the world.

        Raises what `gymnasium.make` raises, ValueError for `args` that are no mapping, and TypeError for what
        is no world of ours.
        """
        given = arguments(args)
        try:
            made = gym.make(world, **given)
        except gym.error.UnregisteredEnv as error:
            raise type(error)(f"{error} The worlds: forge-envs list") from None
        env = made.unwrapped
        if not isinstance(env, AgentEnv):
            made.close()
            raise TypeError(f"world {world!r} is no AgentEnv but {type(env).__name__}: it has no sessions")
        self.world, self.args = world, given
        self.env: AgentEnv[Any, Any] = env
        self._close = weakref.finalize(self, made.close)
        self._forget()

    def _forget(self) -> None:
        self.task = ""
        self.turns: list[Turn] = []
        self.outcome: float | None = None
        """The verdict; None while the episode is open, and for ever if a machine failed."""
        self.parts: dict[str, float] = {}
        """Named parts of all turn rewards, summed, and those of the verdict."""
        self.error: dict[str, Any] | None = None
        """The machine's failure, as `MachineError.as_dict` tells it."""
        self.info: dict[str, Any] = {}
        """What the world told last beside its messages, as its machine failed too."""
        self._begun = False

    # -- the episode -------------------------------------------------------------------------------

    def begin(self, task: str | None = None, *, seed: int | None = None) -> Observation:
        """Begin an episode and return its opening, whatever became of the one before.

        Raises TaskError for an unknown task and MachineError, which `error` then tells as well.
        """
        self._forget()
        try:
            messages, info = self.env.reset(seed=seed, options=None if task is None else {"task": task})
        except MachineError as error:
            self.task, self.error = task or "", error.as_dict()
            raise
        self.task, self.info, self._begun = str(info["task"]), info, True
        return messages

    def act(self, action: str) -> Turn:
        """Say one action, written in the world's grammar. After the end it changes nothing.

        Raises MachineError when the machine fails, and again at every later action of this episode; and
        ResetNeeded where none has begun: a reward of 0 would hide that.
        """
        if self.over:
            self._failed()
            self._must_have_begun()
            return Turn((Message(role="user", content=EPISODE_OVER),), 0.0, 0.0, {}, True)
        return self._took(self.env.step(action))

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Make one call as an action of its own, and return what the world answers, as text.

        This is the door of libraries that run calls themselves: another protocol than one text a turn
        (parallel calls become several turns), so scores of the two are not comparable.
        """
        return self._native(calls=[ToolCall(name, dict(arguments))])

    def say(self, message: str) -> str:
        """Say prose to the other party, and return the answer; what would read as calls is refused."""
        return self._native(message)

    def _native(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        try:
            action = self.env.grammar.write(prose, calls)
        except ValueError as error:  # the grammar has no words for it; as in the world, nothing was run
            return f"Error: {error}. Nothing was run."
        return said(self.act(action).messages)

    def finish(self) -> float:
        """Grade the episode where it stands, as the turn limit would, unless it is over; the outcome.

        Raises MachineError for an episode that a machine failed: it has no outcome. ResetNeeded without one.
        """
        if not self.over:
            self._took(self.env.truncate())
        self._failed()
        self._must_have_begun()
        assert self.outcome is not None
        return self.outcome

    def close(self) -> None:
        """Let go of the world; calling it twice is fine."""
        self._close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what became of it -------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nothing more can happen: ended, failed, or never begun."""
        return not self._begun or self.outcome is not None or self.error is not None

    @property
    def reward(self) -> float:
        """The return so far: the sum of what `step` gave."""
        return sum(turn.reward for turn in self.turns)

    def record(self) -> dict[str, Any]:
        """All of the above as JSON, for a library's own record: every number named, nothing of gold."""
        return {
            "world": self.world,
            "task": self.task,
            "outcome": self.outcome,
            "reward": self.reward,
            "parts": dict(self.parts),
            "turn_rewards": [turn.turn_reward for turn in self.turns],
            "error": self.error,
        }

    def snapshot(self) -> bytes:
        """The episode as bytes, with what became of it so far. Raises ResetNeeded before the first."""
        own = self.task, self.turns, self.info, self.outcome, self.parts, self.error, self._begun
        return pickle.dumps((self.env.snapshot(), own))

    def restore(self, snapshot: bytes) -> None:
        """Continue from a `snapshot` of a session of this world; a stranger's bytes run a stranger's code."""
        state, own = pickle.loads(snapshot)
        self.env.restore(state)
        self.task, self.turns, self.info, self.outcome, self.parts, self.error, self._begun = own

    # -- within ------------------------------------------------------------------------------------

    def _took(self, answer: tuple[Observation, float, bool, bool, dict[str, Any]]) -> Turn:
        messages, reward, terminated, truncated, info = answer
        self.info = info
        if "error" in info:
            self.error = info["error"]
            self._failed()
        for name, value in info["parts"].items():
            self.parts[name] = self.parts.get(name, 0.0) + value
        over = terminated or truncated
        turn = Turn(messages, reward, info["turn_reward"], info["parts"], over, truncated, info)
        self.turns.append(turn)
        if over:
            self.outcome = info["outcome"]
        return turn

    def _must_have_begun(self) -> None:
        if not self._begun:
            raise gym.error.ResetNeeded(f"no episode of {self.world} has begun here: begin (reset) one first")

    def _failed(self) -> None:
        if self.error is not None:
            told = dict(self.error)
            raise MachineError(told.pop("message"), **told)


def arguments(args: object) -> dict[str, Any]:
    """The arguments of a world as a caller gave them. Raises ValueError for what is no mapping.

    >>> arguments(None), arguments({"size": "small"})
    ({}, {'size': 'small'})
    """
    if not isinstance(args, Mapping | None):
        raise ValueError(f'args={args!r}: a dict of the world\'s arguments is needed, as {{"size": "small"}}')
    return dict(args or {})


def said(messages: Observation) -> str:
    """What a world answered, as the text of a tool result."""
    return "\n\n".join(message["content"] for message in messages)
