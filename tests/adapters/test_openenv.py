"""OpenEnv's own server and clients on our worlds, and its clients on `forge-envs serve`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openenv")

import uvicorn
from openenv.core import GenericEnvClient

from forge_envs.adapters import Session
from forge_envs.adapters.openenv import ForgeAction, ForgeClient, OpenEnvWorld, create_server
from forge_envs.adapters.openenv_package import write_package
from forge_envs.errors import TaskError
from forge_envs.serve.server import listen
from tests.adapters.gold import EXAMPLES
from tests.serve.house import RETAIL, SLOW, closed, door, house, until


@contextlib.contextmanager
def theirs(world: str = RETAIL, **more: Any) -> Iterator[str]:
    """OpenEnv's server of a world."""
    app = create_server(world, **more)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    bound = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        bound.close()


@contextlib.contextmanager
def ours(world: str = RETAIL, **more: Any) -> Iterator[str]:
    """`forge-envs serve`."""
    with house((world,), **more) as server:
        yield f"{server.url}/openenv/{world}"


def direct(session: Session, task: str) -> tuple[list[str], list[Any], dict[str, Any]]:
    """Gold, what is heard by who plays it, and the record."""
    heard: list[Any] = [(list(session.begin(task, seed=1)), None, False)]
    actions = session.env.gold_actions(task)
    for action in actions:
        turn = session.act(action)
        heard.append((list(turn.messages), turn.reward, turn.over))
    return actions, heard, session.record()


@pytest.mark.parametrize("server", [theirs, ours])
def test_eight_clients_at_once_hear_what_the_world_says(server: Any) -> None:
    with Session(RETAIL) as session:
        expected = [direct(session, f"retail/small/train/1/{i}") for i in range(8)]

    def play(actions: list[str], heard: list[Any], record: dict[str, Any]) -> None:
        client = GenericEnvClient(base_url=url).sync()
        try:
            told = [client.reset(task=record["task"], seed=1)]
            for action in actions:
                told.append(client.step({"text": action}))
            state = client.state()
        finally:
            client.close()
        assert [(one.observation["messages"], one.reward, bool(one.done)) for one in told] == heard
        assert {key: state[key] for key in record} == record
        assert told[-1].metadata["outcome"] == 1.0 and told[-1].metadata["truncated"] is False
        assert state["step_count"] == len(actions)

    with server() as url, ThreadPoolExecutor(8) as pool:
        list(pool.map(play, *zip(*expected, strict=True)))


@pytest.mark.parametrize("server", [theirs, ours])
def test_a_machine_failure_is_an_error_and_no_reward(server: Any) -> None:
    with server(SLOW) as url:
        client = GenericEnvClient(base_url=url).sync()
        with pytest.raises(RuntimeError, match="no box"):
            client.reset(task="fails")
        with pytest.raises(RuntimeError, match="EXECUTION_ERROR"):
            client.step({"text": "x"})
        client.reset(task="t")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="EXECUTION_ERROR"):
                client.step({"text": "fail"})
        assert client.reset(task="t").reward is None
        with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
            client.step({"txt": "x"})
        assert client.step({"text": "end"}).reward == 1.0
        with pytest.raises(RuntimeError, match="over"):
            client.step({"text": "x"})
        client.close()


@pytest.mark.parametrize("server", [theirs, ours])
def test_who_comes_too_many_is_told(server: Any) -> None:
    most = {"max_concurrent_envs": 1} if server is theirs else {"max_sessions": 1}
    with server(SLOW, **most) as url:
        one, other = GenericEnvClient(base_url=url).sync(), GenericEnvClient(base_url=url).sync()
        one.reset(task="t")
        with pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
            other.reset(task="t")
        one.close()
        other.close()


@pytest.mark.parametrize("server", [theirs, ours])
def test_after_its_timeout_a_client_finds_no_episode(server: Any) -> None:
    with server(SLOW) as url:
        client = GenericEnvClient(base_url=url, message_timeout_s=0.5).sync()
        client.reset(task="left")
        with pytest.raises(TimeoutError):
            client.step({"text": f"wait {server.__name__}"})
        with pytest.raises(RuntimeError, match="reset first"):
            client.step({"text": "x"})
        door(server.__name__).set()
        client.close()
        until(lambda: "left" in closed)
        closed.remove("left")


@pytest.mark.parametrize("server", [theirs, ours])
def test_the_typed_client(server: Any) -> None:
    with server() as url:
        client = ForgeClient(base_url=url).sync()
        opened = client.reset(split="test", index=2)
        assert opened.observation.messages[0]["role"] == "system" and opened.observation.reward is None
        with Session(RETAIL) as session:
            assert opened.observation.metadata["task"] == session.env.task_ids("test", 3)[2]
        heard = client.step(ForgeAction(text="Hello"))
        assert heard.reward == heard.observation.reward == 0.0 and not heard.done
        assert client.state().step_count == 1 and client.state().world == RETAIL
        client.close()


def test_tasks_as_openenv_counts_them() -> None:
    env = OpenEnvWorld(RETAIL, {"size": "small"})
    try:
        assert env.list_splits() == ["train", "test"] and env.num_tasks("train") == 1000
        some = env.get_task_range("test", 2, 4)
        assert [one["index"] for one in some] == [2, 3] and some[0] == env.get_task("test", 2)
        assert env.reset(split="test", index=3).metadata["task"] == some[1]["id"]
        for bad in ({"split": "nowhere", "index": 0}, {"split": "test"}, {"task": "no/such"}, {"index": -1}):
            with pytest.raises(TaskError):
                env.reset(**bad)
    finally:
        env.close()


def test_what_is_asked_twice_or_below_zero_is_refused() -> None:
    world = OpenEnvWorld(RETAIL)
    with pytest.raises(TaskError, match="ask by one of the two"):
        world.reset(task="retail/small/train/2/1", split="train", index=0)
    with pytest.raises(TaskError, match="split='train' without an index"):
        world.reset(split="train")
    with pytest.raises(TaskError, match="start=-3, stop=-1"):
        world.get_task_range("train", -3, -1)
    world.close()


def test_what_is_bad_is_told_before_anybody_plays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sizes"):
        create_server(RETAIL, {"sizes": "small"})
    with pytest.raises(ValueError, match="sizes"):
        OpenEnvWorld(RETAIL, {"sizes": "small"})
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="not empty"):
        write_package(RETAIL, tmp_path)
    with pytest.raises(ValueError, match="level=9"):
        write_package(RETAIL, tmp_path / "b", {"level": 9})
    assert not (tmp_path / "b").exists()


def test_openenv_validates_the_package(tmp_path: Path) -> None:
    write_package("Forge/Retail-v0", tmp_path / "shop", args={"size": "small"})
    openenv = [sys.executable, "-m", "openenv.cli", "validate"]
    told = subprocess.run([*openenv, str(tmp_path / "shop"), "--skip-build"], capture_output=True, text=True)
    assert told.returncode == 0 and "FAIL" not in told.stdout, told.stdout + told.stderr


def test_openenv_validates_the_running_server() -> None:
    openenv = [sys.executable, "-m", "openenv.cli", "validate", "--url"]
    with theirs() as url:
        told = subprocess.run([*openenv, url], capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr


def test_the_example_runs_as_a_script() -> None:
    # As a script its own folder comes first among the paths: no example may have its library's name.
    line = [sys.executable, str(EXAMPLES / "openenv_server.py")]
    told = subprocess.run(line, capture_output=True, text=True)
    assert told.returncode == 0 and told.stdout.startswith("outcome 1.0"), told.stderr
