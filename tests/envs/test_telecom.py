"""The phone company's world: generated tasks can be solved, not by silence, and never come twice."""

from __future__ import annotations

import pickle

import pytest

from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.worlds.telecom.carrier import Carrier
from forge_envs.worlds.telecom.env import TelecomEnv
from forge_envs.worlds.telecom.phone import Phone
from forge_envs.worlds.telecom.tasks import HANDOVER, PhoneTask, find_task, open_desk, works
from tests.endpoint import Endpoint
from tests.envs.official import call, play

EACH = 25
LEVELS = range(1, 6)


def tasks(split: str = "train", each: int = EACH) -> list[PhoneTask]:
    return [find_task(f"telecom/full/{split}/{level}/{n}") for level in LEVELS for n in range(each)]


@pytest.mark.parametrize("level", LEVELS)
def test_gold_wins_silence_and_a_handover_alone_do_not(level: int) -> None:
    env = TelecomEnv(level=level)
    for split in ("train", "test"):
        for id in env.task_ids(split, EACH):
            actions = env.gold_actions(id)
            played, info = play(env, id, actions)
            assert info["outcome"] == 1.0 and info["turn"] == len(actions) and played.ended, id
            assert play(env, id, [""] * 9)[1]["outcome"] == 0.0
            assert play(env, id, [call(HANDOVER, summary="x")])[1]["outcome"] == 0.0
            assert play(env, id, actions[-1:] * 4)[1].get("outcome", 0.0) == 0.0


def test_each_fault_shows_and_each_mend_is_needed() -> None:
    for task in tasks(each=8):
        if not task.solvable:
            continue
        for left_out in task.faults:
            desk = open_desk(task)
            phone = Phone(desk)
            for fault in task.faults:
                for one in fault.mends or ():
                    if fault is not left_out or one.name == "reboot_device":
                        owner: Carrier | Phone = phone if one.requestor == "user" else desk
                        getattr(owner, one.name)(**task.place.fill(one.arguments))
                        desk.settle()
            assert not works(task, desk), (task.id, left_out.kind)


def test_no_task_comes_twice_and_none_is_in_both_splits() -> None:
    train, test = ({task.content for task in tasks(split)} for split in ("train", "test"))
    assert len(train) == len(test) == 5 * EACH and not train & test
    assert {task.case for task in tasks()} == {"service", "data", "pictures"}
    assert {len(task.faults) for task in tasks() if task.level == 5} == {3, 4, 5}
    hopeless = [task.solvable for task in tasks() if task.level > 3]
    assert 0.1 < hopeless.count(False) / len(hopeless) < 0.5
    assert all(task.solvable for task in tasks() if task.level < 4)


def test_records_nobody_needed_to_change_cost_the_outcome() -> None:
    env = TelecomEnv(level=1)
    id = env.task_ids(n=1)[0]
    place = env.find(id).place
    actions = env.gold_actions(id)
    extra = call("refuel_data", customer_id=place.customer_id, line_id=place.line_id, gb_amount=1.0)
    _, info = play(env, id, [extra, *actions])
    assert info["outcome"] == 0.0 and info["parts"]["works"] == 1.0 and info["parts"]["rows"] == 0.0


def test_an_id_is_a_task_and_others_are_refused() -> None:
    task = find_task("telecom/full/train/5/1")
    assert pickle.loads(pickle.dumps(task)) is task
    for id in ("telecom/full/train/6/1", "telecom/tiny/train/1/1", "retail/full/train/1/1", "x"):
        with pytest.raises(TaskError, match="unknown task"):
            find_task(id)


def test_a_model_plays_the_customer_with_the_phone_and_the_same_first_line() -> None:
    says = [call("check_sim_status"), "I looked.", "Bye. ###STOP###"]
    with Endpoint(lambda body: says[sum(m["role"] == "assistant" for m in body["messages"]) - 1]) as endpoint:
        env, scripted = TelecomEnv(user=endpoint.spec()), TelecomEnv()
        (_, line), _ = env.reset(seed=1, options={"task": "telecom/full/train/3/2"})
        assert line == scripted.reset(options={"task": "telecom/full/train/3/2"})[0][1]
        (answer,), *_ = env.step("Please look at your SIM card.")
        assert answer["content"] == "I looked." and '"run_speed_test"' in str(endpoint.asked[0])
        assert [made.name for made in env.playing.hands.made] == ["check_sim_status"]
        assert env.step("Thanks.")[2]


def test_both_sides_are_brought_up_to_date_after_every_call() -> None:
    env = TelecomEnv(level=2)
    id = next(id for id in env.task_ids() if env.find(id).faults[0].kind == "suspended")
    env.reset(options={"task": id})
    state, place = env.playing, env.task.place
    state.hands.use(ToolCall("make_payment", {}))
    assert state.hands.use(ToolCall("check_payment_request", {})) == "No payment request has been made."
    env.step(call("send_payment_request", customer_id=place.customer_id, bill_id=place.bill_id))
    assert place.bill_id in state.hands.use(ToolCall("check_payment_request", {}))
    (answer,), *_ = env.step("I sent you a request. Could you please pay it?")
    assert answer["content"].startswith("Payment of")
    assert state.desk.bills.peek(place.bill_id)["status"] == "Paid"
