"""The MCP server over real HTTP, with the official SDK's clients: 1.x, and both protocols of 2.x."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("mcp")
pytest.importorskip("uvicorn")

import uvicorn
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from forge_envs.adapters import EPISODE_OVER
from forge_envs.adapters.mcp_server import NEW, app, main
from forge_envs.grammars import HERMES
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played


class Serving:
    """The app on a port of its own, in a thread."""

    def __init__(self, **rest: Any) -> None:
        asked = uvicorn.Config(app(WORLD, ARGS, **rest), port=0, log_level="warning")
        self.server = uvicorn.Server(asked)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> Serving:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def begin(self, task: str = TASK) -> dict[str, Any]:
        status, told = self.ask("POST", "/episodes", {"task": task, "seed": 1})
        assert status == 201, told
        return dict(told)


@pytest.fixture
def serving() -> Iterator[Serving]:
    with Serving() as found:
        yield found


@asynccontextmanager
async def by_session(url: str) -> AsyncIterator[Any]:
    """As 1.x connects, and as 2.x does to servers of that time."""
    async with streamable_http_client(url) as streams, ClientSession(streams[0], streams[1]) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def by_client(url: str) -> AsyncIterator[Any]:
    """The protocol without sessions."""
    from mcp.client import Client

    async with Client(url) as client:
        yield client


CLIENTS = [by_session, *([by_client] if NEW else [])]


async def called(client: Any, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
    result = (await client.call_tool(name, arguments)).model_dump(by_alias=True)
    return result["content"][0]["text"], bool(result.get("isError"))


async def play(connect: Any, url: str, actions: list[str]) -> list[tuple[str, bool]]:
    async with connect(url) as client:
        answers = []
        for action in actions:
            prose, calls, _ = HERMES.parse(action)
            name, arguments = (calls[0].name, calls[0].arguments) if calls else ("say", {"message": prose})
            answers.append(await called(client, name, dict(arguments)))
        return answers


@pytest.mark.parametrize("connect", CLIENTS)
def test_two_episodes_at_once_earn_what_the_same_actions_earn(
    connect: Any, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, short = played(gold()), played(gold()[:2])
    held = Open(monkeypatch)
    first, second = serving.begin(), serving.begin()
    assert first["messages"][0]["role"] == "system" and first["task"] == TASK
    assert first["url"] != second["url"]

    async def both() -> Any:
        return await asyncio.gather(
            play(connect, serving.url + first["url"], [*gold(), "More?"]),
            play(connect, serving.url + second["url"], gold()[:2]),
        )

    whole, begun = asyncio.run(both())
    assert whole[-1] == (EPISODE_OVER, False) and whole[:2] == begun
    assert serving.ask("GET", f"/episodes/{first['episode']}") == (200, {**direct, "over": True})
    status, told = serving.ask("GET", f"/episodes/{second['episode']}")
    assert (status, told) == (200, {**short, "over": False}) and told["outcome"] is None
    status, told = serving.ask("DELETE", f"/episodes/{second['episode']}")
    assert status == 200 and told["outcome"] == 0.0 and told["over"]
    assert serving.ask("DELETE", f"/episodes/{first['episode']}")[1]["outcome"] == 1.0
    assert serving.ask("GET", f"/episodes/{first['episode']}")[0] == 404 and not held.held


@pytest.mark.parametrize("connect", CLIENTS)
def test_the_tools_are_the_worlds_and_what_it_refuses_is_text(connect: Any, serving: Serving) -> None:
    begun = serving.begin()

    async def ask() -> Any:
        async with connect(serving.url + begun["url"]) as client:
            listed = (await client.list_tools()).model_dump(by_alias=True)["tools"]
            return listed, [
                await called(client, "no_such_tool", {}),
                await called(client, "say", {"words": 1}),
                await called(client, "get_order_details", {"order_id": 7}),
            ]

    listed, answers = asyncio.run(ask())
    named = {tool["name"]: tool["inputSchema"] for tool in listed}
    assert "get_order_details" in named and named["say"]["required"] == ["message"]
    assert "there is no tool" in answers[0][0] and "say takes a message" in answers[1][0]
    assert not any(failed for _, failed in answers)
    record = serving.ask("GET", f"/episodes/{begun['episode']}")[1]
    assert record["parts"]["malformed"] == pytest.approx(-0.2)


@pytest.mark.parametrize("connect", CLIENTS)
def test_a_machine_that_fails_is_an_error_and_no_reward(
    connect: Any, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Open(monkeypatch)
    Failing(monkeypatch, range(1))
    begun = serving.begin()
    answers = asyncio.run(play(connect, serving.url + begun["url"], ["Hello", *gold()[:1]]))
    assert all(failed and "no answer" in text for text, failed in answers)
    status, told = serving.ask("DELETE", f"/episodes/{begun['episode']}")
    assert status == 200 and told["outcome"] is None and told["error"]["kind"] == "timeout"
    assert not held.held


def test_calls_of_one_episode_wait_for_each_other(serving: Serving) -> None:
    begun = serving.begin()

    async def many() -> None:
        async with by_session(serving.url + begun["url"]) as client:
            await asyncio.gather(*(called(client, "say", {"message": f"Hello {i}"}) for i in range(5)))

    asyncio.run(many())
    record = serving.ask("GET", f"/episodes/{begun['episode']}")[1]
    assert len(record["turn_rewards"]) == 5


def test_bad_input_is_told(serving: Serving) -> None:
    assert serving.ask("POST", "/episodes", {"task": "nowhere"})[0] == 404
    for body in (b"{", b"[]", b'{"task": 1}', b'{"seed": -1}', b'{"seed": true}', b'{"world": "x"}', b"\xff"):
        assert serving.ask("POST", "/episodes", body)[0] == 400, body
    assert serving.ask("POST", "/episodes", b" " * 70_000)[0] == 413
    assert serving.ask("POST", "/mcp?key=x", {})[0] == 404 and serving.ask("POST", "/mcp", {})[0] == 404
    begun = serving.begin()
    assert serving.ask("GET", f"/episodes/{begun['url'].partition('=')[2]}")[0] == 404
    status, _ = serving.ask("GET", "/episodes/x")
    assert status == 404
    with pytest.raises(ValueError, match="max_trns"):
        app(WORLD, {"max_trns": 3})


def test_there_is_a_token_a_limit_and_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    with Serving(token="secret", most=1, lease=0.2) as serving:
        mine = {"authorization": "Bearer secret"}
        assert serving.ask("POST", "/episodes", {})[0] == 401
        assert serving.ask("POST", "/episodes", {}, authorization="Bearer other")[0] == 401
        status, told = serving.ask("POST", "/episodes", {"task": TASK}, **mine)
        assert status == 201
        assert serving.ask("GET", f"/episodes/{told['episode']}")[0] == 401
        assert serving.ask("POST", "/episodes", {"task": TASK}, **mine)[0] in (201, 503)
        time.sleep(0.3)
        assert serving.ask("POST", "/episodes", {"task": TASK}, **mine)[0] == 201
        assert serving.ask("GET", f"/episodes/{told['episode']}", **mine)[0] == 404
        assert len(held.held) == 1
    assert not held.held


def test_it_is_not_opened_to_other_machines_without_a_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mcp_server", WORLD, "--host", "0.0.0.0"])
    with pytest.raises(SystemExit):
        main()
    assert "give a --token" in capsys.readouterr().err


def test_a_port_that_is_none_is_refused_while_the_line_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("-1", "65536", "http"):
        monkeypatch.setattr(sys, "argv", ["mcp_server", WORLD, "--port", wrong])
        with pytest.raises(SystemExit):
            main()
        assert f"'{wrong}': a port is a number from 0 to 65535" in capsys.readouterr().err


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "mcp_agent.py"))
    assert '"outcome":1.0' in capsys.readouterr().out
