"""Worlds for RLlib, and for Gymnasium's vectors: text in, text out; `env_config` says what to play.

```python
register_creator()  # as "forge"
config.environment("forge", env_config={"world": "Forge/Retail-v0", "args": {"turn_weight": 0.1}})
config.env_runners(gym_env_vectorize_mode="sync")  # or "vector_entry_point"; "async" shares no text
config.fault_tolerance(restart_failed_sub_environments=True)
```

Observations and actions are texts, of the space `Words`. RLlib's connectors pass them on: an RLModule gets
an array of texts as `batch["obs"]` and answers `{"actions": array of objects}`. Its default encoders take no
text, so bring an RLModule that tokenizes, or a connector in front of one that does. The first observation
has the rules and the tools in it; what comes later is what is new, and the module remembers the rest.

A machine that fails raises MachineError: RLlib then makes the envs of that runner anew and drops their
unfinished episodes, or stops, as `restart_failed_sub_environments` says. It is never a reward of 0.

## What it cannot carry

- Who failed: all episodes of the runner begin again with the one whose machine failed.
- One episode at its own pace: a vector env steps all of them together, and waits for the slowest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from forge_envs.adapters.asked import asked_tasks, at_least_one
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session
from forge_envs.adapters.written import as_text, chat_messages
from forge_envs.errors import check_options, task_asked

ALPHABET = "abcdefghijklmnopqrstuvwxyz "


class Words(gym.Space[Any]):
    """Any text; with `n`, an array of `n` texts.

    >>> "Hallöchen" in Words(), np.array(["a", "b"], dtype=object) in Words(2), 3 in Words()
    (True, True, False)
    """

    def __init__(self, n: int | None = None, seed: int | np.random.Generator | None = None) -> None:
        self.n = n
        super().__init__(None if n is None else (n,), None, seed)

    def sample(self, mask: None = None, probability: None = None) -> Any:
        """Some letters."""
        texts = ["".join(self.np_random.choice(list(ALPHABET), 12)) for _ in range(self.n or 1)]
        return texts[0] if self.n is None else _array(texts)

    def contains(self, x: Any) -> bool:
        """Whether it is text, or so many of them."""
        if self.n is None:
            return isinstance(x, str)
        return len(x) == self.n and all(isinstance(text, str) for text in x)

    @property
    def is_np_flattenable(self) -> bool:
        """No: text has no fixed length."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and self.n == other.n

    __hash__ = None  # type: ignore[assignment]


def _array(texts: Iterable[str]) -> Any:
    texts = list(texts)
    made = np.empty(len(texts), dtype=object)
    made[:] = texts
    return made


@batch_space.register(Words)
def _batch_words(space: Words, n: int = 1) -> Words:
    return Words(n, seed=np.random.default_rng())


@create_empty_array.register(Words)
def _empty_words(space: Words, n: int = 1, fn: Any = None) -> Any:
    return _array([""] * n)


@concatenate.register(Words)
def _concatenate_words(space: Words, items: Iterable[str], out: Any) -> Any:
    out[:] = list(items)
    return out


@iterate.register(Words)
def _iterate_words(space: Words, items: Any) -> Iterator[str]:
    return iter(items)


class TextWorld(gym.Env[str, str]):
    """A world whose observations are text; an episode draws its task by the seed, of `tasks` or of all."""

    def __init__(
        self, world: str, args: Mapping[str, Any] | None = None, tasks: Sequence[str] | None = None
    ) -> None:
        """Make the world. Raises what `Session` raises, and TaskError for an unknown task."""
        self.session = Session(world, args)
        self._tasks = None if tasks is None else asked_tasks(world, args, tasks)
        self.observation_space, self.action_space = Words(), Words()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode; `options={"task": id}` picks its task. Raises MachineError, ValueError."""
        super().reset(seed=seed)
        check_options(options)
        task = task_asked(options)
        if task is None and self._tasks is not None:
            task = self._tasks[int(self.np_random.integers(len(self._tasks)))]
        opening = self.session.begin(task, seed=seed)
        told = chat_messages(opening, self.session.env.grammar)
        return as_text(told), {"task": self.session.task}  # type: ignore[arg-type]

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say the action; `info` is flat, as vector envs want it. Raises MachineError."""
        session = self.session
        if isinstance(action, np.ndarray) and action.ndim == 0:
            action = action.item()
        if not isinstance(action, str):
            raise ValueError(f"action {action!r}: a text is needed; without one, say ''")
        turn = session.act(str(action))
        info = {"task": session.task, "turn_reward": turn.turn_reward}
        info |= {f"part_{name}": value for name, value in turn.parts.items()}
        if session.outcome is not None:
            info["outcome"] = session.outcome
        return as_text(turn.messages), turn.reward, turn.over and not turn.truncated, turn.truncated, info

    def close(self) -> None:
        """Let go of the world; twice is fine."""
        self.session.close()


def creator(context: Mapping[str, Any]) -> Any:
    """What RLlib's `register_env` wants: an env from `env_config`, or a vector of `num_envs` of them.

    Raises ValueError for a key that is none of `world`, `args` and `tasks`, and a `num_envs` below 1.
    """
    asked = dict(context or {})
    n = asked.pop("num_envs", None)
    unknown = set(asked) - {"world", "args", "tasks"}
    if unknown or "world" not in asked:
        told = f"does not know {sorted(map(str, unknown))}" if unknown else "needs `world`"
        raise ValueError(f"env_config {told}: it has `world`, and may have `args` and `tasks`")
    make = partial(TextWorld, **asked)
    if n is None:
        return make()
    at_least_one(num_envs=n)
    return gym.vector.SyncVectorEnv([make] * n)


def register_creator(name: str = "forge") -> None:
    """Make `creator` known to RLlib by this name. Raises NotInstalled without Ray."""
    need("ray", (2, 60), "ray[rllib]==2.60.0")
    from ray.tune.registry import register_env

    register_env(name, creator)
