"""A world's tools as an MCP server over HTTP, for agents that bring a loop of their own.

```console
$ python -m forge_envs.adapters.mcp_server Forge/Retail-v0 --port 8000
$ curl -X POST localhost:8000/episodes -d '{"task": "retail/small/train/2/1"}'
{"episode": "…", "url": "/mcp?key=…", "task": "…", "messages": [the rules and the opening]}
```
The agent is given the messages, and `http://localhost:8000/mcp?key=…` for a server: the world's tools, and
`say`, whose result is what the other party answers. Whoever runs it asks `GET /episodes/ID` what became of
it, and ends it with `DELETE /episodes/ID`, which grades it where it stands and tells the same. The key acts
and the id asks, so that an agent that knows its own address cannot look up its score.

An episode has a key because MCP's own sessions do not name one: the protocol of 2026-07-28 has none. Official
SDKs 1.x and 2.x both serve here, and clients of both are served.

## What it cannot carry

- Rewards of any kind: a tool's result is text. They stand in the record that the control route tells.
- A machine that fails: the call `isError`, as are all later ones; the record says which, and has no outcome.
- Several calls at once: they wait for each other, and each is a turn of its own, where a model that writes
  its calls as text makes them in one. The scores of the two are not comparable.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hmac import compare_digest
from importlib.util import find_spec
from typing import Any

import gymnasium as gym

from forge_envs.adapters.asked import json_object
from forge_envs.adapters.library import need
from forge_envs.adapters.loopback import is_loopback, names_loopback
from forge_envs.adapters.session import Session
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import split_tools
from forge_envs.errors import MachineError, NotInstalled, TaskError
from forge_envs.messages import Observation
from forge_envs.typed import port

NEW = find_spec("mcp_types") is not None
"""Whether the SDK is 2.x, which has its types apart."""
try:
    need("mcp", (2,) if NEW else (1, 30), "mcp>=1.30,<3")
except NotInstalled as missing:
    if __name__ == "__main__":
        raise SystemExit(str(missing)) from None
    raise

from mcp import types  # noqa: E402
from mcp.server.lowlevel import Server  # noqa: E402
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: E402
from mcp.server.transport_security import TransportSecuritySettings  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402

SAY: dict[str, Any] = {
    "name": "say",
    "description": "Say something to the other party; the result is the answer.",
    "parameters": {
        "type": "object",
        "properties": {"message": {"type": "string", "description": "What to say."}},
        "required": ["message"],
    },
}
MOST_BYTES = 65536


@dataclass
class OpenEpisode:
    """An episode that is open to an agent."""

    session: Session
    opening: Observation
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    used: float = field(default_factory=time.monotonic)

    def tools(self) -> list[dict[str, Any]]:
        """The tools so far, as functions with a JSON schema each; some worlds bring more as they go."""
        heard = [self.opening, *(turn.messages for turn in self.session.turns)]
        found = {
            tool["function"]["name"]: tool["function"] for part in heard for tool in split_tools(part)[1]
        }
        return [*found.values(), SAY]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What the world answers. Raises MachineError."""
        async with self.lock:
            self.used = time.monotonic()
            session = self.session
            if name != SAY["name"]:
                return await aside(session, session.call, name, arguments)
            message = arguments.get("message")
            if not isinstance(message, str):
                return "Error: say takes a message, which is a text. Nothing was said."
            return await aside(session, session.say, message)

    async def end(self) -> dict[str, Any]:
        """The record, graded where it stands; its world is let go."""
        async with self.lock:
            try:
                await aside(self.session, self.session.finish)
            except MachineError:
                pass  # the record has it
            finally:
                self.session.close()
            return self.session.record()


class Episodes:
    """All that are open, of one world: at most `most`, and each while it is used every `lease` seconds."""

    def __init__(self, world: str, args: Mapping[str, Any] | None, most: int, lease: float) -> None:
        """Raises what `Session` raises, and ValueError for a world with a tool `say` of its own."""
        self.world, self.args, self.most, self.lease = world, dict(args or {}), most, lease
        self.open: dict[str, OpenEpisode] = {}
        with Session(world, args) as session:
            space: Any = session.env.action_space
            if any(tool["function"]["name"] == SAY["name"] for tool in space.tools):
                raise ValueError(f"{world} has a tool `say` of its own: calls of it and speech are one")

    async def begin(self, task: str | None, seed: int | None) -> tuple[str, OpenEpisode]:
        """An episode and its id. Raises TaskError, MachineError, and RuntimeError where there is no room."""
        await self.sweep()
        if len(self.open) >= self.most:
            raise RuntimeError(f"{self.most} episodes are open, which is all there is room for")
        session = Session(self.world, self.args)
        id = secrets.token_urlsafe(12)
        served = self.open[id] = OpenEpisode(session, ())  # has its place before anyone else may ask for it
        try:
            served.opening = await aside(session, session.begin, task, seed=seed)
        except BaseException:
            del self.open[id]
            session.close()
            raise
        return id, served

    async def sweep(self) -> None:
        """End those whose agent is gone."""
        late = time.monotonic() - self.lease
        for id in [id for id, one in self.open.items() if one.used < late and not one.lock.locked()]:
            if (one := self.open.pop(id, None)) is not None:  # unless another sweep has it
                await one.end()

    def of(self, key: str | None) -> OpenEpisode | None:
        """The episode that a key opens."""
        told = (key or "").encode()
        return next((one for one in self.open.values() if compare_digest(one.key.encode(), told)), None)


def app(
    world: str,
    args: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    most: int = 256,
    lease: float = 1800.0,
    hosts: tuple[str, ...] = (),
) -> Starlette:
    """The server as an ASGI app: `/mcp?key=…` for agents, `/episodes` for who runs them.

    `token` is asked of the control route as a bearer's; `hosts` are names beside the local ones by which the
    server may be called (`forge.example:8000`). Raises as `Episodes`.
    """
    episodes = Episodes(world, args, most, lease)
    names = [f"{name}:*" for name in ("127.0.0.1", "localhost", "[::1]")]
    allowed = TransportSecuritySettings(allowed_hosts=[*names, *hosts])
    manager = StreamableHTTPSessionManager(
        _server(episodes), json_response=True, stateless=True, security_settings=allowed
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            async with manager.run():
                yield
        finally:
            for served in list(episodes.open.values()):
                served.session.close()
            episodes.open.clear()

    control = ControlRoute(episodes, token, hosts)
    routes = [
        Route("/episodes", control.begin, methods=["POST"]),
        Route("/episodes/{id}", control.one, methods=["GET", "DELETE"]),
        Route("/mcp", AgentRoute(episodes, manager)),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


class AgentRoute:
    """The route for agents: an episode's key opens it."""

    def __init__(self, episodes: Episodes, manager: StreamableHTTPSessionManager) -> None:
        self.episodes, self.manager = episodes, manager

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As ASGI asks."""
        if self.episodes.of(Request(scope).query_params.get("key")) is None:
            await _told(404, "no episode has this key: it ended, or never began")(scope, receive, send)
        else:
            await self.manager.handle_request(scope, receive, send)


class ControlRoute:
    """The routes for who runs agents."""

    def __init__(self, episodes: Episodes, token: str | None, hosts: tuple[str, ...]) -> None:
        self.episodes, self.token, self.hosts = episodes, token, hosts

    def _refused(self, request: Request) -> Response | None:
        if self.token is None:
            # Any web page can make a browser on this machine ask, under a name of its own for us.
            for told in (
                "//" + request.headers.get("host", ""),
                request.headers.get("origin", "//localhost"),
            ):
                if told.rpartition("//")[2] not in self.hosts and not names_loopback(told):
                    return _told(403, f"{told!r} is not this machine: without a token no other is served")
        wanted = f"Bearer {self.token}".encode()
        if self.token and not compare_digest(request.headers.get("authorization", "").encode(), wanted):
            return _told(401, "the header Authorization has to be: Bearer TOKEN, with this server's token")
        return None

    async def begin(self, request: Request) -> Response:
        """POST {task?, seed?}: begin an episode."""
        if refused := self._refused(request):
            return refused
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                return _told(413, f"a task and a seed take less than {MOST_BYTES} bytes")
        try:
            task, seed = _asked(json.loads(body or b"{}"))
        except (ValueError, RecursionError) as error:
            return _told(400, str(error))
        try:
            id, served = await self.episodes.begin(task, seed)
        except TaskError as error:
            return _told(404, str(error))
        except MachineError as error:
            return JSONResponse({"error": error.as_dict()}, 503)
        except RuntimeError as error:
            return _told(503, str(error))
        messages = split_tools(served.opening)[0]
        told = {"episode": id, "url": f"/mcp?key={served.key}", "task": served.session.task}
        return JSONResponse({**told, "messages": messages}, 201)

    async def one(self, request: Request) -> Response:
        """GET: what became of it so far. DELETE: end it, graded where it stands."""
        if refused := self._refused(request):
            return refused
        id = request.path_params["id"]
        served = self.episodes.open.get(id)
        if served is None:
            return _told(404, f"no episode {id!r}: it ended, or never began")
        if request.method == "DELETE":
            del self.episodes.open[id]
            return JSONResponse({**await served.end(), "over": True})
        return JSONResponse({**served.session.record(), "over": served.session.over})


def _asked(body: Any) -> tuple[str | None, int | None]:
    if not isinstance(body, dict) or not body.keys() <= {"task", "seed"}:
        raise ValueError('the body is a JSON object with a "task" and a "seed", or without')
    task, seed = body.get("task"), body.get("seed")
    if not isinstance(task, str | None) or type(seed) not in (int, type(None)) or (seed or 0) < 0:
        raise ValueError(f"task={task!r}, seed={seed!r}: a text, and a whole number from 0 on")
    return task, seed


def _told(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)


def _server(episodes: Episodes) -> Server[Any]:
    """The MCP server; its two answers are the same in both SDKs, and how they are registered is not."""

    async def tools(request: Any) -> Any:
        served = episodes.of(request.query_params.get("key"))
        found = [] if served is None else served.tools()
        told = [
            {"name": tool["name"], "description": tool["description"], "inputSchema": tool["parameters"]}
            for tool in found
        ]
        return types.ListToolsResult.model_validate({"tools": told})

    async def call(request: Any, params: Any) -> Any:
        served = episodes.of(request.query_params.get("key"))
        try:
            if served is None:
                raise MachineError("the episode has ended", kind="gone", stage="mcp", retryable=False)
            text, failed = await served.call(params.name, params.arguments or {}), False
        except MachineError as error:
            text, failed = f"The machine failed: {error}. This episode cannot go on.", True
        content = [{"type": "text", "text": text}]
        return types.CallToolResult.model_validate({"content": content, "isError": failed})

    if not NEW:
        old: Server[Any] = Server("forge")

        async def list_old(_: Any) -> Any:
            return types.ServerResult(await tools(old.request_context.request))

        async def call_old(asked: Any) -> Any:
            return types.ServerResult(await call(old.request_context.request, asked.params))

        old.request_handlers |= {types.ListToolsRequest: list_old, types.CallToolRequest: call_old}
        return old

    async def list_new(context: Any, _: Any) -> Any:
        return await tools(context.request)

    async def call_new(context: Any, params: Any) -> Any:
        return await call(context.request, params)

    return Server("forge", on_list_tools=list_new, on_call_tool=call_new)


def main() -> None:
    """Serve a world's tools over MCP."""
    parser = argparse.ArgumentParser("forge_envs.adapters.mcp_server", description=main.__doc__)
    parser.add_argument("world", help="id of a world, e.g. Forge/Retail-v0")
    parser.add_argument("--args", type=json_object, default={}, help="its arguments, as JSON")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, default=8000)
    parser.add_argument("--name", action="append", default=[], help="a host:port by which it may be called")
    parser.add_argument("--token", help="asked of /episodes; needed beyond this machine")
    asked = parser.parse_args()
    if not asked.token and not is_loopback(asked.host):
        parser.error(f"--host {asked.host} is open to other machines: give a --token")
    import uvicorn

    try:
        served = app(asked.world, asked.args, token=asked.token, hosts=tuple(asked.name))
    except (ValueError, TypeError, ImportError, gym.error.Error) as error:
        parser.error(str(error))
    uvicorn.run(served, host=asked.host, port=asked.port, log_level="warning")


if __name__ == "__main__":
    main()
