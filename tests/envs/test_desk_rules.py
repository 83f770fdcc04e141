"""What an agent may do for whom: calls for strangers, for the unknown, and without a yes cost turn reward."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.env import PENALTIES
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.worlds.desk.env import DeskEnv
from forge_envs.worlds.desk.rules import agrees
from tests.envs.desks import AIRLINE, DESKS, LEVELS, RETAIL, DeskWorld, call, parts, play
from tests.envs.official import cancelling, pending, task, write_tau2

UNAUTHORISED = {"unauthorised": -PENALTIES["unauthorised"]}
UNCONFIRMED = {"unconfirmed": -PENALTIES["unconfirmed"]}


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest) -> DeskWorld:
    return DESKS[request.param]


def reader(desk: DeskWorld, key: str) -> str:
    """The call that reads an order or a reservation."""
    about = desk.table[:-1]
    return call(f"get_{about}_details", **{f"{about}_id": key})


def strangers(desk: DeskWorld, text: str) -> Iterator[str]:
    """Ids of what belongs to other customers."""
    task = desk.find_task(text)
    rows = getattr(task, desk.table).rows
    return (key for key, row in rows.items() if row["user_id"] != task.customer_id)


def outcome(log: list[Any]) -> float:
    return float(log[-1][4]["outcome"])


def test_whoever_was_not_asked_who_they_are_may_not_be_served(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    text = desk.task_id("small", "train", 1, 3)
    task, gold = desk.find_task(text), env.gold_actions(text)
    early = [call("get_user_details", user_id=task.customer_id), reader(desk, task.goals[0].subject)]
    log = play(env, text, [*early, *gold])
    assert parts(log)[:2] == [UNAUTHORISED] * 2 and "Error" not in log[1][0][0]["content"]
    assert outcome(log) == 1.0 and sum(step[1] for step in log[1:]) == 1.0, "the outcome does not mind"
    assert all(set(found) <= {"progress", "rows", "told"} for found in parts(log)[2:]), "now they are known"


def test_a_lookup_by_what_nobody_said_tells_nothing_about_who_is_there() -> None:
    env = RETAIL.make(size="small", prompt="compact")
    text = next(t for n in range(9) if RETAIL.find_task(t := RETAIL.task_id("small", "train", 1, n)).email)
    task, gold = RETAIL.find_task(text), env.gold_actions(text)
    guess = call("find_user_id_by_email", email=task.email)
    read = reader(RETAIL, task.goals[0].subject)
    assert parts(play(env, text, [guess, read])) == [{}, UNAUTHORISED]
    told = [gold[0], call("find_user_id_by_email", email=task.email.upper()), read]
    assert parts(play(env, text, told)) == [{}, {}, {}], "whatever the case"
    other = next(row["email"] for key, row in task.users.rows.items() if key != task.customer_id)
    someone = [gold[0], call("find_user_id_by_email", email=other), read]
    assert parts(play(env, text, someone))[-1] == UNAUTHORISED, "somebody was found, but not the customer"


def test_a_name_with_a_zip_code_identifies_as_well() -> None:
    env = RETAIL.make(size="small", prompt="compact")
    texts = (RETAIL.task_id("small", "train", 1, n) for n in range(40))
    text = next(t for t in texts if not RETAIL.find_task(t).email)
    assert any("find_user_id_by_name_zip" in action for action in env.gold_actions(text))
    log = play(env, text)
    assert outcome(log) == 1.0 and all(set(found) <= {"progress", "rows", "told"} for found in parts(log))


def test_what_belongs_to_strangers_stays_closed(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    text = desk.task_id("small", "train", 2, 1)
    task, gold = desk.find_task(text), env.gold_actions(text)
    other = next(key for key in task.users.rows if key != task.customer_id)
    nosy = [call("get_user_details", user_id=other), reader(desk, next(strangers(desk, text)))]
    log = play(env, text, [*gold[:-1], *nosy, gold[-1]])
    assert parts(log)[-3:-1] == [UNAUTHORISED] * 2 and outcome(log) == 1.0


def test_a_write_for_a_stranger_is_that_and_not_only_unconfirmed(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    text = desk.task_id("small", "train", 2, 1)
    task, gold = desk.find_task(text), env.gold_actions(text)
    (made,) = (goal.call for goal in task.goals)
    argument, rows = f"{desk.table[:-1]}_id", getattr(task, desk.table).rows
    open_ones = (key for key in strangers(desk, text) if rows[key].get("status") in ("pending", None))
    wrong = call(made.name, **{**made.arguments, argument: next(open_ones)})
    log = play(env, text, [*gold[:-1], wrong, gold[-1]])
    assert parts(log, ("progress",))[-2] == UNAUTHORISED and outcome(log) == 0.0


def test_nothing_is_changed_without_a_yes(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    text = desk.task_id("small", "train", 2, 2)
    gold = env.gold_actions(text)
    at = next(n for n, a in enumerate(gold) if any(env.tools[c.name].writes for c in HERMES.parse(a).calls))
    hasty = [*gold[: at - 1], *gold[at:]]
    log = play(env, text, hasty)
    assert parts(log, ("progress",))[at - 1] == UNCONFIRMED
    assert outcome(log) == 1.0, "the rows are right all the same"


def test_the_customer_says_yes_before_every_write_of_gold(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    writes = 0
    for n in range(20):
        text = desk.task_id("small", "train", 5, n)
        (*_, last), _ = env.reset(options={"task": text})
        for action in env.gold_actions(text):
            if any(env.tools[made.name].writes for made in HERMES.parse(action).calls):
                assert last["content"] == "Yes.", text
                writes += 1
            messages, *_ = env.step(action)
            last = messages[-1] if messages else last
    assert writes >= 40


def test_refused_and_malformed_calls_are_that_alone(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    text = desk.task_id("small", "train", 2, 2)
    log = play(env, text, [call("get_user_details", user_id="nobody"), call("get_user_details")])
    assert parts(log) == [{"refused": -0.05}, {"malformed": -0.1}]


def test_the_airlines_customer_is_known_by_their_own_word() -> None:
    env = AIRLINE.make(size="small", prompt="compact")
    text = AIRLINE.task_id("small", "train", 1, 0)
    task = AIRLINE.find_task(text)
    read = reader(AIRLINE, task.goals[0].subject)
    assert parts(play(env, text, [read, "What is your user id?", read])) == [UNAUTHORISED, {}, {}]


def test_published_tasks_know_no_such_rules(tmp_path: Path) -> None:
    path = write_tau2(tmp_path, [task("a", actions=[cancelling()])])
    env: Any = gym.make("Forge/Tau2-v0", path=path, split="base").unwrapped
    hasty = call("cancel_pending_order", order_id=pending(), reason="no longer needed")
    log = play(env, "a", [call("get_order_details", order_id=pending(1)), hasty, "Done."])
    assert outcome(log) == 1.0 and not any(set(found) & set(PENALTIES) for found in parts(log))


@pytest.mark.parametrize(
    ("line", "yes"),
    [
        ("Yes.", True),
        ("yes, please", True),
        ("Ok, do it", True),
        ("That looks right. Yes!", True),
        ("Go ahead.", True),
        ("That's correct.", True),
        ("Perfect. Please go ahead.", True),
        ("I'd like you to go ahead with it", True),
        ("Please don't go ahead", False),
        ("Do not go ahead yet", False),
        ("No.", False),
        ("No. Use my gift card.", False),
        ("Wait, yes, no, I changed my mind.", False),
        ("Please cancel order #W1.", False),
        ("I am sure that it is possible.", False),
        ("I want to proceed to another thing", False),
        ("", False),
    ],
)
def test_a_yes_is_one_in_the_words_of_people(line: str, yes: bool) -> None:
    assert agrees(line) is yes


@given(
    st.sampled_from(list(DESKS.values())),
    st.sampled_from(LEVELS),
    st.integers(0, 200),
    st.floats(0.1, 2.0),
    st.integers(0, 2**32 - 1),
)
def test_turn_rewards_telescope_whatever_is_done(
    desk: DeskWorld, level: int, n: int, weight: float, seed: int
) -> None:
    text = desk.task_id("small", "train", level, n)
    plain = desk.make(size="small", prompt="compact")
    weighed = desk.make(size="small", prompt="compact", turn_weight=weight)
    actions = jumble(plain, desk, text, np.random.default_rng(seed))
    log, same = play(plain, text, actions), play(weighed, text, actions)
    found = parts(log)
    assert sum(part.get("progress", 0.0) for part in found) == pytest.approx(plain.playing.progress)
    costs = -sum(part.get(name, 0.0) for part in found for name in PENALTIES)
    turns = sum(step[4]["turn_reward"] for step in log[1:])
    assert turns == pytest.approx(plain.playing.progress - costs)
    assert sum(step[1] for step in log[1:]) == outcome(log) == outcome(same), "turn_weight=0 is the outcome"
    assert sum(step[1] for step in same[1:]) == pytest.approx(outcome(log) + weight * turns)


def jumble(env: DeskEnv[Any, Any], desk: DeskWorld, text: str, rng: np.random.Generator) -> list[str]:
    """Gold with some of it left out, some of it twice, and looks at strangers' things between."""
    actions: list[str] = []
    others = list(strangers(desk, text))
    for action in env.gold_actions(text):
        actions += [action] * int(rng.choice([0, 1, 1, 1, 1, 2]))
        if rng.random() < 0.2:
            actions.append(reader(desk, others[int(rng.integers(len(others)))]))
        if rng.random() < 0.1:
            actions.append(HERMES.write(calls=[ToolCall("no_such_tool", {})]))
    return [*actions, *[""] * env.max_turns]
