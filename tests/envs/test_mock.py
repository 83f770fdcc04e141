"""τ²-bench's mock domain: its files load, gold leaves the official database, and its customer has hands."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
from typing import Any

import pytest

from forge_envs.errors import TaskError, ToolError
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.people.users import ModelUser
from forge_envs.tools import tools_of
from forge_envs.worlds.tau.mock import Board, Inbox
from forge_envs.worlds.tau.tau2 import Tau2Env
from tests.endpoint import Endpoint
from tests.envs.official import DATA, call, play

pytestmark = pytest.mark.skipif(
    not (DATA / "tau2" / "mock" / "oracle.json").exists(),
    reason=f"the benchmark's data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)
JUDGED = {"create_task_1", "update_task_1", "impossible_task_1", "create_task_1_nl_eval"}


def load(name: str) -> Any:
    return json.loads((DATA / "tau2" / "mock" / name).read_text(encoding="utf-8"))


def make(**arguments: Any) -> Tau2Env:
    return Tau2Env(domain="mock", path=str(DATA / "tau2"), split="base", **arguments)


def hashed(env: Tau2Env, *tables: str) -> str:
    desk = env.playing.desk
    rows = {name: {key: getattr(desk, name).peek(key) for key in getattr(desk, name)} for name in tables}
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()


def test_all_tasks_load_and_those_without_a_verdict_say_why() -> None:
    env = make()
    assert len(env.benchmark.tasks) == 10 and len(env.gaps) == 6
    assert set(env.task_ids()) == {f"tau2/mock/{id}" for id in JUDGED}
    assert all("initial state" in gap or "functions of τ²-bench" in gap for gap in env.gaps.values())
    with pytest.raises(TaskError, match="cannot be judged"):
        env.reset(options={"task": "update_task_with_user_tools"})


def test_without_a_split_to_train_on_the_first_there_is_is_played() -> None:
    assert Tau2Env(domain="mock", path=str(DATA / "tau2")).split == "base"
    assert Tau2Env(domain="retail", path=str(DATA / "tau2")).split == "train"


def test_gold_wins_and_leaves_the_official_database() -> None:
    env, oracle = make(), load("oracle.json")
    for id in JUDGED:
        _, info = play(env, id, env.gold_actions(id))
        assert info["outcome"] == 1.0, (id, info)
        expected = oracle["tasks"][id]["gold"]
        assert (hashed(env, "tasks", "users"), hashed(env, "notifications")) == (
            expected["db"],
            expected["user_db"],
        )
        observations = [m["content"] for m in env.playing.transcript if m["role"] == "tool"]
        for ours, theirs in zip(observations, oracle["tasks"][id]["observations"], strict=True):
            with contextlib.suppress(ValueError):
                ours, theirs = json.loads(ours), json.loads(theirs)
            assert ours == theirs


def test_a_wrong_status_loses() -> None:
    env = make()
    wrong = call("update_task_status", task_id="task_1", status="pending")
    assert play(env, "update_task_1", [wrong, "Done."])[1]["outcome"] == 0.0


def test_tools_are_the_official_ones_on_both_sides() -> None:
    official = load("tools_schema.json")
    for side, owner in (("assistant", Board), ("user", Inbox)):
        theirs = {entry["function"]["name"]: entry["function"] for entry in official[side]}
        ours = tools_of(owner)
        assert set(ours) == set(theirs)
        for name, tool in ours.items():
            parameters = theirs[name]["parameters"]
            assert list(tool.parameters["properties"]) == list(parameters["properties"]), name
            assert tool.parameters["required"] == parameters.get("required", []), name
            assert tool.description != theirs[name]["description"], "descriptions are our own"
    board = make().benchmark.open_desk()
    for name, arguments in (
        ("create_task", {"user_id": "nobody", "title": "x"}),
        ("update_task_status", {"task_id": "x", "status": "pending"}),
    ):
        with pytest.raises(ToolError, match="there is no such"):
            tools_of(Board)[name].call(board, arguments)


def test_a_model_uses_its_hands_and_the_agent_sees_nothing_of_it() -> None:
    says = [
        HERMES.write(calls=[ToolCall("check_notifications", {})]),
        "I finished task_1.",
        HERMES.write(calls=[ToolCall("dismiss_notification", {"notification_id": "notif_1"})]),
        "Thank you. ###STOP###",
    ]
    with Endpoint(lambda body: says[sum(m["role"] == "assistant" for m in body["messages"])]) as endpoint:
        env = make(user=endpoint.spec(), gaps="play")
        (_, first), _ = env.reset(seed=0, options={"task": "update_task_with_user_tools"})
        assert first["content"] == "I finished task_1." and env.playing.hands is not None
        assert '"status": "unread"' in endpoint.asked[1]["messages"][-1]["content"]
        again = pickle.loads(pickle.dumps(env.playing))
        assert again.user.hands is again.hands and again.hands.toolkit.board is again.desk
        env.step(call("update_task_status", task_id="task_1", status="completed"))
        _, _, terminated, _, info = env.step("It is done.")
        assert terminated and info["parts"]["action"] == 1.0
        state = env.playing
        assert isinstance(state.user, ModelUser) and state.hands is state.user.hands
        assert state.hands is not None
        assert [(made.name, made.requestor) for made in state.hands.made] == [
            ("check_notifications", "user"),
            ("dismiss_notification", "user"),
        ]
        assert state.desk.notifications.peek("notif_1")["status"] == "read"  # type: ignore[attr-defined]
        assert again.desk.notifications.peek("notif_1")["status"] == "unread", "a snapshot is its own world"
    seen = json.dumps(state.transcript)
    assert "notification" not in seen and "unread" not in seen and "check_" not in json.dumps(env.schemas)


def test_a_change_on_the_customers_side_counts_in_the_verdict() -> None:
    dismiss = HERMES.write(calls=[ToolCall("dismiss_notification", {"notification_id": "notif_1"})])
    says = ["Please set task_1 to completed.", dismiss, "Bye. ###STOP###"]
    with Endpoint(lambda body: says[sum(m["role"] == "assistant" for m in body["messages"])]) as endpoint:
        env = make(user=endpoint.spec())
        _, info = play(env, "update_task_1", env.gold_actions("update_task_1"))
    assert info["parts"]["db"] == 0.0 and info["outcome"] == 0.0, "the official solution dismisses nothing"
