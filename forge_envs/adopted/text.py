"""Forge/Text-v0: any Gymnasium environment whose observations and actions are text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from forge_envs.adopted.adopted import Adopted, Answered, number
from forge_envs.adopted.making import given, made
from forge_envs.arguments import Seconds
from forge_envs.env import MaxTurns
from forge_envs.errors import MachineError, brief


class AdoptedText(Adopted):
    """A Gymnasium environment with `spaces.Text` on both sides.

    An action that is no element of its action space is not handed on: the agent is told why, and it was a
    turn. `turn_reward`, `parts` and `outcome` in its `info` are taken over, and `error` as a machine failure.

    ## Arguments

    - `env`: its id, with the module that registers it: "my_package:My/World-v0".
    - `args`: arguments of its own constructor.
    - `any_text`: hand on actions that are outside its action space, too.
    - `system`, `max_turns`, `timeout`: see `Adopted`.
    """

    def __init__(
        self,
        *,
        env: str = "",
        args: dict[str, Any] | None = None,
        any_text: bool = False,
        system: str = "",
        max_turns: MaxTurns = 100,
        timeout: Seconds = 60.0,
    ) -> None:
        super().__init__(system=system, max_turns=max_turns, timeout=timeout)
        self.id, self.args, self.any_text = given("env", env, "my_package:My/World-v0"), args or {}, any_text
        self._env: gym.Env[Any, Any] | None = self._made()

    def _made(self) -> gym.Env[Any, Any]:
        env: gym.Env[Any, Any] = made(
            f"env={self.id!r} with args={self.args!r}",
            lambda: gym.make(self.id, disable_env_checker=True, **self.args),
        )
        for name, space in (("observations", env.observation_space), ("actions", env.action_space)):
            if not isinstance(space, gym.spaces.Text):
                env.close()
                raise ValueError(
                    f"env={self.id!r}: its {name} are {space}, not spaces.Text; say them as text in a wrapper"
                )
        return env

    def begin(self, seed: int) -> str:
        """Its opening."""
        self._env = self._env or self._made()
        return _text(self._env.reset(seed=seed)[0])

    def answer(self, action: str) -> Answered:
        """Its answer, or ours to what its action space does not hold."""
        assert self._env is not None
        space = self._env.action_space
        if not self.any_text and not space.contains(action):
            return Answered(f"Error: {_refused(action, space)}. Nothing was done.", 0.0, False)
        observation, reward, terminated, truncated, info = self._env.step(action)
        if isinstance(error := info.get("error"), Mapping):
            told = str(error.get("message", error))
            raise MachineError(
                told,
                kind=str(error.get("kind", "environment")),
                stage=str(error.get("stage", "step")),
                retryable=bool(error.get("retryable", False)),
            )
        named = {
            name: number(info[name], name)
            for name in ("turn_reward", "outcome")
            if info.get(name) is not None
        }
        return Answered(
            _text(observation),
            number(reward),
            bool(terminated),
            bool(truncated),
            {str(name): number(value, str(name)) for name, value in (info.get("parts") or {}).items()},
            **named,
        )

    def let_go(self) -> None:
        """Close it."""
        env, self._env = self._env, None
        if env is not None:
            env.close()

    def abandon(self) -> None:
        """Forget it."""
        self._env = None


def _text(observation: object) -> str:
    if not isinstance(observation, str):
        raise TypeError(f"an observation of spaces.Text must be str, not {type(observation).__name__}")
    return observation


def _refused(action: str, space: Any) -> str:
    if not space.min_length <= len(action) <= space.max_length:
        most = "any number of" if math.isinf(space.max_length) else space.max_length
        return f"an action has {space.min_length} to {most} characters, yours {len(action)}"
    wrong = sorted(set(action) - set(space.character_set))
    return f"these characters cannot be in an action: {brief(''.join(wrong))}"
