"""What all adopted environments share: text in, text out, a seed for a task, and failures told as such."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

import gymnasium as gym

from forge_envs.adopted.caller import Caller
from forge_envs.adopted.randomness import OwnRandomness
from forge_envs.arguments import Seconds, check_arguments
from forge_envs.env import MaxTurns, StepResult
from forge_envs.errors import MachineError
from forge_envs.grammars import grammar_of
from forge_envs.messages import Message, Observation
from forge_envs.spaces import Messages, Utterance

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a stranger's environment said to one action."""

    text: str
    reward: float
    terminated: bool
    truncated: bool = False
    parts: Mapping[str, float] = field(default_factory=dict)
    turn_reward: float | None = None
    """The turn's own credit, where the environment names one; else its reward."""
    outcome: float | None = None
    """The verdict, where the environment names one at the end; else the return."""


class Adopted(gym.Env[Observation, str], ABC):
    """An environment of another library, of texts.

    Its tasks are its seeds: the same seed is the same opening. The text of an action is handed on as it is,
    and what is said to it comes back as a user's message. The reward is the environment's own; `info` has
    `task` and `turn`, after a step `turn_reward` and `parts`, and at the end `outcome`, the return unless the
    environment names another. Of its own `info` nothing is handed on: it may hold the answer.

    An exception in the environment, no answer in time, and a reward that is no finite number are failures of
    a machine: `reset` raises MachineError, `step` ends the episode with `info["error"]`, without an outcome.

    ## Arguments of all

    - `system`: words of a system message to put before the opening; none if empty.
    - `max_turns`: actions after which the episode is truncated with the return it has.
    - `timeout`: seconds that a call into the environment may take.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "quick": False}  # type: ignore[misc]
    shares_randomness: ClassVar[bool] = False
    """True where the library seeds and draws from the global random state: its calls run with a state of
    their own and one at a time."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse arguments that the wrapper does not take. Raises ValueError."""
        made = super().__new__(cls)
        check_arguments(cls, args, kwargs)
        return made

    def __init__(self, *, system: str = "", max_turns: MaxTurns = 100, timeout: Seconds = 60.0) -> None:
        self.system, self.max_turns, self.timeout = system, max_turns, timeout
        self.observation_space = Messages()
        self.action_space = Utterance(grammar_of("hermes"))
        self._randomness = OwnRandomness(timeout) if self.shares_randomness else None
        self._caller: Caller | None = None
        self._info: dict[str, Any] = {}
        self._return, self._turn, self._over = 0.0, 0, True

    @abstractmethod
    def begin(self, seed: int) -> str:
        """Begin an episode; its opening, which depends on the seed alone."""

    @abstractmethod
    def answer(self, action: str) -> Answered:
        """Take one action."""

    @abstractmethod
    def let_go(self) -> None:
        """Close and forget the environment: the next `begin` makes another."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin the episode of a seed, by default a random one. Raises MachineError."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"options {sorted(options)} are unknown: the task of this world is its seed")
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        self._over = True
        text = self._called("reset", lambda: self.begin(number), number)
        self._info = {"task": f"seed:{number}"}
        self._return, self._turn, self._over = 0.0, 0, False
        head = (Message(role="system", content=self.system),) if self.system else ()
        return (*head, Message(role="user", content=text)), {**self._info, "turn": 0}

    def step(self, action: str) -> StepResult:
        """Say `action`, hear the answer; see the class for `info`."""
        if self._over:
            raise gym.error.ResetNeeded("the episode is over (or never began): call reset() first")
        if not isinstance(action, str):
            raise TypeError(f"an action is one str, not {type(action).__name__}: {action!r}")
        self._turn += 1
        try:
            answer = self._called("step", lambda: self.answer(action))
            _check(answer)
        except MachineError as error:
            self._over = True
            return (), 0.0, False, True, {**self._info, "turn": self._turn, "error": error.as_dict()}
        self._return += answer.reward
        truncated = answer.truncated or (not answer.terminated and self._turn >= self.max_turns)
        self._over = answer.terminated or truncated
        turn_reward = answer.reward if answer.turn_reward is None else answer.turn_reward
        info = {**self._info, "turn": self._turn, "turn_reward": turn_reward, "parts": dict(answer.parts)}
        if self._over:
            info["outcome"] = self._return if answer.outcome is None else answer.outcome
        heard: Observation = (Message(role="user", content=answer.text),)
        return (
            heard if answer.text or not self._over else (),
            answer.reward,
            answer.terminated,
            truncated,
            info,
        )

    def close(self) -> None:
        """Let go of the environment; calling it twice is fine."""
        self._over = True
        if self._caller is not None:
            with contextlib.suppress(MachineError):  # it is being thrown away
                self._caller.run(self.let_go, seconds=self.timeout, stage="close")
            self._caller.close()
            self._caller = None

    def _made_apart(self, make: Callable[[], T]) -> T:
        """What `make` makes before the first episode; a constructor may draw at random as well."""
        if self._randomness is None:
            return make()
        with self._randomness(0):
            return make()

    def _called(self, stage: str, call: Any, seed: int | None = None) -> Any:
        """A call into the environment; after a failure it is begun anew, elsewhere."""
        if self._caller is None:
            self._caller = Caller()
        randomness = self._randomness

        def alone() -> Any:
            if randomness is None:
                return call()
            with randomness(seed):
                return call()

        try:
            return self._caller.run(alone, seconds=self.timeout, stage=stage)
        except MachineError as error:
            if error.kind == "timeout":
                self._caller.close()
                self._caller, self._randomness = None, self._randomness and OwnRandomness(self.timeout)
                self.abandon()
            else:
                with contextlib.suppress(MachineError):
                    self._caller.run(self.let_go, seconds=self.timeout, stage=stage)
            raise

    @abstractmethod
    def abandon(self) -> None:
        """Forget an environment that is stuck in a call, without touching it."""


def _check(answer: Answered) -> None:
    """Raise MachineError for numbers that would spoil a gradient."""
    numbers = {"reward": answer.reward, "turn_reward": answer.turn_reward, "outcome": answer.outcome}
    for name, value in {**numbers, **answer.parts}.items():
        if value is not None and not math.isfinite(value):
            raise MachineError(f"{name} is {value}", kind="reward", stage="step", retryable=False)


def number(value: object, name: str = "reward") -> float:
    """A reward as a float. Raises MachineError for what is none, None included: no verdict is not a 0."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise MachineError(
            f"{name} is {value!r:.60}, which is no number", kind="reward", stage="step", retryable=False
        ) from None
