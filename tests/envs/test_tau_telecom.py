"""τ²-bench's telecom: both sides' tools, the official verdict on every task at hand, and playing it."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.rewards import Score
from forge_envs.testing import check_world
from forge_envs.tools import tools_of
from forge_envs.worlds.tau.benchmark import load
from forge_envs.worlds.tau.env import ENDING
from forge_envs.worlds.tau.tau2 import Tau2Env
from forge_envs.worlds.tau.telecom import TELECOM
from forge_envs.worlds.telecom.carrier import Carrier
from forge_envs.worlds.telecom.phone import Phone
from tests.endpoint import Endpoint
from tests.envs.official import DATA, call, play

FOLDER = DATA / "tau2" / "telecom"
pytestmark = pytest.mark.skipif(
    not (FOLDER / "oracle.json").exists(),
    reason=f"the benchmark's data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)


@functools.cache
def oracle() -> dict[str, Any]:
    tasks: dict[str, Any] = json.loads((FOLDER / "oracle.json").read_text())["tasks"]
    return tasks


@functools.cache
def make(**arguments: Any) -> Tau2Env:
    return Tau2Env(domain="telecom", path=str(DATA / "tau2"), **arguments)


def hashes(desk: Any) -> dict[str, str]:
    """Of both databases, as the official code hashes them."""
    tables = {
        name: [getattr(desk, name).peek(key) for key in getattr(desk, name)]
        for name in ("plans", "customers", "lines", "bills", "devices")
    }
    phone = {key: desk.phone.peek(key) for key in desk.phone}
    return {name: digest(rows) for name, rows in (("db", tables), ("user_db", phone))}


def digest(rows: Any) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def act(env: Tau2Env, id: str, calls: list[ToolCall]) -> tuple[Score, list[str]]:
    """Make calls of both sides, whoever plays them; the verdict and the results."""
    env.reset(options={"task": id})
    state = env.playing
    assert state.hands is not None
    results = [
        state.hands.use(one) if one.requestor == "user" else env._call(one)[0]["content"] for one in calls
    ]
    state.ended = True
    return env.grade(), results


@pytest.mark.parametrize("n", range(4))
def test_verdicts_results_and_databases_are_the_official_ones(n: int) -> None:
    env = make()
    for id, told in list(oracle().items())[n::4]:
        gold = [one.call for one in env.benchmark.find(id).gold or ()]
        env.reset(options={"task": id})
        assert hashes(env.playing.desk) == told["gold"]["init"], id
        score, results = act(env, id, gold)
        assert score.outcome == told["gold"]["reward"] == 1.0
        assert results == [result["content"] for result in told["gold"]["observations"]]
        assert hashes(env.playing.desk) == told["gold"]["final"]
        right, rows = env.benchmark.agreement(env.task, env.playing.desk)
        assert (right == rows) == told["gold"]["db_match"], "gold is replayed without carrying over"
        assert act(env, id, [])[0].outcome == told["silence"]["reward"]
        assert act(env, id, gold[::-1])[0].outcome == told["reversed"], id
        for m, reward in enumerate(told["dropped"]):
            assert act(env, id, gold[:m] + gold[m + 1 :])[0].outcome == reward, (id, m)
        for side, key in (("assistant", "transfer_only"), ("user", "user_transfer_only")):
            assert act(env, id, [ToolCall(ENDING, {"summary": "x"}, side)])[0].outcome == told[key]  # type: ignore[arg-type]


def test_the_tools_are_the_official_ones_on_both_sides() -> None:
    official = json.loads((FOLDER / "tools_schema.json").read_text())
    for side, owner, count in (("assistant", Carrier, 13), ("user", Phone, 30)):
        theirs = {entry["function"]["name"]: entry["function"] for entry in official[side]}
        ours = tools_of(owner)
        assert set(ours) == set(theirs) and len(ours) == count
        for name, tool in ours.items():
            parameters = theirs[name]["parameters"]
            assert list(tool.parameters["properties"]) == list(parameters["properties"]), name
            assert tool.parameters["required"] == parameters.get("required", []), name
            assert tool.description != theirs[name]["description"], "descriptions are our own"


@pytest.mark.parametrize("arguments", [{}, {"solo": True}, {"policy": "workflow"}])
def test_gold_with_the_scripted_customer_wins_every_task(arguments: dict[str, Any]) -> None:
    env = make(**arguments)
    assert len(env.task_ids("train")) == 74 and len(env.task_ids("small")) == 20 and env.gaps == {}
    for id in [*env.task_ids("train"), *env.task_ids("small")]:
        _, info = play(env, id, env.gold_actions(id))
        assert info["outcome"] == 1.0, (id, info)
    assert env.silence_solves == set()


def test_the_world_holds_its_promises() -> None:
    for arguments in ({}, {"solo": True}):
        check_world("Forge/Tau2-v0", domain="telecom", path=str(FOLDER), split="train", **arguments)


def test_policies_are_put_together_as_officially() -> None:
    manual, workflow = make().policy, make(policy="workflow").policy
    main = (FOLDER / "main_policy.md").read_text()
    assert manual.startswith(f"<main_policy>\n{main}\n</main_policy>\n<tech_support_policy>\n# Introduction")
    assert workflow.count(main) == 1 and (FOLDER / "tech_support_workflow.md").read_text() in workflow
    alone = make(policy="workflow", solo=True).policy
    assert (FOLDER / "tech_support_workflow_solo.md").read_text() in alone
    with pytest.raises(ValueError, match="mock has one policy"):
        Tau2Env(domain="mock", path=str(DATA / "tau2"), split="base", policy="workflow")
    with pytest.raises(ValueError, match="retail have no tools"):
        Tau2Env(path=str(DATA / "tau2"), solo=True)


def first(env: Tau2Env, part: str) -> str:
    return next(id for id in env.task_ids() if part in id)


def test_alone_an_agent_uses_the_phone_itself_and_says_when_it_is_done() -> None:
    env = make(solo=True)
    id = first(env, "[service_issue]airplane_mode_on|")
    (system, ticket), _ = env.reset(options={"task": id})
    assert env.task.ticket in ticket["content"] and len(system["tools"]) == 13 + 30 + 1
    (result,), *_ = env.step(call("toggle_airplane_mode"))
    assert result["content"].startswith("Airplane Mode is now OFF.")
    messages, _, terminated, _, info = env.step(call("check_sim_status") + call("done"))
    assert terminated and [m["name"] for m in messages] == ["done"] and info["outcome"] == 0.0
    env.reset(options={"task": id})
    assert env.step("Hello?")[2] and not env.playing.ended, "there is nobody to talk to"


def test_strictly_a_handover_alone_earns_nothing() -> None:
    handover = [call(ENDING, summary="x"), "You are being transferred to a human agent."]
    for arguments in ({}, {"solo": True}):
        fair, strict = make(**arguments), make(guard=True, **arguments)
        ends = handover[:1] + ([call("done")] if arguments else handover[1:])
        for id in fair.task_ids():
            handed = any(gold.call.name == ENDING for gold in fair.find(id).gold or ())
            assert play(fair, id, ends)[1]["outcome"] == float(handed), "the official rule"
            assert play(strict, id, ends)[1]["outcome"] == 0.0
            assert play(strict, id, strict.gold_actions(id))[1]["outcome"] == 1.0, id
            if not handed:
                late = [*strict.gold_actions(id)[:-1], *ends]
                assert play(strict, id, late)[1]["parts"].get("transfer", 0.0) == 0.0


def test_what_the_customer_does_is_recorded_and_stays_theirs() -> None:
    env = make()
    id = first(env, "airplane_mode_on|")
    env.reset(options={"task": id})
    (answer,), *_ = env.step("Could you please turn off airplane mode, and tell me what the status bar says?")
    assert "Airplane Mode is now OFF." in answer["content"]
    state = env.playing
    assert state.hands is not None
    assert [made.name for made in state.hands.made][1:] == ["toggle_airplane_mode", "check_status_bar"]
    assert {made.requestor for made in state.hands.made} == {"user"}
    again = pickle.loads(pickle.dumps(state))
    assert again.hands is again.user.hands and again.hands.toolkit.desk is again.desk
    again.hands.use(ToolCall("toggle_airplane_mode", {}))
    assert not state.desk.phone.peek("device")["airplane_mode"], "a snapshot is its own world"  # type: ignore[attr-defined]


def test_a_model_is_offered_the_phone() -> None:
    env = make()
    says = [
        call("check_status_bar"),
        "It says airplane mode.",
        call("toggle_airplane_mode"),
        "Done. ###STOP###",
    ]
    with Endpoint(lambda body: says[sum(m["role"] == "assistant" for m in body["messages"])]) as endpoint:
        env = Tau2Env(domain="telecom", path=str(DATA / "tau2"), user=endpoint.spec())
        (_, line), _ = env.reset(seed=0, options={"task": first(env, "airplane_mode_on|")})
        assert line["content"] == "It says airplane mode." and '"make_payment"' in str(endpoint.asked[0])
        *_, terminated, _, info = env.step("Please turn it off.")
    assert terminated and info["outcome"] == 0.0
    assert not env.playing.desk.phone.peek("device")["airplane_mode"]  # type: ignore[attr-defined]


# -- folders that are none -----------------------------------------------------------------------------------


def copy(folder: Path, **changed: Any) -> Path:
    """The official folder with some files changed, or taken away with None."""
    for path in FOLDER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name, change in changed.items():
        path = folder / next(path.name for path in FOLDER.iterdir() if path.stem == name)
        path.unlink() if change is None else path.write_text(change(path.read_text()))
    return folder


def of_tasks(change: Any) -> Any:
    def apply(text: str) -> str:
        tasks = json.loads(text)
        for task in tasks[::2]:
            change(task)
        return json.dumps(tasks)

    return apply


def rename(task: Any) -> None:
    task["initial_state"]["initialization_actions"][0]["func_name"] = "hypnotise"


def regold(task: Any) -> None:
    task["evaluation_criteria"]["actions"][0]["name"] = "hypnotise"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"db": None}, "no db.toml in any of"),
        ({"db": lambda text: text.replace("plan_id", "tariff")}, "at plans.0.plan_id: field required.*and 2"),
        ({"db": lambda text: text.replace('"Active"', '"Asleep"')}, "customers.0.account_status.*version"),
        ({"db": lambda text: text + "["}, "is not TOML"),
        (
            {"db": lambda text: text.replace('"L1002"', '"L1001"')},
            "two rows of 'lines' have the same line_id",
        ),
        ({"main_policy": None}, "main_policy.md cannot be read"),
        ({"tech_support_manual": None}, "tech_support_manual.md cannot be read"),
        ({"tasks": of_tasks(rename)}, "unknown function of the user 'hypnotise'.* 47 of its 94 tasks"),
        ({"tasks": of_tasks(regold)}, "unknown tool 'hypnotise'; known: .* 47 of its 94 tasks"),
    ],
)
def test_folders_of_another_version_are_named_counted_and_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    folder = copy(tmp_path, **changed)
    with pytest.raises((TaskError, ValueError), match=message):
        Tau2Env(domain="telecom", path=str(folder))


def test_a_start_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    def nobody(task: Any) -> None:
        task["initial_state"]["initialization_actions"][0]["arguments"]["phone_number"] = "555"

    benchmark = load(TELECOM, "tau2", str(copy(tmp_path, tasks=of_tasks(nobody))))
    with pytest.raises(TaskError, match=r"cannot begin: set_user_info.*Line with phone number 555 not found"):
        benchmark.open_task(next(iter(benchmark.tasks.values())))
