"""OpenEnv 0.10: a world as an OpenEnv environment, its client, and a package that `openenv validate` takes.

`create_server("Forge/Retail-v0")` is OpenEnv's own FastAPI app; `ForgeClient(base_url)` plays it, as does any
`GenericEnvClient`. `openenv_package.write_package` writes the folder that OpenEnv builds and validates.
`forge-envs serve` speaks the same protocol without OpenEnv, with leases, limits and a token: the client
plays both.

## What it cannot carry

- The truncated flag, the turn reward, the named parts and the outcome have no fields: they are `metadata`.
- A machine failure is an error (EXECUTION_ERROR) and raised by the client; consumers that go on after it
  land in a fresh environment, which refuses steps until it is reset.
- Over plain HTTP, OpenEnv makes an environment for every request: episodes need its WebSocket.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

from forge_envs.adapters import openenv_wire as wire
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session
from forge_envs.env import AgentEnv
from forge_envs.errors import TaskError

need("openenv", (0, 10), "openenv>=0.10,<0.11")

from openenv.core import EnvClient  # noqa: E402
from openenv.core.client_types import StepResult  # noqa: E402
from openenv.core.env_server import create_app  # noqa: E402
from openenv.core.env_server.interfaces import Environment  # noqa: E402
from openenv.core.env_server.types import (  # noqa: E402
    Action,
    EnvironmentMetadata,
    Observation,
    State,
)


class ForgeAction(Action):  # type: ignore[misc]
    """What the agent says in one turn: prose, or calls in the world's grammar."""

    text: str


class ForgeObservation(Observation):  # type: ignore[misc]
    """What is new since the last action; `metadata` holds the world's `info` and `truncated`."""

    messages: list[dict[str, Any]]


class ForgeState(State):  # type: ignore[misc]
    """The record of the episode (`Session.record`) beside its id and its number of actions."""


class OpenEnvWorld(Environment[ForgeAction, ForgeObservation, ForgeState]):  # type: ignore[misc]
    """One world behind OpenEnv's server; every connection holds one of these."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, world: str, args: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._session = Session(world, args)
        self._episode: str | None = None
        self._begun = threading.Event()  # OpenEnv reads the state from another thread

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        task: str | None = None,
        split: str | None = None,
        index: int | None = None,
        **_: Any,
    ) -> ForgeObservation:
        """Begin an episode: of a task by its id, of the task `index` of a split, or of one the seed draws.

        Raises TaskError and MachineError.
        """
        self._begun.clear()
        chosen = wire.chosen_task(self._env, task, split, index)
        messages = self._session.begin(chosen, seed=seed)
        self._episode = episode_id
        self._begun.set()
        return ForgeObservation(**wire.opened(messages, self._session.info))

    def step(self, action: ForgeAction, timeout_s: float | None = None, **_: Any) -> ForgeObservation:
        """Say one action. Raises MachineError, and RuntimeError where no episode is open."""
        if not self._begun.is_set():
            raise RuntimeError("no episode has begun: reset first")
        if self._session.over and self._session.error is None:
            raise RuntimeError("the episode is over: reset first")
        turn = self._session.act(action.text)
        told = {"terminated": turn.over and not turn.truncated, "truncated": turn.truncated}
        acted = {"messages": turn.messages, "reward": turn.reward, "info": turn.info, **told}
        return ForgeObservation(**wire.acted(acted))

    @property
    def state(self) -> ForgeState:
        """What became of the episode so far."""
        turns = len(self._session.turns)
        return ForgeState(episode_id=self._episode, step_count=turns, **self._session.record())

    def close(self) -> None:
        """Let go of the world."""
        self._session.close()

    def get_metadata(self) -> EnvironmentMetadata:
        """The world's own description."""
        return EnvironmentMetadata(name=self._session.world, description=about(self._env), version="1.0.0")

    # -- OpenEnv's tasks ---------------------------------------------------------------------------

    def list_splits(self) -> list[str]:
        """Names of the splits."""
        return list(self._env.splits)

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The first MOST_TASKS tasks of a split; worlds that generate have tasks without end."""
        return self.get_task_range(split, 0, wire.MOST_TASKS)

    def num_tasks(self, split: str) -> int:
        """How many tasks `list_tasks` gives."""
        return len(self._env.task_ids(split, wire.MOST_TASKS))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One task, as `reset(split=, index=)` plays it. Raises TaskError."""
        return {"id": wire.chosen_task(self._env, None, split, index), "index": index}

    def get_task_range(
        self, split: str, start: int | None = None, stop: int | None = None
    ) -> list[dict[str, Any]]:
        """Tasks from `start` up to, but not including, `stop`. Raises TaskError for one below 0."""
        if min(start or 0, stop or 0) < 0:
            raise TaskError(f"start={start}, stop={stop}: a split's tasks are counted from 0")
        first, last = start or 0, min(wire.MOST_TASKS if stop is None else stop, wire.MOST_TASKS)
        ids = self._env.task_ids(split, max(1, last))
        return [{"id": id, "index": index} for index, id in enumerate(ids)][first:last]

    @property
    def _env(self) -> AgentEnv[Any, Any]:
        return self._session.env


class ForgeClient(EnvClient[ForgeAction, ForgeObservation, ForgeState]):  # type: ignore[misc]
    """A typed client of `create_server` and of `forge-envs serve`.

    Its `message_timeout_s` (60) must be above the slowest turn: after a timeout its next call lands in a
    fresh environment, which says so, since nothing has begun there.
    """

    def _step_payload(self, action: ForgeAction) -> dict[str, Any]:
        return {"text": action.text}

    def _parse_result(self, payload: Mapping[str, Any]) -> StepResult[ForgeObservation]:
        told = {key: payload.get(key) for key in ("reward", "done", "metadata")}
        observation = ForgeObservation(messages=payload["observation"]["messages"], **told)
        return StepResult(observation=observation, reward=told["reward"], done=bool(told["done"]))

    def _parse_state(self, payload: Mapping[str, Any]) -> ForgeState:
        return ForgeState(**payload)


def create_server(world: str, args: Mapping[str, Any] | None = None, *, max_concurrent_envs: int = 64) -> Any:
    """OpenEnv's app for a world: an ASGI application, with as many episodes at once as you say.

    OpenEnv's session_timeout is left alone: it closes environments under connections that still live.
    Raises what making the world raises, which otherwise every client would be told.
    """
    Session(world, args).close()
    # A partial: OpenEnv would call a function once more, to look at what it makes.
    factory = partial(OpenEnvWorld, world, dict(args or {}))
    return create_app(
        factory,
        ForgeAction,
        ForgeObservation,
        env_name=wire.NAME,
        state_cls=ForgeState,
        max_concurrent_envs=max_concurrent_envs,
    )


def about(env: AgentEnv[Any, Any]) -> str:
    """The first paragraph of what a world says of itself."""
    return " ".join((type(env).__doc__ or "").partition("\n\n")[0].split())
