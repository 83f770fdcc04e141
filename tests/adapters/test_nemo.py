"""A world as NeMo-Gym's resources server: its own agent, client and check of sessions, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("nemo_gym")

import uvicorn
from aiohttp import ClientResponseError
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from nemo_gym.base_resources_server import ResourcesSeedSessionRequest
from nemo_gym.server_utils import global_aiohttp_client_exit
from nemo_gym.testing.session_conformance import check_resources_session_contract

from forge_envs.adapters import Session
from forge_envs.adapters.nemo import ForgeServer, rows
from forge_envs.errors import TaskError
from forge_envs.serve.server import listen
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played
from tests.serve.house import until

example = runpy.run_path(str(EXAMPLES / "nemo_rollout.py"))
agent_of, rollouts = example["agent_of"], example["rollouts"]
TASKS = [f"retail/small/train/2/{i}" for i in range(4)]


def response(output: list[dict[str, Any]]) -> dict[str, Any]:
    about = {"id": "r", "created_at": 0, "model": "script", "object": "response"}
    return {**about, "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}


def items(action: str, turn: int) -> list[dict[str, Any]]:
    """An action as a model server returns it: a message, and a call each."""
    with Session(WORLD) as session:
        read = session.env.grammar.parse(action)
    text = {"type": "output_text", "text": read.prose, "annotations": []}
    message = {"type": "message", "id": f"m{turn}", "role": "assistant", "status": "completed"}
    found: list[dict[str, Any]] = [{**message, "content": [text]}] if read.prose else []
    for n, call in enumerate(read.calls):
        told = {"name": call.name, "arguments": json.dumps(call.arguments), "call_id": f"c{turn}.{n}"}
        found.append({"type": "function_call", **told})
    return found


class Model:
    """A model server that says gold, told apart by what the user said first."""

    def __init__(self, tasks: list[str]) -> None:
        self.asked: list[dict[str, Any]] = []
        turns: Counter[str] = Counter()
        lines = {self.first(row["responses_create_params"]): gold(row["forge"]["task"]) for row in of(tasks)}
        self.app = FastAPI()

        async def answer(request: Request) -> dict[str, Any]:
            body = await request.json()
            self.asked.append(body)
            key = self.first(body)
            turns[key] += 1
            return response(items(lines[key][turns[key] - 1], turns[key]))

        self.app.post("/v1/responses")(answer)

    @staticmethod
    def first(body: dict[str, Any]) -> str:
        return str(next(one["content"] for one in body["input"] if one.get("role") == "user"))


def of(tasks: list[str]) -> list[dict[str, Any]]:
    return rows(WORLD, ARGS, tasks=tasks)


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """The port of an app that answers on this machine."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    bound = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()


def runs(server: ForgeServer, model: Model, tasks: list[str]) -> list[Any]:
    """What NeMo's agent makes of our server and a model's, all tasks at once."""
    try:
        with served(server.setup_webserver()) as world, served(model.app) as policy:
            return list(asyncio.run(rollouts(agent_of(world, policy), of(tasks))))
    finally:
        global_aiohttp_client_exit()


def test_their_agent_gets_the_reward_of_direct_play_in_several_episodes_at_once() -> None:
    server, model = ForgeServer.of(WORLD, ARGS), Model(TASKS)
    for task, run in zip(TASKS, runs(server, model, TASKS), strict=True):
        record = played(gold(task), task)
        assert run.terminated and not run.truncated and record["outcome"] == 1.0
        assert run.info["forge"] == record
        assert run.reward == pytest.approx(record["reward"])
    assert not server.session_state
    results = [one["output"] for body in model.asked for one in body["input"] if "output" in one]
    assert results and not any(text.startswith('"') for text in results)


def test_a_failed_machine_is_a_failed_run_and_no_0(monkeypatch: pytest.MonkeyPatch) -> None:
    model, held = Model([TASK]), Open(monkeypatch)
    Failing(monkeypatch, range(99))
    server = ForgeServer.of(WORLD, ARGS)
    (run,) = runs(server, model, [TASK])
    assert isinstance(run, ClientResponseError) and run.status == 503
    assert not server.session_state and not held.held


def client_of(server: ForgeServer) -> TestClient:
    return TestClient(server.setup_webserver(), base_url="http://testserver")


def said(client: TestClient, row: dict[str, Any], action: str, **more: Any) -> Any:
    return client.post("/step", json={**row, "response": response(items(action, 1)), **more})


def test_the_failure_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, range(99))
    client, (row,) = client_of(ForgeServer.of(WORLD, ARGS)), of([TASK])
    assert client.post("/reset", json=row).status_code == 200
    answers = [said(client, row, "Hello?") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json()["detail"]["kind"] == "timeout"


def test_a_step_sent_again_is_taken_once_also_after_the_end() -> None:
    server, (row,) = ForgeServer.of(WORLD, ARGS), of([TASK])
    client = client_of(server)
    info = client.post("/reset", json=row).json()["info"]
    assert info == {"supports_explicit_close": True, "supports_step_idempotency": True, "task": TASK}
    for n, action in enumerate(gold()):
        first = said(client, row, action, _ng_step_request_id=str(n)).json()
        assert said(client, row, action, _ng_step_request_id=str(n)).json() == first
    assert first["terminated"] and first["info"]["forge"] == played(gold())


def test_close_frees_the_world_and_what_nobody_closes_goes_when_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    server, (row,), held = ForgeServer.of(WORLD, ARGS, idle_s=0.0), of([TASK]), Open(monkeypatch)
    client = client_of(server)
    client.post("/reset", json=row)
    assert len(held.held) == 1
    assert [client.post("/close", json={}).status_code for _ in range(2)] == [200, 200]
    assert not held.held and not server.session_state
    assert said(client, row, "Hello?").status_code == 409
    client.post("/reset", json=row)
    client_of(server).post("/reset", json=row)
    assert len(held.held) == 1


def test_their_check_of_sessions_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    held, app = Open(monkeypatch), ForgeServer.of(WORLD, ARGS).setup_webserver()
    seed = ResourcesSeedSessionRequest(
        resources_session_id="a",
        episode_id={"rollout_id": "r"},
        task_id={"taskset": "forge", "task_id": TASK},
        task_data={"forge": {"task": TASK, "seed": 1}},
    )
    check_resources_session_contract(app, seed, keeps_state=True)
    assert not held.held


def test_rows_that_cannot_be_played_are_refused() -> None:
    client, (row,) = client_of(ForgeServer.of(WORLD, ARGS)), of([TASK])
    for wrong, status, text in [
        ({**row, "forge": {"task": "retail/none"}}, 404, "retail/none"),
        ({**row, "forge": {**row["forge"], "world": "Forge/Other-v0"}}, 422, "Forge/Other-v0"),
        ({**row, "forge": None}, 422, "rows()"),
    ]:
        answer = client.post("/reset", json=wrong)
        assert answer.status_code == status and text in answer.text
    with pytest.raises(TaskError, match="retail/none"):
        rows(WORLD, tasks=["retail/none"])


def test_rows_are_written_by_the_command(tmp_path: Any) -> None:
    file = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "forge_envs.adapters.nemo", WORLD, "--rows", str(file), "--n", "2"]
    subprocess.run(command, check=True)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == rows(WORLD, n=2) and lines[0]["responses_create_params"]["tools"]
