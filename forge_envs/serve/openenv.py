"""OpenEnv's protocol, spoken by the same server without its package: its clients play our worlds.

`GenericEnvClient(base_url="http://host:port/openenv/Forge/Retail-v0")`, or the bare address where one world
is served. Their sessions are ours: same places, leases, token and numbers. A reset takes `seed`, `task` or
`split` and `index`, `args` and `episode_id`, and is a new session on the same connection.

A machine failure, a step without a reset and a session that is gone are errors (EXECUTION_ERROR, or
CAPACITY_REACHED where no place is free) and never an observation, so that no client takes them for a 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from fastapi import FastAPI, Response, WebSocket
from pydantic import Field

from forge_envs.adapters import openenv_wire as wire
from forge_envs.errors import TaskError
from forge_envs.serve import forms
from forge_envs.serve.faults import Fault
from forge_envs.serve.sessions import Lease, Sessions
from forge_envs.serve.socket import converse, filled

CODES = {
    "full": "CAPACITY_REACHED",
    "closing": "CAPACITY_REACHED",
    "malformed": "INVALID_JSON",
    "argument": "VALIDATION_ERROR",
    "verb": "UNKNOWN_TYPE",
}
"""OpenEnv's codes for what keeps an answer from coming; for all else EXECUTION_ERROR."""


class OpenEnvAction(forms.Form):
    """An action as OpenEnv's clients send it."""

    text: forms.Text
    metadata: dict[str, Any] = Field(default_factory=dict)


class OpenEnvTalk:
    """One connection of an OpenEnv client to one world."""

    def __init__(self, sessions: Sessions, world: str) -> None:
        self.sessions, self.world = sessions, world
        self.lease: Lease | None = None
        self.episode: str | None = None

    async def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """What is answered to a message, an error included."""
        try:
            return await self._answer(message)
        except Fault as fault:
            self.sessions.metrics.refused(fault.kind)
            told = {**fault.as_dict()["error"], "code": CODES.get(fault.kind, "EXECUTION_ERROR")}
            return {"type": "error", "data": told}

    async def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        kind, data = message.get("type"), message.get("data", {})
        if not message or not isinstance(data, dict):
            raise Fault("malformed", "a message is a JSON object with a type and, mostly, data")
        if kind == "reset":
            return {"type": "observation", "data": wire.on_wire(await self._reset(data))}
        if kind == "step":
            action = filled(OpenEnvAction, data)
            acted = await self.sessions.step(self._held().id, action.text)
            return {"type": "observation", "data": wire.on_wire(wire.acted(acted))}
        if kind == "state":
            return {"type": "state", "data": self._state()}
        if kind == "close":
            self.leave()
            return {"type": "state", "data": self._state()}
        raise Fault("verb", f"unknown message type {str(kind)[:60]!r}: known are reset, step, state, close")

    async def _reset(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A new session; as in OpenEnv, parameters that a world does not know are not for it."""
        self.leave()
        known = {key: data[key] for key in ("seed", "task", "args") if data.get(key) is not None}
        form = filled(forms.Begin, {"world": self.world, **known})
        split, index = data.get("split"), data.get("index")
        if split is not None or index is not None:
            task = form.task
            form.task = await self.sessions.look(
                form.world, form.args, lambda session: _task(session.env, task, split, index)
            )
        lease, messages, info = await self.sessions.begin(form.world, form.args, form.task, form.seed)
        self.lease, self.episode = lease, str(data.get("episode_id") or lease.id)
        return wire.opened(messages, info)

    def _state(self) -> dict[str, Any]:
        if self.lease is None:
            return {"episode_id": None, "step_count": 0}
        record = self.sessions.record(self.lease.id)
        return {**record, "episode_id": self.episode, "step_count": self.lease.turn}

    def _held(self) -> Lease:
        if self.lease is None:
            raise Fault("unknown", "no episode has begun on this connection: reset first")
        return self.lease

    def leave(self) -> None:
        """Let go of the episode, if there is one."""
        if self.lease is not None:
            self.sessions.abandon(self.lease.id)
        self.lease = None


def add_routes(app: FastAPI, sessions: Sessions) -> None:
    """`/openenv/WORLD/ws`, `/schema`, `/metadata`, `/health`; and at the root for a server of one world."""
    worlds = sessions.offer.worlds
    roots = [f"/openenv/{id}" for id in worlds]
    for root, id in [
        *zip(roots, worlds, strict=True),
        *([("", next(iter(worlds)))] if len(worlds) == 1 else []),
    ]:
        _add_world(app, sessions, root, id)


def _add_world(app: FastAPI, sessions: Sessions, root: str, id: str) -> None:
    about = sessions.offer.worlds[id].about
    tags: list[str | Enum] = ["OpenEnv"]

    @app.websocket(f"{root}/ws")
    async def talk(websocket: WebSocket) -> None:
        """Reset, step, state and close, as OpenEnv's clients say them."""
        one = OpenEnvTalk(sessions, id)
        await converse(websocket, sessions, one.answer, one.leave)

    @app.get(f"{root}/schema", tags=tags)
    async def schema() -> dict[str, Any]:
        """JSON schemas of actions, observations and states."""
        return {
            "action": wire.ACTION_SCHEMA,
            "observation": wire.OBSERVATION_SCHEMA,
            "state": wire.STATE_SCHEMA,
        }

    @app.get(f"{root}/metadata", tags=tags)
    async def metadata() -> dict[str, Any]:
        """What OpenEnv tells of an environment."""
        return {"name": id, "description": about["about"], "version": app.version}

    if root:

        @app.get(f"{root}/health", tags=tags)
        async def health() -> Response:
            """That the world can be played."""
            return Response('{"status": "healthy"}', media_type="application/json")


def _task(env: Any, task: object, split: object, index: object) -> str | None:
    try:
        return wire.chosen_task(env, task, split, index)
    except TaskError as error:
        raise Fault("argument", str(error)) from error
