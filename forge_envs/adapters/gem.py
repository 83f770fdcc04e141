"""Worlds for GEM: `gem.make(register_world("Forge/Retail-v0"))`.

An episode draws its task from the world's split, or from `tasks`, by the seed of `reset`; global random state
is left alone, which GEM's own envs seed. Observations are text: the first has the rules and tools in it.

## What it cannot carry

- A machine that fails: GEM has no word for it, so `step` and `reset` raise MachineError, which ends a
  vector env with it. It is never a reward of 0.
- What an episode of a vector env came to: GEM's vectors reset in the same step, and the last observation and
  `info`, with the outcome, are lost there. The reward is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forge_envs.adapters.asked import asked_tasks
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session, arguments
from forge_envs.adapters.written import as_text, chat_messages

need("gem-llm", (0, 1), "gem-llm==0.1.0")

from gem.core import Env  # noqa: E402
from gem.envs import registration  # noqa: E402

ENTRY = "forge_envs.adapters.gem:GemWorld"


def register_world(
    world: str,
    args: Mapping[str, Any] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    env_id: str | None = None,
) -> str:
    """Make a world known to GEM in this process, and return its id there, `forge:Retail-v0` by default.

    Twice is fine. Raises ValueError if the id stands for something else, and what making the world raises:
    GEM would make it later, and keep the wrong words under their id until then.
    """
    env_id = env_id or f"forge:{world.rpartition('/')[2]}"
    asked = {"world": world, "args": arguments(args), "tasks": None if tasks is None else list(tasks)}
    known = registration.ENV_REGISTRY.get(env_id)
    if known is None:
        GemWorld(world, args, tasks).close()
        registration.register(env_id, ENTRY, **asked)
    elif (known.entry_point, known.kwargs) != (ENTRY, asked):
        raise ValueError(
            f"{env_id!r} is already {known.entry_point} with {known.kwargs}: give another env_id"
        )
    return env_id


class GemWorld(Env):  # type: ignore[misc]
    """A world as an env of GEM. One caller at a time."""

    def __init__(
        self,
        world: str,
        args: Mapping[str, Any] | None = None,
        tasks: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """Make the world; `seed` is for the first reset without one. Raises TaskError and as `Session`."""
        super().__init__()
        # GEM's wrappers read every public attribute at once, so what may not be there yet is not public.
        self._asked = world, json.dumps(dict(args or {})), None if tasks is None else list(tasks)
        self._session = Session(world, args)
        self._tasks = None if tasks is None else asked_tasks(world, args, tasks)
        self._seed = seed
        self._rng = np.random.default_rng(seed)

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode. Raises MachineError."""
        seed, self._seed = self._seed if seed is None else seed, None
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        task = None
        if self._tasks is not None:
            task = self._tasks[int(self._rng.integers(len(self._tasks)))]
        opening = self._session.begin(task, seed=seed)
        text = as_text(chat_messages(opening, self._session.env.grammar))  # type: ignore[arg-type]
        return text, {"task": self._session.task}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say the action. Raises MachineError."""
        session = self._session
        turn = session.act(action)
        info = {"task": session.task, "turn_reward": turn.turn_reward, "parts": dict(turn.parts)}
        if session.outcome is not None:
            info["outcome"] = session.outcome
        return as_text(turn.messages), turn.reward, turn.over and not turn.truncated, turn.truncated, info

    def sample_random_action(self) -> str:
        """A call that fits some tool's schema, or some prose."""
        action: str = self._session.env.action_space.sample()
        return action

    def spawn(self, same_state: bool = False, **kwargs: Any) -> GemWorld:
        """Another env of the same world, with other arguments of this class if they are given."""
        world, args, tasks = self._asked
        child = type(self)(**{"world": world, "args": json.loads(args), "tasks": tasks, **kwargs})
        if same_state:
            child.set_state(self.get_state())
        return child

    def get_state(self) -> dict[str, Any]:
        """The episode and the random state; worlds of containers raise what `snapshot` raises there."""
        return {"episode": self._session.snapshot(), "rng": self._rng.bit_generator.state, "seed": self._seed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of one's own: unpickling a stranger's runs a stranger's code."""
        self._session.restore(state["episode"])
        self._rng.bit_generator.state, self._seed = state["rng"], state["seed"]

    def close(self) -> None:
        """Let go of the world; GEM itself never asks, and collection does it too."""
        self._session.close()
