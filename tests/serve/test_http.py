"""Sessions over HTTP: what a client may ask for, what it hears, and what becomes of bad clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("fastapi")

from forge_envs.adapters import Session
from forge_envs.errors import brief
from forge_envs.probe import HOSTILE
from forge_envs.serve.worker import Worker
from tests.serve.house import RETAIL, SLOW, TASK, closed, door, house
from tests.waiting import until


def kind(answer: tuple[int, Any]) -> tuple[int, str]:
    status, told = answer
    assert "reward" not in told
    return status, told["error"]["kind"]


def test_gold_over_http_is_gold_in_the_world() -> None:
    with house() as server, Session(RETAIL, {"turn_weight": 0.5}) as direct:
        opening = direct.begin(TASK, seed=3)
        asked = {"world": RETAIL, "args": {"turn_weight": 0.5}, "task": TASK, "seed": 3}
        status, opened = server.ask("POST", "/sessions", asked)
        assert status == 200 and tuple(opened["messages"]) == opening and opened["info"] == direct.info
        session = opened["session"]
        for turn, action in enumerate(direct.env.gold_actions(TASK), 1):
            took = direct.act(action)
            status, told = server.step(session, action, turn)
            assert status == 200 and told == {
                "messages": list(took.messages),
                "reward": took.reward,
                "terminated": took.over and not took.truncated,
                "truncated": took.truncated,
                "info": took.info,
            }
        status, record = server.ask("GET", f"/sessions/{session}")
        assert record == {"session": session, "ended": "over", **direct.record()}
        assert record["outcome"] == 1.0 and server.sessions.held == 0  # its world is closed already
        assert server.ask("POST", f"/sessions/{session}/finish") == (200, record)
        assert kind(server.step(session, "more")) == (410, "gone")


def test_any_text_is_an_action() -> None:
    with house() as server, Session(RETAIL) as direct:
        direct.begin(TASK)
        session = server.begin(RETAIL, task=TASK)
        for action in HOSTILE:
            if direct.over:
                break
            took = direct.act(action)
            status, told = server.step(session, action)
            assert status == 200 and told["messages"] == list(took.messages)


def test_an_agent_that_stops_is_graded() -> None:
    with house() as server:
        session = server.begin(RETAIL, task=TASK)
        status, record = server.ask("POST", f"/sessions/{session}/finish")
        assert status == 200 and record["outcome"] == 0.0 and record["ended"] == "over"
        assert server.ask("DELETE", f"/sessions/{session}") == (200, record)


def test_bad_requests_are_told() -> None:
    with house() as server:
        begin = {"world": SLOW}
        bad: list[tuple[Any, tuple[int, str]]] = [
            (b"{", (400, "malformed")),
            (b"[" * 100_000, (400, "malformed")),
            (b"\xff\xfe", (400, "malformed")),
            (b"[]", (400, "malformed")),
            (b"", (422, "argument")),
            ({}, (422, "argument")),
            ({**begin, "wrld": 1}, (422, "argument")),
            ({**begin, "seed": -1}, (422, "argument")),
            ({**begin, "seed": True}, (422, "argument")),
            ({**begin, "seed": 10**400}, (422, "argument")),
            ({"world": "Forge/Nowhere-v0"}, (404, "unknown")),
            ({"world": f"os:{SLOW}"}, (404, "unknown")),
            ({**begin, "args": {"sandbox": "process"}}, (422, "argument")),
            ({**begin, "args": {"max_turns": 10**9}}, (422, "argument")),
            ({**begin, "args": {"max_turns": "5"}}, (422, "argument")),
            ({**begin, "args": {"render_mode": "ansi"}}, (422, "argument")),
            ({"world": RETAIL, "args": {"user": "openai:m@http://127.0.0.1:1/v1"}}, (422, "argument")),
            ({"world": RETAIL, "task": "no/such task"}, (404, "unknown")),
        ]
        for body, expected in bad:
            assert kind(server.ask("POST", "/sessions", body)) == expected, body
        for field, value in (("seed", -1), ("seed", "x" * 5000), ("task", 7), ("wrld", 1)):
            told = server.ask("POST", "/sessions", {**begin, field: value})[1]["error"]["message"]
            assert told.startswith(f"{field}={brief(value)}: ") and len(told) < 200
        session = server.begin()
        for body in ({}, {"action": 1}, {"action": None}, {"action": "x", "turn": 0}, {"actoin": "x"}):
            assert kind(server.ask("POST", f"/sessions/{session}/step", body)) == (422, "argument"), body
        assert kind(server.ask("GET", "/nowhere")) == (404, "unknown")
        assert server.ask("PUT", "/sessions", {})[0] == 405
        assert kind(server.step("no-such-session", "x")) == (410, "gone")
        assert server.step(session, "still here")[0] == 200 and server.sessions.held == 1


def test_a_message_may_be_so_long_and_no_longer() -> None:
    with house(max_bytes=2000) as server:
        session = server.begin()
        assert server.step(session, "a" * 1900)[0] == 200
        assert kind(server.step(session, "a" * 2000)) == (413, "large")

        def pieces() -> Any:
            yield from [b"x" * 1000] * 3

        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as line:  # one that does not say how long it is
            line.sendall(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in pieces():
                line.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            assert b"413" in line.recv(1000)


def test_clients_that_stall_are_cut_off() -> None:
    with house(body_timeout=0.3) as server:
        host, port = server.url.removeprefix("http://").split(":")
        for said in (
            b"",
            b"POST /sess",
            b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{",
        ):
            with socket.create_connection((host, int(port)), 10) as line:
                line.sendall(said)
                heard = b"".join(iter(lambda: line.recv(1000), b""))
                assert (b"408" in heard) == said.endswith(b"{")
        with socket.create_connection((host, int(port)), 10) as line:
            line.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 100_000)
            with contextlib.suppress(ConnectionError):
                assert b" 200 " not in line.recv(1000)
        assert server.ask("GET", "/health")[0] == 200


def test_without_the_token_nothing_is_told() -> None:
    with house(token="a secret".replace(" ", "-")) as server:
        good = {"Authorization": "Bearer a-secret"}
        for headers in ({}, {"Authorization": "Bearer a-secreT"}, {"Authorization": "Basic a-secret"}):
            for method, path in (
                ("GET", "/worlds"),
                ("GET", "/metrics"),
                ("POST", "/sessions"),
                ("GET", "/"),
            ):
                body = {"world": SLOW} if method == "POST" else None
                assert kind(server.ask(method, path, body, headers=headers)) == (401, "token")
        assert server.ask("GET", "/health")[0] == 200
        assert server.ask("GET", "/worlds", headers=good)[0] == 200
        assert server.sessions.held == 0


def test_without_a_token_no_web_page_is_served() -> None:
    with house() as server:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            assert kind(server.ask("GET", "/worlds", headers=headers)) == (403, "forbidden"), headers
        assert server.ask("GET", "/worlds", headers={"Origin": "http://localhost:3000"})[0] == 200


def test_one_action_at_a_time() -> None:
    with house() as server, ThreadPoolExecutor(2) as pool:
        session = server.begin()
        first = pool.submit(server.step, session, "wait one", 1)
        assert door("here one").wait(20)
        assert kind(server.step(session, "two")) == (409, "busy")
        assert kind(server.ask("POST", f"/sessions/{session}/finish")) == (409, "busy")
        again = pool.submit(server.step, session, "wait one", 1)  # as one whose connection broke
        door("one").set()
        assert first.result() == again.result() and first.result()[0] == 200
        assert first.result()[1]["info"]["turn"] == 1
        assert server.step(session, "wait one", 1) == first.result()
        assert kind(server.step(session, "another", 1)) == (409, "turn")
        assert kind(server.step(session, "x", 3)) == (409, "turn")
        assert server.step(session, "x", 2)[1]["info"]["turn"] == 2


def test_a_lease_is_renewed_by_use_and_ends_without() -> None:
    with house(idle=1.0) as server, ThreadPoolExecutor(1) as pool:
        kept, lost, working = server.begin(task="kept"), server.begin(task="lost"), server.begin(task="w")
        step = pool.submit(server.step, working, "wait long")
        ends = threading.Event()
        for _ in range(8):
            ends.wait(0.25)
            assert server.ask("GET", f"/sessions/{kept}")[0] == 200
        until(lambda: "lost" in closed)
        assert kind(server.step(lost, "x")) == (410, "gone")
        status, record = server.ask("GET", f"/sessions/{lost}")
        assert (status, record["ended"], record["outcome"]) == (200, "expired", None)
        door("long").set()  # a step may take longer than a client may idle
        assert step.result()[0] == 200
        assert server.step(working, "x")[0] == 200


def test_the_record_of_an_ended_session_goes_too() -> None:
    with house(linger=0.2, idle=0.4) as server:
        session = server.begin()
        server.ask("DELETE", f"/sessions/{session}")
        until(lambda: server.ask("GET", f"/sessions/{session}")[0] == 410)


def test_places_are_limited_and_come_back() -> None:
    with house(max_sessions=2) as server:
        one, _ = server.begin(), server.begin()
        answer = server.ask("POST", "/sessions", {"world": SLOW})
        assert kind(answer) == (503, "full") and answer[1]["error"]["retryable"]
        assert server.ask("DELETE", f"/sessions/{one}")[1]["ended"] == "deleted"
        server.begin()
        assert kind(server.step(one, "x")) == (410, "gone")


def test_a_machine_failure_is_no_reward() -> None:
    with house() as server:
        answer = server.ask("POST", "/sessions", {"world": SLOW, "task": "fails"})
        assert answer[0] == 502 and answer[1]["error"] == {
            "kind": "sandbox",
            "stage": "reset",
            "retryable": True,
            "message": "no box",
        }
        session = server.begin()
        for _ in range(2):  # also for one who did not hear it
            status, told = server.step(session, "fail", 1)
            assert (status, told["error"]["kind"], told["error"]["stage"]) == (502, "sandbox", "step")
        assert kind(server.step(session, "x", 2)) == (410, "gone")
        assert kind(server.ask("POST", f"/sessions/{session}/finish")) == (410, "gone")
        _, record = server.ask("GET", f"/sessions/{session}")
        assert record["outcome"] is None and record["error"] == told["error"]
        until(lambda: server.sessions.held == 0)
        _, numbers = server.ask("GET", "/metrics")
        assert f'forge_machine_failures_total{{kind="sandbox",world="{SLOW}"}} 2.0' in numbers


@pytest.mark.parametrize("word", ["bug", "exit"])
def test_a_bug_of_a_world_is_told_as_one(word: str) -> None:
    with house() as server:
        session = server.begin()
        assert kind(server.step(session, word)) == (500, "bug")
        assert kind(server.step(session, "x")) == (410, "gone")
        assert server.step(server.begin(), "x")[0] == 200


def test_what_hangs_ends_in_time_and_keeps_its_place_until_it_is_back() -> None:
    with house(step_timeout=0.3, max_sessions=2) as server:
        session = server.begin(task="stuck")
        assert kind(server.step(session, "wait ever")) == (502, "timeout")
        assert kind(server.ask("POST", "/sessions", {"world": SLOW, "task": "hangs"})) == (502, "timeout")
        assert server.ask("GET", f"/sessions/{session}")[1]["error"]["kind"] == "timeout"
        assert kind(server.ask("POST", "/sessions", {"world": SLOW})) == (503, "full")
        door("ever").set()
        until(lambda: "stuck" in closed)
        server.step(server.begin(), "x")
        door("begin").set()
        until(lambda: server.sessions.held == 1)


def test_a_client_that_leaves_in_a_step_finds_its_session_again() -> None:
    with house() as server:
        session = server.begin()
        host, port = server.url.removeprefix("http://").split(":")
        body = json.dumps({"action": "wait gone", "turn": 1}).encode()
        head = (
            f"POST /sessions/{session}/step HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        with socket.create_connection((host, int(port)), 10) as line:
            line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert door("here gone").wait(20)
        door("gone").set()
        status, told = server.step(session, "wait gone", 1)
        assert status == 200 and told["info"]["turn"] == 1


def test_a_client_that_leaves_in_a_begin_leaves_no_session() -> None:
    with house() as server:
        host, port = server.url.removeprefix("http://").split(":")
        body = json.dumps({"world": SLOW, "task": "hangs"}).encode()
        head = "POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port)), 10) as line:
            line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: server.sessions.held == 1)
        door("begin").set()
        until(lambda: server.sessions.held == 0)
        assert "hangs" in closed


def test_worlds_tell_what_they_take() -> None:
    with house((RETAIL, SLOW), given={"turn_weight": 0.25}) as server:
        retail, slow = server.ask("GET", "/worlds")[1]["worlds"]
        names = {one["name"] for one in retail["arguments"]}
        assert {"level", "size", "max_turns", "grammar"} <= names
        assert not names & {"user", "source", "turn_weight", "render_mode"}
        assert retail["quick"] and not slow["quick"] and retail["given"] == {"turn_weight": 0.25}
        assert retail["tasks"]["train"] == gym.make(RETAIL).unwrapped.task_ids("train", 5)
        asked = {"world": RETAIL, "split": "test", "n": 7, "args": {"size": "small"}}
        expected = gym.make(RETAIL, size="small").unwrapped.task_ids("test", 7)
        assert server.ask("POST", "/tasks", asked)[1]["tasks"] == expected
        assert kind(server.ask("POST", "/tasks", {"world": RETAIL, "split": "nowhere"})) == (422, "argument")
        assert (
            kind(server.ask("POST", "/sessions", {"world": RETAIL, "args": {"turn_weight": 1.0}}))[0] == 422
        )
        schema = server.ask("GET", "/openapi.json")[1]
        assert schema["paths"]["/sessions/{id}/step"]["post"]["requestBody"]["required"]
        assert schema["components"]["schemas"]["Step"]["properties"]["action"]["type"] == "string"


def test_many_sessions_at_once_do_not_see_each_other() -> None:
    def play(server: Any, direct: Session, task: str) -> bool:
        session = server.begin(RETAIL, task=task)
        told: Any = None
        for action in direct.env.gold_actions(task):
            _, told = server.step(session, action)
        return bool(told["info"]["outcome"] == 1.0)

    with house() as server, ThreadPoolExecutor(8) as pool, Session(RETAIL) as direct:
        tasks = direct.env.task_ids("train", 24)
        assert all(pool.map(lambda task: play(server, direct, task), tasks))
        assert server.sessions.held == 0


@pytest.mark.parametrize("error", [StopIteration("x"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_what_a_future_takes_for_its_own_is_a_bug_of_the_world(error: BaseException) -> None:
    def step() -> None:
        raise error

    worker = Worker()
    with pytest.raises(RuntimeError, match=type(error).__name__):
        worker.submit(step).result(timeout=60)
    worker.end()


@pytest.mark.parametrize("header", [{"Host": "[::1"}, {"Origin": "http://["}])
def test_half_an_address_is_not_this_machine(header: dict[str, str]) -> None:
    with house() as server:
        request = urllib.request.Request(f"{server.url}/worlds", headers=header)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=60)
        assert caught.value.code == 403 and json.load(caught.value)["error"]["kind"] == "forbidden"


def test_an_answer_that_is_no_json_is_a_bug_of_the_world() -> None:
    with house() as server:
        assert kind(server.step(server.begin(), "nan")) == (500, "bug")


def test_a_step_that_ends_while_its_session_is_deleted_is_in_the_record() -> None:
    with house() as server, ThreadPoolExecutor() as pool:
        session = server.begin()
        stepping = pool.submit(server.step, session, "wait late")
        assert door("here late").wait(30)
        deleting = pool.submit(server.ask, "DELETE", f"/sessions/{session}")
        until(lambda: server.ask("GET", f"/sessions/{session}")[1].get("ended") == "deleted")
        door("late").set()
        stepping.result(30)
        deleting.result(30)
        until(lambda: len(server.ask("GET", f"/sessions/{session}")[1]["turn_rewards"]) == 1)
