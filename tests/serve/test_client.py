"""The env that plays a world of another machine: it is that world, and what it loses is a machine failure."""

from __future__ import annotations

import pickle
import threading
import warnings
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("fastapi")

from forge_envs import MachineError, TaskError
from forge_envs.errors import NotGiven
from forge_envs.registry import world_ids
from tests.endpoint import Endpoint, Raw
from tests.serve.house import RETAIL, SLOW, TASK, House, closed, door, house
from tests.waiting import until


def remote(server: House, world: str = RETAIL, **more: Any) -> Any:
    return gym.make("Forge/Remote-v0", url=server.url, world=world, **more).unwrapped


def test_it_is_the_world_itself() -> None:
    with house() as server:
        local: Any = gym.make(RETAIL, size="small", turn_weight=0.5).unwrapped
        far = remote(server, args={"size": "small", "turn_weight": 0.5})
        assert far.observation_space == local.observation_space and far.action_space == local.action_space
        assert far.splits == local.splits and far.task_ids("test", 9) == local.task_ids("test", 9)
        for task in local.task_ids("train", 3):
            for seed in (0, 1):
                asked: dict[str, Any] = {"seed": seed, "options": {"task": task}}
                assert far.reset(**asked) == local.reset(**asked)
                for action in ["\ud800 é", *local.gold_actions(task)]:
                    assert far.step(action) == local.step(action)
            with pytest.raises(gym.error.ResetNeeded):
                far.step("late")
        assert far.reset(seed=5) == local.reset(seed=5)
        far.close()
        far.close()
        assert server.sessions.held == 0


def test_it_keeps_gymnasiums_contract() -> None:
    with house() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        env = remote(server, args={"size": "tiny"})
        env.action_space.seed(0)
        check_env(env, skip_render_check=False)
        assert not hasattr(env, "gold_actions") and "Forge/Remote-v0" not in world_ids()
        env.close()
        seen = remote(server, SLOW, render_mode="ansi")
        seen.reset()
        seen.step("hello")
        assert seen.render().splitlines()[1:] == ["assistant: hello", "     user: heard hello"]
        seen.close()


def test_what_it_does_not_know_is_an_error_of_the_caller() -> None:
    with house() as server:
        env = remote(server)
        with pytest.raises(TaskError, match="nowhere"):
            env.reset(options={"task": "nowhere"})
        with pytest.raises(ValueError, match="split"):
            env.task_ids("nowhere")
        with pytest.raises(ValueError, match="options"):
            env.reset(options={"tsk": 1})
        with pytest.raises(ValueError, match="did you mean Forge/Retail-v0"):
            remote(server, "Forge/Retial-v0")
        with pytest.raises(ValueError, match="sandbox"):
            remote(server, args={"sandbox": "process"})
        with pytest.raises(NotGiven, match="url="):
            gym.make("Forge/Remote-v0")
        with pytest.raises(ValueError, match="http://HOST:PORT"):
            gym.make("Forge/Remote-v0", url="here", world=RETAIL)


def test_it_shows_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with house(token="a-long-secret") as server:
        assert remote(server, token="a-long-secret").task_ids("train", 1)
        with pytest.raises(ValueError, match=r"Bearer TOKEN.*token=.*FORGE_TOKEN"):
            remote(server, token="another-secret")
        monkeypatch.setenv("FORGE_TOKEN", "a-long-secret")
        env = remote(server)
        assert env.reset(options={"task": TASK})[1]["task"] == TASK
        env.close()


def test_machine_failures_of_the_world_come_through() -> None:
    with house() as server:
        env = remote(server, SLOW)
        with pytest.raises(MachineError) as failed:
            env.reset(options={"task": "fails"})
        assert (failed.value.kind, failed.value.stage, failed.value.retryable) == ("sandbox", "reset", True)
        env.reset(options={"task": "t"})
        assert env.step("hello")[1:4] == (0.0, False, False)
        messages, reward, terminated, truncated, info = env.step("fail")
        assert (messages, reward, terminated, truncated) == ((), 0.0, False, True)
        assert set(info) == {"task", "turn", "error"} and info["error"]["kind"] == "sandbox"
        env.reset(options={"task": "t"})
        with pytest.raises(RuntimeError, match="KeyError"):
            env.step("bug")


def test_no_agent_leaves_an_episode_unscored_by_an_action_that_is_too_long() -> None:
    with house(max_bytes=5000) as server:
        env = remote(server, SLOW)
        env.reset(options={"task": "t"})
        messages, reward, terminated, truncated, info = env.step("x" * 6000)
        assert (messages, reward, terminated, truncated) == ((), 0.0, True, False)
        assert info["outcome"] == 0.0 and info["parts"] == {"malformed": -0.1} and "error" not in info
        with pytest.raises(gym.error.ResetNeeded):
            env.step("x")
        env.reset(options={"task": "t"})
        assert env.step("hello")[1:4] == (0.0, False, False)


def test_what_is_lost_is_a_machine_failure() -> None:
    with house(max_bytes=5000) as server:
        env, late = remote(server, SLOW), remote(server, SLOW, timeout=0.5)
        env.reset(options={"task": "t"})
        server.ask("DELETE", f"/sessions/{env._session}")
        *_, truncated, info = env.step("x" * 10)
        assert truncated and info["error"]["kind"] == "gone"
        late.reset(options={"task": "late"})
        *_, truncated, info = late.step("wait client")
        assert truncated and (info["error"]["kind"], info["error"]["retryable"]) == ("timeout", True)
        door("client").set()
        until(lambda: "late" in closed)
        env.reset(options={"task": "t"})
    *_, truncated, info = env.step("x")  # the server is gone
    assert truncated and (info["error"]["kind"], info["error"]["retryable"]) == ("lost", True)
    assert "is forge-envs serve running there?" in info["error"]["message"]
    with pytest.raises(MachineError, match="Connect"):
        env.reset()
    env.close()


@pytest.mark.parametrize("answer", [Raw(b"<html>busy</html>", 502), Raw(b"[1]", 200), Raw(b"{}", 404)])
def test_somebody_else_at_the_address_is_a_machine_failure(answer: Raw) -> None:
    with Endpoint(lambda _: answer) as other, pytest.raises(MachineError, match="no answer of forge-envs"):
        gym.make("Forge/Remote-v0", url=other.url, world=RETAIL)


def test_an_action_is_played_once_though_its_connection_breaks() -> None:
    with house() as server:
        env = remote(server, SLOW)
        env.reset(options={"task": "t"})
        threading.Timer(0.3, server.break_connections).start()
        threading.Timer(0.6, lambda: door("broken").set()).start()
        messages, *_, info = env.step("wait broken")
        assert messages[0]["content"] == "heard wait broken" and info["turn"] == 1
        assert env.step("x")[-1]["turn"] == 2
        env.close()


def test_trainers_pool_takes_it() -> None:
    from forge_train.play.world_pool import World

    with house() as server:
        world = World("forge_envs:Forge/Remote-v0", {"url": server.url, "world": RETAIL})
        try:
            assert world.tasks("train", 2) == gym.make(RETAIL).unwrapped.task_ids("train", 2)
            assert not world.quick
            with pytest.raises(ValueError, match="no gold"):
                world.gold("x")
        finally:
            world.close()


def test_it_is_made_again_from_its_spec() -> None:
    with house() as server:
        env = gym.make("Forge/Remote-v0", url=server.url, world=RETAIL)
        again = gym.make(pickle.loads(pickle.dumps(env.spec)))
        assert again.reset(options={"task": TASK}) == env.reset(options={"task": TASK})
        env.close()
        again.close()
