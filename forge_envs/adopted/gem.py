"""Forge/Gem-v0: an environment of GEM (gem-llm)."""

from __future__ import annotations

import logging
from typing import Any

from forge_envs.adopted.adopted import Adopted, Answered, number
from forge_envs.adopted.making import given, library, made
from forge_envs.arguments import Seconds
from forge_envs.env import MaxTurns

INSTALL = "forge-envs[gem]"


class AdoptedGem(Adopted):
    """An environment of GEM. It is shown as GEM's own agents see it: prefix, observation, suffix.

    GEM seeds and draws from the global random state; here each environment has a state of its own, so that a
    seed decides the whole episode. The price is that their calls run one at a time.

    ## Arguments

    - `env`: its id, as "game:GuessTheNumber-v0-easy".
    - `args`: arguments of its own constructor.
    - `module`: a module to import first, which registers it with GEM.
    - `system`, `max_turns`, `timeout`: see `Adopted`.
    """

    shares_randomness = True

    def __init__(
        self,
        *,
        env: str = "",
        args: dict[str, Any] | None = None,
        module: str = "",
        system: str = "",
        max_turns: MaxTurns = 100,
        timeout: Seconds = 60.0,
    ) -> None:
        super().__init__(system=system, max_turns=max_turns, timeout=timeout)
        self.id, self.args, self.module = given("env", env, "game:GuessTheNumber-v0-easy"), args or {}, module
        self._env: Any = self._made_apart(self._made)

    def _made(self) -> Any:
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            gem = library("gem", INSTALL, self.module)
        finally:  # importing it sets up the process's logging, which is not its to set up
            root.handlers[:], root.level = handlers, level
        return made(f"env={self.id!r} with args={self.args!r}", lambda: gem.make(self.id, **self.args))

    def begin(self, seed: int) -> str:
        """Its opening."""
        self._env = self._env or self._made()
        return _shown(*self._env.reset(seed=seed % (2**31 - 1)))

    def answer(self, action: str) -> Answered:
        """Its answer."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        return Answered(_shown(observation, info), number(reward), bool(terminated), bool(truncated))

    def let_go(self) -> None:
        """Close it, if it can be closed."""
        env, self._env = self._env, None
        if env is not None and hasattr(env, "close"):
            env.close()

    def abandon(self) -> None:
        """Forget it."""
        self._env = None


def _shown(observation: object, info: dict[str, Any]) -> str:
    parts = [info.get("prefix"), observation, info.get("suffix")]
    return "\n".join(str(part) for part in parts if part)
