"""The server's HTTP: one route for each thing that can be done with a session."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from forge_envs.adapters.session import Session
from forge_envs.serve import forms, openenv, socket
from forge_envs.serve.faults import Fault, fields_told, written
from forge_envs.serve.guard import Gate
from forge_envs.serve.limits import ServeLimits
from forge_envs.serve.metrics import Metrics
from forge_envs.serve.offer import Offer
from forge_envs.serve.sessions import Sessions

DESCRIPTION = """Worlds for language agents. Begin a session, say actions, read what became of it.

An answer without status 200 holds an `error` and never a reward: a machine failure is no score."""


def make_app(offer: Offer, limits: ServeLimits, token: str | None = None) -> FastAPI:
    """The ASGI application; `app.state.sessions` and `app.state.metrics` are what it keeps."""
    metrics = Metrics()
    sessions = Sessions(offer, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        keeping = asyncio.create_task(sessions.keep_house())
        yield
        keeping.cancel()
        await sessions.close()

    app = FastAPI(
        title="forge-envs serve",
        description=DESCRIPTION,
        version=importlib.metadata.version("forge-envs"),
        lifespan=lifespan,
        responses={"default": {"model": forms.Refusal, "description": "No answer, and why"}},
    )
    app.state.sessions, app.state.metrics = sessions, metrics
    app.add_middleware(Gate, limits=limits, token=token, refused=metrics.refused)
    _add_errors(app, metrics)
    _add_sessions(app, sessions)
    _add_questions(app, sessions, offer, limits, metrics)
    openenv.add_routes(app, sessions)

    @app.websocket("/socket")
    async def talk(websocket: WebSocket) -> None:
        await socket.serve(websocket, sessions)

    return app


def _add_sessions(app: FastAPI, sessions: Sessions) -> None:
    tags: list[str | Enum] = ["sessions"]

    @app.post("/sessions", tags=tags, response_model=forms.Opened)
    async def begin(form: forms.Begin, request: Request) -> Response:
        """Begin an episode. Without a task, the seed draws one."""
        lease, messages, info = await sessions.begin(form.world, form.args, form.task, form.seed)
        if await request.is_disconnected():  # nobody has the id, so nobody would end it
            await sessions.delete(lease.id)
        idle = sessions.limits.idle
        return _json({"session": lease.id, "messages": messages, "info": info, "idle": idle})

    @app.post("/sessions/{id}/step", tags=tags, response_model=forms.Acted)
    async def step(id: str, form: forms.Step) -> Response:
        """Say one action. One at a time: a second at once is refused (409)."""
        return _json(await sessions.step(id, form.action, form.turn))

    @app.post("/sessions/{id}/finish", tags=tags, response_model=forms.EpisodeRecord)
    async def finish(id: str) -> Response:
        """Grade the episode where it stands, as the turn limit would, unless it is over."""
        return _json(await sessions.finish(id))

    @app.get("/sessions/{id}", tags=tags, response_model=forms.EpisodeRecord)
    async def record(id: str) -> Response:
        """What became of it so far. Asking renews the lease."""
        return _json(sessions.record(id))

    @app.delete("/sessions/{id}", tags=tags, response_model=forms.EpisodeRecord)
    async def delete(id: str) -> Response:
        """End it, after the step that may be running, and close its world."""
        return _json(await sessions.delete(id))


def _add_questions(
    app: FastAPI, sessions: Sessions, offer: Offer, limits: ServeLimits, metrics: Metrics
) -> None:
    tags: list[str | Enum] = ["worlds"]

    @app.get("/worlds", tags=tags, response_model=forms.Worlds)
    async def worlds() -> Response:
        """The worlds on offer, what may be said about them, and some tasks of each."""
        return _json({"worlds": [world.about for world in offer.worlds.values()]})

    @app.post("/spaces", tags=tags, response_model=forms.Spaces)
    async def spaces(form: forms.Kind) -> Response:
        """The grammar and the tools of a world, of which a client makes its spaces."""
        return _json(await sessions.look(form.world, form.args, _spaces))

    @app.post("/tasks", tags=tags, response_model=forms.Tasks)
    async def tasks(form: forms.TasksOf) -> Response:
        """The first `n` task ids of a split."""
        n = min(form.n or limits.max_tasks, limits.max_tasks)
        ids = await sessions.look(form.world, form.args, lambda one: _tasks(one, form.split, n))
        return _json({"tasks": ids})

    @app.get("/health", tags=["server"], response_model=forms.Health)
    async def health() -> Response:
        """That the server is there; the one question that needs no token."""
        told = {"status": "healthy", "sessions": len(sessions), "places": limits.max_sessions}
        return _json(told)

    @app.get("/metrics", tags=["server"], response_class=Response)
    async def numbers() -> Response:
        """Counters in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_errors(app: FastAPI, metrics: Metrics) -> None:
    async def refuse(fault: Fault) -> Response:
        metrics.refused(fault.kind)
        return Response(fault.body(), fault.status, media_type="application/json")

    @app.exception_handler(Fault)
    async def on_fault(_: Request, fault: Fault) -> Response:
        return await refuse(fault)

    @app.exception_handler(RequestValidationError)
    async def on_form(_: Request, error: RequestValidationError) -> Response:
        told = error.errors()
        malformed = any(one["type"] in ("json_invalid", "model_attributes_type") for one in told)
        return await refuse(Fault("malformed" if malformed else "argument", fields_told(told, skip=1)))

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        kind = {400: "malformed", 404: "unknown"}.get(error.status_code, "refused")
        fault = Fault(kind, str(error.detail))
        fault.status = error.status_code
        return await refuse(fault)


def _spaces(session: Session) -> dict[str, Any]:
    env = session.env
    return {"grammar": env.grammar.name, "tools": env.schemas, "splits": list(env.splits)}


def _tasks(session: Session, split: str | None, n: int) -> list[str]:
    return list(session.env.task_ids(split, n))


def _json(told: Mapping[str, Any]) -> Response:
    return Response(written(told), media_type="application/json")
