"""Which worlds there are: the ones registered here by name, and those that other packages bring along."""

from __future__ import annotations

from functools import cache
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from forge_envs.plugins import load_entry_points

PLUGINS = "forge_envs.worlds"
"""Entry-point group of packages with worlds. Each entry point is a module that registers its worlds when
it is imported, or a function that registers them when it is called."""

_ids: list[str] = []


def register(id: str, entry_point: str, *, nondeterministic: bool = False, listed: bool = True) -> None:
    """Make a world known to `gymnasium.make` and to `world_ids`.

    `entry_point` is "package.module:Class"; nothing of it is imported before the world is made.
    `nondeterministic` is for worlds where a model or a container answers; one that is not `listed` is no
    world by itself, as the door to those of another machine.
    """
    gym.register(
        id=id,
        entry_point=entry_point,
        nondeterministic=nondeterministic,
        # `check_world` proves more than Gymnasium's checker, which costs more than a step does.
        disable_env_checker=True,
        additional_wrappers=(WrapperSpec("ungraded limits", "forge_envs.registry:refuse_time_limit", {}),),
    )
    if listed and id not in _ids:
        _ids.append(id)


def refuse_time_limit(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The world as Gymnasium has wrapped it; ValueError if its limit would cut episodes without a verdict."""
    inner = env
    while isinstance(inner, gym.Wrapper):
        if isinstance(inner, gym.wrappers.TimeLimit):
            limit = inner._max_episode_steps
            raise ValueError(
                f"max_episode_steps={limit}: Gymnasium's limit cuts an episode without an outcome; "
                f"say max_turns={limit}, and the world grades what is there"
            )
        inner = inner.env
    return env


def world_ids() -> list[str]:
    """Ids of all worlds: those of this package, then those of plugins, which it loads."""
    load_plugins()
    return list(_ids)


@cache
def load_plugins() -> None:
    """Let installed packages register their worlds, once.

    A plugin that fails is left out with a warning that names it. `import forge_envs` does not come here:
    it reads no metadata and runs nobody's code. A world also needs no plugin to be made: as with any
    Gymnasium package, `gymnasium.make("its_package:Its/World-v0")` imports the module first.
    """
    load_entry_points(PLUGINS, "worlds", _take)


def _take(found: object) -> None:
    if callable(found):
        found()
