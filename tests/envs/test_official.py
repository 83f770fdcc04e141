"""Published tasks as a world, over a small shop in official formats: verdicts, endings, gaps, promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.errors import NotGiven, TaskError
from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief
from forge_envs.testing import check_world
from forge_envs.worlds.tau.env import TauEnv
from forge_envs.worlds.tau.task import GoldCall, TauTask, heard
from forge_envs.worlds.tau.tau1 import Tau1Env
from forge_envs.worlds.tau.tau2 import Tau2Env
from tests.endpoint import Endpoint
from tests.envs.official import call, cancelling, pending, play, task, write_tau1, write_tau2

LOOK = call("get_order_details", order_id=pending())
CANCEL = call("cancel_pending_order", order_id=pending(), reason="no longer needed")
HANDOVER = call("transfer_to_human_agents", summary="help")
BYE = "All is done."


def make(path: str, **arguments: Any) -> Tau2Env:
    env = gym.make("Forge/Tau2-v0", path=path, **{"split": "base", **arguments}).unwrapped
    assert isinstance(env, Tau2Env)
    return env


def make_first(path: str) -> Tau1Env:
    env = gym.make("Forge/Tau1-v0", path=path, split="test").unwrapped
    assert isinstance(env, Tau1Env)
    return env


def one(tmp_path: Path, id: str = "a", **criteria: Any) -> str:
    return write_tau2(tmp_path, [task(id, **criteria)])


def outcome(env: TauEnv, *actions: str, id: str = "a") -> float:
    return float(play(env, id, list(actions))[1]["outcome"])


@pytest.mark.parametrize(("desk", "domain"), [("Retail", "retail"), ("Airline", "airline")])
@pytest.mark.parametrize("kind", ["tau1", "tau2"])
def test_a_desk_says_where_published_tasks_are(desk: str, domain: str, kind: str) -> None:
    with pytest.raises(ValueError) as told:
        gym.make(f"Forge/{desk}-v0", source=f"{kind}:/some/where")
    new = f"'forge_envs:Forge/{kind.capitalize()}-v0', domain='{domain}', path='/some/where'"
    assert f"source='{kind}:/some/where'" in str(told.value) and new in str(told.value)


@pytest.mark.parametrize("world", ["Forge/Tau1-v0", "Forge/Tau2-v0"])
def test_without_a_path_the_world_says_what_to_give(world: str) -> None:
    with pytest.raises(NotGiven, match=r"path='': give the folder .* sierra-research/tau"):
        gym.make(world)
    with pytest.raises(ValueError, match=r"domain='mock'|domain='bank'"):
        gym.make(world, domain="mock" if "Tau1" in world else "bank")


def test_a_published_task_opens_with_its_own_policy(tmp_path: Path) -> None:
    env = make(one(tmp_path, actions=[cancelling()]))
    (system, user), info = env.reset(options={"task": "a"})
    assert info == {"task": "tau2/retail/a", "turn": 0} and system["content"] == "Be kind."
    assert [tool["function"]["name"] for tool in system["tools"]] == list(env.tools)
    assert "think" not in env.tools and "get_item_details" in env.tools
    assert pending() in user["content"] and "Be brief." in user["content"]


@pytest.mark.parametrize(
    "wrong",
    [{"split": "dev"}, {"user": "x"}, {"gaps": "x"}, {"guard": "x"}, {"strict": "x"}, {"max_turns": 1}],
)
def test_unknown_arguments_are_refused_with_what_is_known(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"known are|true or false|at least 2"):
        make(one(tmp_path, actions=[]), **wrong)


def test_worlds_of_published_tasks_keep_every_promise(tmp_path: Path) -> None:
    tasks = [task(str(n), actions=[cancelling(n)], communicate_info=["17.5"]) for n in range(3)]
    tasks.append(task("quiet", actions=[], reward_basis=["DB"]))
    splits = {"train": ["0", "1"], "test": ["2", "quiet"], "base": ["0", "1", "2", "quiet"]}
    check_world("Forge/Tau2-v0", tasks=4, path=write_tau2(tmp_path / "2", tasks, splits))
    old = {"instruction": "Cancel it.", "outputs": ["17.5"]}
    actions = [{"name": a["name"], "kwargs": a["arguments"]} for a in (cancelling(), cancelling(1))]
    handover = {"name": "transfer_to_human_agents", "kwargs": {"summary": "help"}}
    tasks = [{**old, "actions": actions[:1]}, {**old, "actions": [handover, actions[1]]}]
    check_world("Forge/Tau1-v0", tasks=4, path=write_tau1(tmp_path / "1", tasks), split="test")


def test_splits_share_no_task_and_the_whole_comes_last(tmp_path: Path) -> None:
    tasks = [task(name, actions=[cancelling()]) for name in "abc"]
    env = make(write_tau2(tmp_path, tasks, {"base": ["a", "b", "c"], "test": ["c"], "train": ["b", "a"]}))
    assert env.splits == ("test", "train")
    assert env.task_ids("base") == [f"tau2/retail/{name}" for name in "abc"]
    assert env.task_ids("train", 1) == ["tau2/retail/b"]
    assert env.find("a") is env.find("tau2/retail/a") and env.reset(seed=1)[1] == env.reset(seed=1)[1]


# -- the verdict -------------------------------------------------------------------------------------------


def test_the_basis_is_the_tasks_own_or_the_default(tmp_path: Path) -> None:
    said: dict[str, Any] = {"actions": [cancelling()], "communicate_info": ["Ten"]}
    bases = {"default": None, "db": ["DB"], "say": ["COMMUNICATE"], "call": ["ACTION"]}
    tasks = [task(id, **said, **({"reward_basis": basis} if basis else {})) for id, basis in bases.items()]
    env = make(write_tau2(tmp_path, tasks))
    assert env.benchmark.bases == {"DB+COMMUNICATE (by default)": 1, "DB": 1, "COMMUNICATE": 1, "ACTION": 1}
    done = {id: outcome(env, CANCEL, BYE, id=id) for id in bases}
    told = {id: outcome(env, "It is ten, of course.", id=id) for id in bases}
    both = {id: outcome(env, CANCEL, "TEN", id=id) for id in bases}
    assert done == {"default": 0.0, "db": 1.0, "say": 0.0, "call": 1.0}
    assert told == {"default": 0.0, "db": 0.0, "say": 1.0, "call": 0.0}
    assert set(both.values()) == {1.0}
    _, info = play(env, "default", [CANCEL, BYE])
    assert (
        info["parts"] == {"progress": 0.0, "db": 1.0, "communicate": 0.0} or "progress" not in info["parts"]
    )


def test_what_is_said_beside_a_call_counts_and_nobody_hears_it(tmp_path: Path) -> None:
    env = make(one(tmp_path, actions=[cancelling()], communicate_info=["17.5", "help"]))
    env.reset(options={"task": "a"})
    (answer,), *_ = env.step(f"You get 17.5 back, good bye. {CANCEL}")
    assert answer["role"] == "tool"
    *_, terminated, _, info = env.step(BYE)
    assert terminated and info["outcome"] == 1.0, "the greeting says 'help'"


def test_arguments_go_to_the_tools_as_they_are(tmp_path: Path) -> None:
    env = make(one(tmp_path, actions=[]))
    refused = (
        call("get_order_details", order_id=["#W0"]),
        call("get_order_details", order_id=pending(), more=1),
        call("get_order_details"),
        call("get_order_details", self=1),
        call("calculate", expression={"a": 1}),
    )
    for n, action in enumerate(refused):
        env.reset(options={"task": "a"})
        (answer,), *_, info = env.step(action)
        assert answer["content"].startswith("Error: "), n
        assert set(info["parts"]) <= {"malformed", "refused"}
    (answer,), *_ = env.step(call("transfer_to_human_agents", summary=5))
    assert not answer["content"].startswith("Error")


def test_progress_counts_rows_and_texts(tmp_path: Path) -> None:
    env = make(one(tmp_path, actions=[cancelling()], communicate_info=["10", "20"]))
    env.reset(options={"task": "a"})
    shares = []
    for action in ("10?", LOOK, call("get_user_details", user_id="nobody"), "20?", CANCEL):
        env.step(action)
        shares.append(env.playing.progress)
    rows = len(env.benchmark.target(env.task))
    expected = [1, 1, 1, 2, 2 + rows]
    assert shares == pytest.approx([n / (2 + rows) for n in expected])


def test_a_wrong_row_costs_progress_and_the_verdict(tmp_path: Path) -> None:
    env = make(one(tmp_path, actions=[cancelling()]))
    other = call("cancel_pending_order", order_id=pending(1), reason="no longer needed")
    _, info = play(env, "a", [CANCEL, other, BYE])
    assert info["outcome"] == 0.0 and 0.0 < env.playing.progress < 1.0


def test_without_criteria_an_ended_episode_is_enough(tmp_path: Path) -> None:
    free = task("free") | {"evaluation_criteria": None}
    env = make(write_tau2(tmp_path, [free, task("unlooked", communicate_info=["10"])]))
    assert outcome(env, BYE, id="free") == 1.0 and "tau2/retail/free" in env.silence_solves
    assert outcome(env, CANCEL, "10", id="unlooked") == 1.0, "no actions given: the database is not looked at"


def test_calls_are_compared_as_loosely_as_the_official_rule_does() -> None:
    gold = GoldCall(ToolCall("f", {"a": 1, "b": 2}))
    for made, loose, guarded in (
        ({"a": 1, "b": 2}, True, True),
        ({"a": 1}, True, False),
        ({}, True, False),
        ({"a": 1, "b": 3}, False, False),
        ({"a": 1, "b": 2, "c": 3}, False, False),
    ):
        assert gold.matches(ToolCall("f", made)) == loose, made
        assert gold.matches(ToolCall("f", made), guard=True) == guarded, made
    assert not gold.matches(ToolCall("g", {"a": 1, "b": 2}))
    named = GoldCall(ToolCall("f", {"a": 1, "b": 2}), compare=("b",))
    assert named.matches(ToolCall("f", {"b": 2, "a": 7})) and not named.matches(ToolCall("f", {"a": 1}))


def test_a_refused_call_and_one_that_fits_no_schema_are_calls_made(tmp_path: Path) -> None:
    source = one(tmp_path, actions=[cancelling()], reward_basis=["ACTION"])
    empty = call("cancel_pending_order")
    assert outcome(make(source), empty, BYE) == 1.0, "the official rule's loose end"
    assert outcome(make(source, guard=True), empty, BYE) == 0.0
    assert outcome(make(source, guard=True), CANCEL, CANCEL, BYE) == 1.0


def asks(*texts: str) -> TauTask:
    return TauTask("a", "", Brief("", ""), (), texts, (), ("COMMUNICATE",), True, "")


def test_texts_are_found_as_the_official_rule_does() -> None:
    wanted = asks("10", "1126.04", "Full Size")
    assert heard(wanted, "It is $1,126.04 in full size.") == {1, 2}
    assert heard(wanted, "In 2010.") == {0} and heard(wanted, "In 2010.", guard=True) == set()
    assert heard(asks("10"), "10.50 or 3.10", guard=True) == set()
    assert heard(asks("10"), "There are 10.", guard=True) == {0}


@given(st.text(min_size=1, max_size=8), st.text(max_size=30))
def test_what_is_heard_strictly_is_heard(want: str, line: str) -> None:
    assert heard(asks(want), line, guard=True) <= heard(asks(want), line)


# -- how episodes end --------------------------------------------------------------------------------------


def test_an_episode_that_is_cut_off_earns_nothing(tmp_path: Path) -> None:
    source = one(tmp_path, actions=[cancelling()])
    assert outcome(make(source, max_turns=4), LOOK, CANCEL, BYE) == 1.0
    assert outcome(make(source, max_turns=3), LOOK, CANCEL, BYE) == 0.0, "nobody answers the last turn"
    played, info = play(make(source, max_turns=2), "a", [CANCEL, LOOK])
    assert not played.ended and info["outcome"] == 0.0
    assert info["parts"] == {"db": 1.0, "communicate": 1.0, "ended": 0.0}


def test_ten_refused_calls_end_an_episode_of_tau2_only(tmp_path: Path) -> None:
    bad = call("get_order_details", order_id="#W0")
    env = make(one(tmp_path / "2", actions=[cancelling()]))
    assert outcome(env, CANCEL, *[bad] * 9, BYE) == 1.0
    played, info = play(env, "a", [CANCEL, *[bad] * 11])
    assert len(played.calls) == 11 and info["outcome"] == 0.0
    old = [{"instruction": "x", "actions": [{"name": "think", "kwargs": {"thought": "x"}}]}]
    env = make_first(write_tau1(tmp_path / "1", old))
    assert outcome(env, *[bad] * 11, BYE, id="test/0") == 1.0


def test_a_handover_ends_an_episode_of_tau1_only(tmp_path: Path) -> None:
    env = make(one(tmp_path / "2", actions=[cancelling()]))
    played, info = play(env, "a", [HANDOVER, CANCEL, BYE])
    assert played.ended and len(played.calls) == 2 and info["outcome"] == 1.0
    old = [{"instruction": "x", "actions": [{"name": "think", "kwargs": {"thought": "x"}}]}]
    env = make_first(write_tau1(tmp_path / "1", old))
    played, info = play(env, "test/0", [HANDOVER, CANCEL, BYE])
    assert played.ended and len(played.calls) == 1 and info["outcome"] == 1.0


# -- what cannot be judged ---------------------------------------------------------------------------------

ASSERTION = {"env_type": "assistant", "func_name": "f", "arguments": {}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nl_assertions": ["Be nice."], "reward_basis": ["DB", "NL_ASSERTION"]}, "judge model"),
        ({"env_assertions": [ASSERTION], "reward_basis": ["ENV_ASSERTION"]}, "assertions on the"),
        ({"actions": [cancelling(requestor="user")]}, "tools too"),
        ({"communicate_info": ["1,000"]}, "commas"),
    ],
)
def test_what_cannot_be_judged_is_listed_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    source = write_tau2(tmp_path, [task("a", **change), task("b", actions=[])])
    env = make(source)
    assert list(env.gaps) == ["tau2/retail/a"] and reason in env.gaps["tau2/retail/a"]
    assert env.task_ids() == ["tau2/retail/b"]
    with pytest.raises(TaskError, match=reason):
        env.reset(options={"task": "a"})
    assert len(make(source, gaps="play").task_ids()) == 2


def test_assertions_outside_the_basis_and_blank_states_are_no_gap(tmp_path: Path) -> None:
    fine = task("a", actions=[], nl_assertions=["Be nice."], env_assertions=[ASSERTION])
    begun = task("b", actions=[]) | {"initial_state": {"message_history": [{"role": "user"}]}}
    blank = task("c", actions=[]) | {"initial_state": {"message_history": None}}
    env = make(write_tau2(tmp_path, [fine, begun, blank]))
    assert list(env.gaps) == ["tau2/retail/b"] and "initial state" in env.gaps["tau2/retail/b"]
    assert env.find("a").assertions == ("Be nice.",)


def test_a_split_of_gaps_alone_says_so_when_a_task_is_drawn(tmp_path: Path) -> None:
    env = make(one(tmp_path, communicate_info=["1,000"]))
    with pytest.raises(TaskError, match="gaps='play'"):
        env.reset()


# -- a customer played by a model --------------------------------------------------------------------------


def test_a_model_plays_the_customer_from_the_notes_of_the_task(tmp_path: Path) -> None:
    replies = ["Please cancel it.", "Yes.", "Thank you. ###STOP###"]
    with Endpoint(lambda body: replies[len(body["messages"]) // 2 - 1]) as endpoint:
        env = make(one(tmp_path, actions=[cancelling()]), user=endpoint.spec())
        assert env.metadata["quick"] is False
        (_, user), _ = env.reset(options={"task": "a"})
        assert user["content"] == "Please cancel it."
        (answer,), *_ = env.step("Shall I cancel it?")
        assert answer == {"role": "user", "content": "Yes."}
        env.step(CANCEL)
        *_, terminated, _, info = env.step(BYE)
    assert terminated and info["outcome"] == 1.0
    heard = "\n".join(m["content"] for request in endpoint.asked for m in request["messages"])
    assert f"Cancel {pending()}." in heard and "Be brief." in heard
    assert "cancel_pending_order" not in heard, "the customer sees no calls"


def test_a_model_that_fails_is_a_machines_failure(tmp_path: Path) -> None:
    with Endpoint(lambda body: "Please cancel it." if len(body["messages"]) == 2 else 400) as endpoint:
        env = make(one(tmp_path, actions=[cancelling()]), user=endpoint.spec())
        env.reset(options={"task": "a"})
        messages, reward, terminated, truncated, info = env.step("Shall I cancel it?")
    assert (messages, reward, terminated, truncated) == ((), 0.0, False, True)
    assert info["error"]["stage"] == "user" and "outcome" not in info
