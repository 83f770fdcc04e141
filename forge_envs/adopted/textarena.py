"""Forge/TextArena-v0: a game of TextArena for one player."""

from __future__ import annotations

from typing import Any

from forge_envs.adopted.adopted import Adopted, Answered, number
from forge_envs.adopted.making import given, library, made
from forge_envs.arguments import Seconds
from forge_envs.env import MaxTurns
from forge_envs.errors import MachineError

INSTALL = "forge-envs[textarena]"


class AdoptedTextArena(Adopted):
    """A single-player game of TextArena. The reward comes at the end and is the game's own.

    Of a game's variants the raw one is played where there is one: it tells what is new and not everything
    again each turn; the echo of the agent's own action is left out. Games for several players are refused:
    their other players would have to be players of ours. A game cut off by `max_turns` has no verdict and
    returns 0. TextArena draws from the global random state; see `Forge/Gem-v0`.

    ## Arguments

    - `env`: its id, as "TowerOfHanoi-v0".
    - `args`: arguments of its own constructor.
    - `system`, `max_turns`, `timeout`: see `Adopted`.
    """

    shares_randomness = True

    def __init__(
        self,
        *,
        env: str = "",
        args: dict[str, Any] | None = None,
        system: str = "",
        max_turns: MaxTurns = 100,
        timeout: Seconds = 60.0,
    ) -> None:
        super().__init__(system=system, max_turns=max_turns, timeout=timeout)
        self.id, self.args = given("env", env, "TowerOfHanoi-v0"), args or {}
        self._env: Any = self._made_apart(self._tried)

    def _tried(self) -> Any:
        game = self._made()  # it says when it begins that it is for several players
        made(f"env={self.id!r}", lambda: game.reset(num_players=1, seed=0))
        return game

    def _made(self) -> Any:
        arena = library("textarena", INSTALL)
        known = library("textarena.envs.registration", INSTALL).ENV_REGISTRY
        id = f"{self.id}-raw" if f"{self.id}-raw" in known else self.id
        return made(f"env={self.id!r} with args={self.args!r}", lambda: arena.make(id, **self.args))

    def begin(self, seed: int) -> str:
        """Its opening."""
        self._env = self._env or self._made()
        self._env.reset(num_players=1, seed=seed % (2**31 - 1))
        return self._heard()

    def answer(self, action: str) -> Answered:
        """Its answer; the reward when the game is over."""
        done, _ = self._env.step(action)
        if not done:
            return Answered(self._heard(), 0.0, False)
        rewards, game = self._env.close()
        if not rewards or 0 not in rewards:
            raise MachineError(
                "the game ended without a reward", kind="reward", stage="step", retryable=False
            )
        invalid = bool((game or {}).get(0, {}).get("invalid_move", False))
        return Answered("", number(rewards[0]), True, parts={"invalid_move": float(invalid)}, turn_reward=0.0)

    def _heard(self) -> str:
        player, observation = self._env.get_observation()
        if player != 0:
            raise MachineError("it is another player's turn", kind="players", stage="step", retryable=False)
        if isinstance(observation, str):
            return observation
        return "\n".join(text for _, text, kind in observation if kind.name != "PLAYER_ACTION")

    def let_go(self) -> None:
        """Forget it: closing a game is how TextArena ends one, and there is nothing else to close."""
        self._env = None

    def abandon(self) -> None:
        """Forget it."""
        self._env = None
