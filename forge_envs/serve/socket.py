"""The server's WebSocket: the same as over HTTP, with one session at a time that lives with its connection.

Each message is a JSON object: `{"do": "begin", "world": ..., ...}`, `{"do": "step", "action": ...}`,
`{"do": "finish"}`, `{"do": "record"}` or `{"do": "end"}`. The answer is what HTTP answers, or an `error`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from forge_envs.serve import forms
from forge_envs.serve.faults import Fault, fields_told, written
from forge_envs.serve.sessions import Sessions

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Talk:
    """One connection and the session it holds."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.session = ""

    async def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """What is answered to a message. Raises Fault."""
        verbs = {
            "begin": self._begin,
            "step": self._step,
            "finish": self._finish,
            "record": self._record,
            "end": self._end,
        }
        verb = message.pop("do", None)
        if not isinstance(verb, str) or verb not in verbs:
            raise Fault("malformed", f'"do" must be one of {", ".join(verbs)}')
        return await verbs[verb](message)

    async def _begin(self, message: dict[str, Any]) -> dict[str, Any]:
        form = filled(forms.Begin, message)
        self.leave()
        lease, messages, info = await self.sessions.begin(form.world, form.args, form.task, form.seed)
        self.session = lease.id
        idle = self.sessions.limits.idle
        return {"session": lease.id, "messages": messages, "info": info, "idle": idle}

    async def _step(self, message: dict[str, Any]) -> dict[str, Any]:
        form = filled(forms.Step, message)
        return await self.sessions.step(self._held(), form.action, form.turn)

    async def _finish(self, message: dict[str, Any]) -> dict[str, Any]:
        filled(forms.Form, message)
        return await self.sessions.finish(self._held())

    async def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        filled(forms.Form, message)
        return self.sessions.record(self._held())

    async def _end(self, message: dict[str, Any]) -> dict[str, Any]:
        filled(forms.Form, message)
        return await self.sessions.delete(self._held())

    def _held(self) -> str:
        if not self.session:
            raise Fault("unknown", "no session has begun on this connection")
        return self.session

    def leave(self) -> None:
        """Let go of the session, if there is one."""
        self.sessions.abandon(self.session)
        self.session = ""


async def serve(websocket: WebSocket, sessions: Sessions) -> None:
    """Talk over one connection until either side has enough; then its session ends."""
    talk = Talk(sessions)

    async def answer(message: dict[str, Any]) -> dict[str, Any]:
        try:
            return await talk.answer(message)
        except Fault as fault:
            sessions.metrics.refused(fault.kind)
            return fault.as_dict()

    await converse(websocket, sessions, answer, talk.leave)


async def converse(
    websocket: WebSocket, sessions: Sessions, answer: Answer, leave: Callable[[], None]
) -> None:
    """Answer the JSON objects of a connection, one after the other; `leave` is called in any case.

    A connection on which nothing is said for as long as a session may idle is closed, so that whoever
    speaks again learns it and does not go on without a session.
    """
    await websocket.accept()
    try:
        while True:
            text = await asyncio.wait_for(websocket.receive_text(), sessions.limits.idle)
            try:
                said = written(await answer(_object(text)))
            except Fault as fault:
                said = fault.body().decode()
            await websocket.send_text(said)
    except TimeoutError:
        await websocket.close(1008, f"nothing was said for {sessions.limits.idle:g} s")
    except (WebSocketDisconnect, RuntimeError, KeyError):  # it has gone, or spoke in bytes
        pass
    finally:
        leave()


def filled(form: type[Any], message: Mapping[str, Any]) -> Any:
    """The form that a message fills. Raises Fault."""
    assert issubclass(form, BaseModel)
    try:
        return form.model_validate(message)
    except ValidationError as error:
        raise Fault("argument", fields_told(error.errors())) from None


def _object(text: str) -> dict[str, Any]:
    """The object in a message; {} for what is none, which no verb takes."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
