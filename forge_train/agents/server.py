"""The endpoint: an OpenAI-compatible server in front of the engine, with a session for every episode.

    POST {base_url}/chat/completions   GET {base_url}/models    base_url = http://HOST:PORT/sessions/ID/v1
    POST {world_url}                   GET {world_url}          world_url = http://HOST:PORT/sessions/ID/world

It runs on the trainer's event loop. An ID is a secret of its episode, and so is its API key; beyond loopback
every request must bear the key. `http://HOST:PORT/v1` with the key works as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from forge_train.agents.session import Session, over
from forge_train.agents.wire import IGNORED, Refused, completion_body, read_request, stream_of
from forge_train.config.hosts import is_loopback
from forge_train.play.chat_messages import beside_calls, call_block
from forge_train.play.renderer import Message

MOST_BYTES = 32 << 20
"""Largest request."""
MODEL = "policy"
"""The one model there is; any other name is taken for it."""

Handler = Callable[[Request], Awaitable[Response]]


class AsciiJSON(JSONResponse):
    """JSON that has words for half a surrogate pair, which a policy may sample and a program may send."""

    def render(self, content: Any) -> bytes:
        """As Starlette asks."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class Guest(Protocol):
    """An episode as the server sees it."""

    session: Session
    task: str
    opening: Sequence[Message]

    async def say(self, action: str, turn: int | None = None) -> tuple[Sequence[Message], bool]:
        """What the world answers to an action, and whether the episode is over; the same again for the same
        `turn`. Raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a program finds its episode."""

    id: str
    key: str
    base_url: str
    world_url: str


class AgentServer:
    """Serves the episodes that are admitted. Start it on a running loop, and close it."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Port 0 takes a free one."""
        self.host, self.port = host, port
        self._open = is_loopback(host)
        self._guests: dict[str, tuple[Address, Guest]] = {}
        self._keys: dict[str, str] = {}
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. Raises ValueError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family, backlog=2048)
        except OSError as error:
            raise ValueError(f"agent.host = {self.host}, agent.port = {self.port}: {error}") from None
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app(),
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]), name="AgentServer")
        while not self._server.started:
            if self._serving.done():
                await self._serving
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Stop serving; calling it twice is fine."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._server = self._serving = None

    def admit(self, guest: Guest) -> Address:
        """An address for an episode."""
        id, key = secrets.token_urlsafe(16), f"sk-forge-{secrets.token_urlsafe(16)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        root = f"http://{host}:{self.port}/sessions/{id}"
        address = Address(id, key, f"{root}/v1", f"{root}/world")
        self._guests[id] = address, guest
        self._keys[key] = id
        return address

    def dismiss(self, address: Address) -> None:
        """The episode is over: nobody is answered there any more."""
        self._guests.pop(address.id, None)
        self._keys.pop(address.key, None)

    # -- requests ---------------------------------------------------------------------------------------

    def _app(self) -> Starlette:
        def route(path: str, handler: Handler, method: str) -> Route:
            return Route(path, _told(handler), methods=[method])

        app = Starlette(
            routes=[
                route("/health", _health, "GET"),
                *(
                    route(f"{root}/v1{path}", handler, method)
                    for root in ("", "/sessions/{id}")
                    for path, handler, method in (
                        ("/chat/completions", self._complete, "POST"),
                        ("/models", self._models, "GET"),
                        ("/models/{model:path}", self._model, "GET"),
                    )
                ),
                route("/sessions/{id}/world", self._begun, "GET"),
                route("/sessions/{id}/world", self._say, "POST"),
            ]
        )
        app.add_exception_handler(HTTPException, _unknown)
        return app

    def _guest(self, request: Request) -> Guest:
        """The episode of a request. Raises Refused."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        id, by_key = request.path_params.get("id"), self._keys.get(bearer)
        if (id is None or not self._open) and (by_key is None or id not in (None, by_key)):
            raise Refused(
                "the API key is not that of a session: use the OPENAI_API_KEY the program was given",
                status=401,
                code="invalid_api_key",
            )
        id = id or by_key
        if id is None or id not in self._guests:
            raise over()
        return self._guests[id][1]

    async def _complete(self, request: Request) -> Response:
        guest = self._guest(request)
        asked = read_request(await _body(request))
        answer = await _while_connected(request, guest.session.answer(asked))
        headers = {IGNORED: ", ".join(asked.ignored)} if asked.ignored else None
        if asked.stream:
            return _streamed(stream_of(answer, asked), headers)
        return AsciiJSON(completion_body(answer, asked), headers=headers)

    async def _models(self, request: Request) -> Response:
        self._guest(request)
        return AsciiJSON({"object": "list", "data": [_described(MODEL)]})

    async def _model(self, request: Request) -> Response:
        self._guest(request)
        return AsciiJSON(_described(request.path_params["model"]))

    async def _begun(self, request: Request) -> Response:
        guest = self._guest(request)
        return AsciiJSON({"task": guest.task, "messages": list(guest.opening)})

    async def _say(self, request: Request) -> Response:
        guest = self._guest(request)
        messages, ended = await _while_connected(request, guest.say(*_action(await _body(request))))
        return AsciiJSON({"messages": list(messages), "over": ended})


class _Server(uvicorn.Server):
    """Signals are the trainer's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _described(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "forge"}


def _streamed(events: Iterator[str], headers: Mapping[str, str] | None) -> Response:
    return StreamingResponse(
        events, media_type="text/event-stream", headers={"cache-control": "no-cache", **(headers or {})}
    )


def _action(data: bytes) -> tuple[str, int | None]:
    """What a program wants to do in the world (text as it is, or calls, written in the Hermes grammar), and
    the number it gives it."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}", code="invalid_json") from None
    turn = told.get("turn") if isinstance(told, dict) else None
    if turn is not None and type(turn) is not int:
        raise Refused(f"turn={turn!r}: a whole number that counts actions, or none", param="turn")
    if isinstance(told, dict) and isinstance(told.get("action"), str):
        return str(told["action"]), turn
    try:
        blocks = [call_block(call["name"], call.get("arguments")) for call in told["calls"]]
        if blocks:
            return "\n".join(filter(None, [beside_calls(told.get("text") or ""), *blocks])), turn
    except (KeyError, TypeError, AttributeError):
        pass
    raise Refused('say {"action": text}, or {"calls": [{"name": …, "arguments": {…}}]}', param="action")


async def _body(request: Request) -> bytes:
    """Raises Refused when it is too large."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise Refused(f"the body has more than {MOST_BYTES} bytes", status=413, code="request_too_large")
    return bytes(data)


async def _while_connected(request: Request, work: Any) -> Any:
    """Do `work`, and give it up when whoever asked has gone: nobody would read what comes of it."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # the body has been read: what comes next is the end
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        for task in (doing, gone):
            task.cancel()
        await asyncio.gather(doing, gone, return_exceptions=True)


def _told(handler: Handler) -> Handler:
    """`handler` with what it refuses told as OpenAI tells errors."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return AsciiJSON(refused.body(), status_code=refused.status)
        except ClientDisconnect:
            return Response(status_code=499)

    return told


async def _health(request: Request) -> Response:
    return AsciiJSON({"status": "ok"})


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}: this server knows chat/completions and models"
    return AsciiJSON(
        Refused(what, status=error.status_code, code="unknown_url").body(), status_code=error.status_code
    )
