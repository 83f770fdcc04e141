"""A game of TextArena, in which one agent says the lines of every player in turn."""

from __future__ import annotations

from typing import Any

import textarena

from forge_envs.audit.host.source import Origin
from forge_envs.audit.host.text_env import TextEnv


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source of `textarena.make(name)`; `args` may give the number of `players`."""
    return ArenaSource(name, args.get("players"))


class ArenaSource(Origin):
    """Makes games of one id."""

    def __init__(self, name: str, players: int | None) -> None:
        self.name = name
        self.players = players or next(n for n in range(1, 16) if self._takes(n))
        self.alone = self.players == 1

    def _takes(self, players: int) -> bool:
        try:
            textarena.make(self.name).reset(num_players=players, seed=0)
        except (AssertionError, ValueError):
            return False
        return True

    def make(self) -> ArenaEnv:
        return ArenaEnv(textarena.make(self.name), self.players)


class ArenaEnv(TextEnv):
    """One game. Its reward is that of the first player, given when the game is over."""

    def __init__(self, env: Any, players: int) -> None:
        self.env, self.players = env, players

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        self.env.reset(num_players=self.players, seed=seed)
        return self.env.get_observation()[1], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        done, info = self.env.step(action)
        if done:
            rewards, told = self.env.close()
            return "", rewards.get(0, 0.0) if rewards else None, True, False, {"game": told}
        return self.env.get_observation()[1], 0.0, False, False, dict(info or {})
