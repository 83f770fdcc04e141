"""Sessions over WebSockets, in our own words and in OpenEnv's: one lives as long as its connection."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from forge_envs.adapters import Session
from tests.serve.house import RETAIL, SLOW, TASK, House, closed, door, house
from tests.waiting import until


class Talk:
    """A connection, and what is said on it."""

    def __init__(self, line: ClientConnection) -> None:
        self.line = line

    def __call__(self, message: Any) -> Any:
        self.line.send(message if isinstance(message, str) else json.dumps(message))
        return json.loads(self.line.recv(20))


@contextlib.contextmanager
def talk(server: House, path: str = "/socket", **more: Any) -> Iterator[Talk]:
    with connect(server.url.replace("http", "ws") + path, **more) as line:
        yield Talk(line)


def test_gold_over_a_socket() -> None:
    with house() as server, Session(RETAIL) as direct, talk(server) as say:
        opening = direct.begin(TASK)
        assert tuple(say({"do": "begin", "world": RETAIL, "task": TASK})["messages"]) == opening
        for action in direct.env.gold_actions(TASK):
            took = direct.act(action)
            told = say({"do": "step", "action": action})
            assert told["messages"] == list(took.messages) and told["info"] == took.info
        assert say({"do": "record"})["outcome"] == say({"do": "finish"})["outcome"] == 1.0
        assert say({"do": "step", "action": "x"})["error"]["kind"] == "gone"
        assert say({"do": "begin", "world": RETAIL, "task": TASK})["info"]["turn"] == 0
        assert say({"do": "end"})["ended"] == "deleted"


def test_rubbish_is_answered_and_the_session_lives() -> None:
    with house(max_bytes=5000) as server, talk(server) as say:
        for rubbish in ("", "{", "[1]", "null", "[" * 4000, '{"do": 1}', '{"do": "dance"}', "NaN"):
            assert say(rubbish)["error"]["kind"] == "malformed"
        assert say({"do": "step", "action": "x"})["error"]["kind"] == "unknown"
        assert say({"do": "begin", "world": SLOW, "task": "t", "more": 1})["error"]["kind"] == "argument"
        say({"do": "begin", "world": SLOW, "task": "t"})
        assert say({"do": "step", "action": 7})["error"]["kind"] == "argument"
        assert say({"do": "step", "action": "fail"})["error"]["kind"] == "sandbox"
        say({"do": "begin", "world": SLOW, "task": "t"})
        assert say({"do": "step", "action": "hello"})["info"]["turn"] == 1
        with pytest.raises(ConnectionClosed) as gone:
            say({"do": "step", "action": "x" * 6000})
        assert gone.value.rcvd is not None and gone.value.rcvd.code == 1009
        until(lambda: server.sessions.held == 0)
        with talk(server) as other:
            other.line.send(b"\x00\xff")
            with pytest.raises(ConnectionClosed):
                other.line.recv(20)


def test_a_session_ends_with_its_connection() -> None:
    with house() as server:
        with talk(server) as say:
            say({"do": "begin", "world": SLOW, "task": "leaves"})
        until(lambda: "leaves" in closed and server.sessions.held == 0)
        with talk(server) as say:
            say({"do": "begin", "world": SLOW, "task": "leaves in a step"})
            say.line.send(json.dumps({"do": "step", "action": "wait socket"}))
            assert door("here socket").wait(20)
            say.line.socket.close()
        assert server.sessions.held == 1  # what runs ends first
        door("socket").set()
        until(lambda: "leaves in a step" in closed and server.sessions.held == 0)


def test_who_says_nothing_is_let_go() -> None:
    with house(idle=0.4) as server, talk(server) as say:
        say({"do": "begin", "world": SLOW, "task": "silent"})
        with pytest.raises(ConnectionClosed) as gone:
            say.line.recv(20)
        assert gone.value.rcvd is not None and gone.value.rcvd.code == 1008
        until(lambda: server.sessions.held == 0)


def test_a_socket_needs_the_token_too() -> None:
    with house(token="a-long-secret") as server:
        for path in ("/socket", f"/openenv/{SLOW}/ws"):
            with pytest.raises(InvalidStatus) as refused, talk(server, path):
                pass
            assert refused.value.response.status_code == 401
            with talk(server, path, additional_headers={"Authorization": "Bearer a-long-secret"}):
                pass
    with house() as server, pytest.raises(InvalidStatus) as refused:  # noqa: SIM117
        with talk(server, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


def test_openenvs_words() -> None:
    with house() as server, Session(RETAIL) as direct, talk(server, f"/openenv/{RETAIL}/ws") as say:
        assert say({"type": "state"}) == {"type": "state", "data": {"episode_id": None, "step_count": 0}}
        error = say({"type": "step", "data": {"text": "x"}})
        assert error["type"] == "error" and error["data"]["code"] == "EXECUTION_ERROR"
        told = say({"type": "reset", "data": {"task": TASK, "episode_id": "mine", "colour": "blue"}})
        assert told["type"] == "observation" and told["data"]["reward"] is None and not told["data"]["done"]
        assert tuple(told["data"]["observation"]["messages"]) == direct.begin(TASK)
        for action in direct.env.gold_actions(TASK):
            direct.act(action)
            data = say({"type": "step", "data": {"text": action}})["data"]
        assert data["done"] and data["reward"] == 1.0 and data["metadata"]["outcome"] == 1.0
        assert data["metadata"] == {**direct.info, "truncated": False} == data["observation"]["metadata"]
        state = say({"type": "state"})["data"]
        assert state["episode_id"] == "mine" and state["step_count"] == len(direct.turns)
        error = say({"type": "step", "data": {"text": "x"}})
        assert error["data"]["code"] == "EXECUTION_ERROR" and "over" in error["data"]["message"]


def test_openenvs_errors_are_no_observations() -> None:
    with (
        house((SLOW,), max_sessions=1) as server,
        talk(server, "/ws") as say,
    ):  # the only world: at the root too
        for message, code in (
            ("{", "INVALID_JSON"),
            ({"type": "dance"}, "UNKNOWN_TYPE"),
            ({"type": "reset", "data": {"seed": -1}}, "VALIDATION_ERROR"),
            ({"type": "reset", "data": {"split": "nowhere", "index": 0}}, "VALIDATION_ERROR"),
            ({"type": "reset", "data": {"split": "test", "index": 10**7}}, "VALIDATION_ERROR"),
            ({"type": "reset", "data": {"args": {"sandbox": "process"}}}, "VALIDATION_ERROR"),
            ({"type": "reset", "data": {"task": "fails"}}, "EXECUTION_ERROR"),
        ):
            until(lambda: server.sessions.held == 0)
            answer = say(message)
            assert answer["type"] == "error" and answer["data"]["code"] == code, message
        until(lambda: server.sessions.held == 0)
        told = say({"type": "reset", "data": {"split": "test", "index": 3}})
        assert told["data"]["metadata"]["task"] == "test/3"
        error = say({"type": "step", "data": {"text": "fail"}})["data"]
        assert error["code"] == "EXECUTION_ERROR" and error["kind"] == "sandbox" and error["retryable"]
        until(lambda: server.sessions.held == 0)
        say({"type": "reset", "data": {"task": "t"}})
        with talk(server, "/ws") as other:
            full = other({"type": "reset", "data": {"task": "t"}})["data"]
            assert full["code"] == "CAPACITY_REACHED"
        assert server.ask("GET", "/metadata")[1]["name"] == SLOW
        assert set(server.ask("GET", "/schema")[1]) == {"action", "observation", "state"}
        assert server.ask("GET", f"/openenv/{SLOW}/health") == (200, {"status": "healthy"})
