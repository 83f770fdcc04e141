"""The fidelity report: faithful users have no fault, every doctored one is caught, bad files are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.messages import Message
from forge_envs.people.fidelity import FAULTS, Fidelity, fidelity, out_of_character, wilson
from forge_envs.people.stored import Stored
from forge_envs.worlds.desk.customer import lines
from tests.envs.official import call, cancelling, pending, task, write_tau2

WORLDS = {"retail": "Forge/Retail-v0", "airline": "Forge/Airline-v0"}
ODD = ["", "Hello?", "Could you share your details?", "Shall I proceed?", "Sorry, I cannot do that.", "Done!"]


def stored(world: str, task: str, messages: list[Message], ending: str = "terminated", **args: Any) -> Stored:
    return Stored("here, line 1", world, args, task, messages, ending, False)


def played(name: str, task: str, actions: list[str] | None = None) -> Stored:
    """What the scripted customer says to gold, or to other actions."""
    env: Any = gym.make(WORLDS[name], size=task.split("/")[1], max_turns=60).unwrapped
    env.reset(options={"task": task})
    terminated = truncated = False
    for action in env.gold_actions(task) if actions is None else actions:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return stored(WORLDS[name], task, list(env.state.transcript), "terminated" if terminated else "max_turns")


def counts(*episodes: Stored, **options: Any) -> dict[str, int]:
    """How many episodes have which fault, those that none has left out."""
    (found,) = fidelity(episodes, **options)
    return {fault: rate.episodes for fault, rate in found.rates.items() if rate.episodes}


def answering(episode: Stored, *lines: str) -> Stored:
    """The same episode with these lines in place of the customer's answers, the first line kept."""
    said = iter(lines)
    messages: list[Message] = []
    for message in episode.messages:
        answer = message["role"] == "user" and any(m["role"] == "assistant" for m in messages)
        messages.append({**message, "content": next(said, message["content"])} if answer else message)
    return dataclasses.replace(episode, messages=messages)


def talk(task: str, *turns: str, name: str = "retail", ending: str = "terminated") -> Stored:
    """A conversation: the scripted first line, then the agent and the customer in turn."""
    env: Any = gym.make(WORLDS[name], size="tiny").unwrapped
    first, _ = env.reset(options={"task": task})
    roles = ("assistant", "user")
    said = [Message(role=roles[n % 2], content=text) for n, text in enumerate(turns)]  # type: ignore[typeddict-item]
    return stored(WORLDS[name], task, [*first, *said], ending)


# -- the faithful --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("size", ["tiny", "full"])
def test_the_scripted_customer_has_no_fault_with_gold(name: str, size: str) -> None:
    tasks = [f"{name}/{size}/test/{level}/{n}" for level in range(1, 6) for n in range(8)]
    (found,) = fidelity(played(name, task) for task in tasks)
    assert (found.user, found.episodes, found.tasks, found.examples) == ("scripted", 40, 40, [])
    assert {fault: rate.findings for fault, rate in found.rates.items()} == dict.fromkeys(FAULTS, 0)


@given(st.data())
def test_the_scripted_customer_has_no_fault_with_any_agent(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(WORLDS)))
    every = lines(f"forge_envs.worlds.{name}")
    task = f"{name}/tiny/train/{data.draw(st.integers(1, 5))}/{data.draw(st.integers(0, 30))}"
    env: Any = gym.make(WORLDS[name], size="tiny").unwrapped
    gold = [action for action in env.gold_actions(task) if "<tool_call>" not in action]
    pool = [*ODD, *gold, *(line for place in every.values() for line in place if "{" not in line)]
    episode = played(name, task, data.draw(st.lists(st.sampled_from(pool), max_size=8)))
    assert counts(episode) == {}


# -- the doctored, one by one --------------------------------------------------------------------------


def first_task(name: str, level: int, kind: str, **having: Any) -> tuple[str, Any]:
    """A tiny task whose first goal is of a kind, and that goal."""
    env: Any = gym.make(WORLDS[name], size="tiny").unwrapped
    for n in range(200):
        task = f"{name}/tiny/train/{level}/{n}"
        goal = env.find(task).goals[0]
        if goal.kind == kind and not goal.withdrawn and all(getattr(goal, k) == v for k, v in having.items()):
            return task, goal
    raise AssertionError(f"no task of {kind}")


def test_who_tells_before_being_asked_is_caught() -> None:
    task, goal = first_task("retail", 2, "cancel")
    hello, reason = "Hello, how are you?", goal.details["reason"]
    assert counts(talk(task, hello, f"Fine. {reason}", ending="max_turns")) == {"early_disclosure": 1}
    assert counts(talk(task, "What is the reason?", reason, ending="max_turns")) == {}
    assert counts(talk(task, "May I have more information?", reason, ending="max_turns")) == {}
    assert counts(talk(task, "Is it no longer needed or a mistake?", reason, ending="max_turns")) == {}
    env: Any = gym.make(WORLDS["retail"], size="tiny").unwrapped
    zip_code = env.find(task).zip
    assert counts(talk(task, hello, f"My zip is {zip_code}.", ending="max_turns")) == {"early_disclosure": 1}
    for asks in ("Your name and zip, please?", "Can you verify who you are?"):
        assert counts(talk(task, asks, f"My zip is {zip_code}.", ending="max_turns")) == {}


def test_who_tells_an_airline_too_early_is_caught() -> None:
    task, goal = first_task("airline", 3, "flights")
    env: Any = gym.make(WORLDS["airline"], size="tiny").unwrapped
    mine, pays = env.find(task).customer_id, goal.details["payment"]
    unasked = talk(task, "Hello!", f"I am {mine}.", name="airline", ending="max_turns")
    assert counts(unasked) == {"early_disclosure": 1}
    unasked = talk(task, "What is your user id?", f"{mine}, and {pays}", name="airline", ending="max_turns")
    assert counts(unasked) == {"early_disclosure": 1}
    asked = talk(
        task, "Your user id, and how do you pay?", f"{mine}. {pays}", name="airline", ending="max_turns"
    )
    assert counts(asked) == {}


@pytest.mark.parametrize(
    "line",
    ["My email is eve@elsewhere.org.", "It is order #W0000000.", "My zip is 00000.", "I meant #W0000000!"],
)
def test_who_makes_up_an_id_is_caught(line: str) -> None:
    task, _ = first_task("retail", 2, "cancel")
    asks = "Which order, and what are your email and zip?"
    assert counts(talk(task, asks, line, ending="max_turns")) == {"contradiction": 1}
    named = f"I found {line} Is that you?"
    assert counts(talk(task, named, line, ending="max_turns")) == {}, "the agent brought it up"


@pytest.mark.parametrize("line", ["I am eve_evil_1234.", "It is ZZZ999.", "With flight FG999."])
def test_who_makes_up_an_id_of_an_airline_is_caught(line: str) -> None:
    task, _ = first_task("airline", 2, "cancel")
    asks = "Which reservation and flight, and your user id?"
    assert counts(talk(task, asks, line, name="airline", ending="max_turns")) == {"contradiction": 1}


def test_who_says_another_value_than_the_notes_is_caught() -> None:
    task, goal = first_task("retail", 2, "cancel")
    wrong = {"no longer needed": "ordered by mistake", "ordered by mistake": "no longer needed"}
    (said,) = (value for key, value in wrong.items() if key in goal.details["reason"])
    assert counts(talk(task, "Why?", f"It was {said}.", ending="max_turns")) == {"contradiction": 1}
    assert counts(talk(task, "Why?", f"It was not {said}.", ending="max_turns")) == {}
    task, goal = first_task("retail", 3, "return")
    pays = "paypal" if "paypal" not in goal.details["payment"] else "gift card"
    assert counts(talk(task, "How do you pay?", f"With {pays}.", ending="max_turns")) == {"contradiction": 1}
    task, goal = first_task("airline", 3, "flights")
    day = "May 2" if "05-02" not in goal.details["flights"] else "May 3"
    moved = talk(task, "To which date?", f"On {day}.", name="airline", ending="max_turns")
    assert counts(moved) == {"contradiction": 1}


def test_who_agrees_to_something_else_is_caught() -> None:
    task, goal = first_task("retail", 2, "cancel")
    offer = f"I will return order {goal.subject}. Shall I proceed?"
    for yes in ("Yes.", "Sure, go ahead!", "OK"):
        assert counts(talk(task, offer, yes, ending="max_turns")) == {"contradiction": 1}
    assert counts(talk(task, offer, "No, I want to cancel it.", ending="max_turns")) == {}
    other = "I will cancel order #W0000000. Shall I proceed?"
    assert counts(talk(task, other, "Yes.", ending="max_turns")) == {"contradiction": 1}
    right = f"I will cancel order {goal.subject}, {goal.call.arguments['reason']}. Shall I proceed?"
    assert counts(talk(task, right, "Yes.", ending="max_turns")) == {}


@pytest.mark.parametrize("name", WORLDS)
def test_who_leaves_too_early_is_caught(name: str) -> None:
    task = f"{name}/tiny/train/2/0"
    assert counts(talk(task, "Hello!", name=name)) == {"premature_stop": 1}
    assert counts(talk(task, "Hello!", name=name, ending="")) == {"premature_stop": 1}
    for ending in ("max_turns", "tokens", "deadline"):
        assert counts(talk(task, "Hello!", name=name, ending=ending)) == {}, "they did not leave"
    whole = played(name, task)
    assert whole.ending == "terminated" and counts(whole) == {}
    last = max(n for n, message in enumerate(whole.messages) if message["role"] == "user")
    cut = dataclasses.replace(whole, messages=whole.messages[:last])
    assert counts(cut) == {"premature_stop": 1}


@pytest.mark.parametrize("name", WORLDS)
def test_who_leaves_when_all_is_done_did_not_leave_too_early(name: str) -> None:
    task = f"{name}/tiny/train/2/0"
    env: Any = gym.make(WORLDS[name], size="tiny").unwrapped
    calls = [action for action in env.gold_actions(task) if "<tool_call>" in action]
    turns = [text for action in calls for text in (action, "Yes.")]
    assert counts(talk(task, *turns, "Bye then, friend!", name=name)) == {}
    assert counts(talk(task, *turns[:-2], "Bye then, friend!", name=name)) == {"premature_stop": 1}


def test_who_was_handed_over_did_not_leave() -> None:
    task = "retail/tiny/train/2/0"
    handover = call("transfer_to_human_agents", summary="help")
    assert counts(talk(task, handover)) == {}
    assert counts(talk(task, "<tool_call>{oops</tool_call>")) == {}


@pytest.mark.parametrize(
    "line",
    [
        "How can I help you today?",
        "I have cancelled your order.",
        "Your refund will be paid in 5 days.",
        "Let me look up your account.",
        "As an AI language model I cannot say.",
        '<tool_call>\n{"name": "x"}\n</tool_call>',
        '{"name": "cancel_pending_order", "arguments": {}}',
        "get_order_details(order_id=1)",
        "My instructions say that I am angry.",
        "###STO",
        "<|im_end|>",
    ],
)
def test_who_falls_out_of_character_is_caught(line: str) -> None:
    task, _ = first_task("retail", 2, "cancel")
    assert counts(talk(task, "Why?", line, ending="max_turns")) == {"out_of_character": 1}
    assert [fault for fault, _ in out_of_character(line, ["get_order_details"])] == ["out_of_character"]


def test_one_doctored_line_is_one_finding_with_its_text() -> None:
    whole = played("retail", "retail/tiny/train/2/0")
    (found,) = fidelity([answering(whole, "My email is eve@elsewhere.org.")])
    assert [one.fault for one in found.examples] == ["contradiction"]
    (one,) = found.examples
    assert one.user == "My email is eve@elsewhere.org." and one.why.startswith(
        "said email 'eve@elsewhere.org'"
    )
    assert one.where == "here, line 1" and one.agent and one.agent in str(found) and one.user in str(found)


# -- published tasks -----------------------------------------------------------------------------------


def published(tmp_path: Path) -> str:
    one = task("a", actions=[cancelling()])
    told = {"reason_for_call": f"Cancel {pending()}.", "task_instructions": "Be brief.", "domain": "retail"}
    one["user_scenario"]["instructions"] = told | {"known_info": "You are Ann Lee, ann_lee_1234, zip 12345."}
    judged = task("b", actions=[], nl_assertions=["Be nice."], reward_basis=["NL_ASSERTION"])
    return write_tau2(tmp_path, [one, judged])


@pytest.mark.parametrize(
    ("turns", "ending", "expected"),
    [
        (["Your user id?", "ann_lee_1234", "Your zip?", "12345"], "max_turns", {}),
        (["Hello!", "I am ann_lee_1234."], "max_turns", {"early_disclosure": 1}),
        (["Your user id?", "eve_lee_1234"], "max_turns", {"contradiction": 1}),
        (["Is it eve_lee_1234?", "Not eve_lee_1234."], "max_turns", {}),
        (["Shall I cancel it?"], "terminated", {"premature_stop": 1}),
        (["I cannot do that."], "terminated", {}),
        (["CANCEL", "Anything else?"], "terminated", {}),
        (["Why?", "How may I assist you?"], "max_turns", {"out_of_character": 1}),
    ],
)
def test_users_of_published_tasks_are_held_to_the_ids_of_their_notes(
    tmp_path: Path, turns: list[str], ending: str, expected: dict[str, int]
) -> None:
    done = call("cancel_pending_order", order_id=pending(), reason="no longer needed")
    messages = [Message(role="user", content=f"Cancel {pending()}.")]
    for text in turns:
        roles = ("user", "assistant", "tool")
        role = roles[messages[-1]["role"] != "assistant"]
        if text == "CANCEL":
            messages += [{"role": "assistant", "content": done}, {"role": "tool", "content": "{}"}]
        else:
            messages.append({"role": role, "content": text})  # type: ignore[typeddict-item]
    args = {"path": published(tmp_path), "split": "base", "user": "openai:m@http://gone#replay=/gone"}
    assert counts(stored("Forge/Tau2-v0", "tau2/retail/a", messages, ending, **args)) == expected
    gap = stored("Forge/Tau2-v0", "b", messages[:1], "max_turns", **args)
    assert counts(gap) == {}, "users of tasks that cannot be judged are held to their notes, too"


# -- rates ---------------------------------------------------------------------------------------------


def test_rates_are_means_over_tasks_with_intervals_and_users_apart() -> None:
    good, bad = (talk(f"retail/tiny/train/2/{n}", "Hello!", ending="max_turns") for n in range(2))
    left = dataclasses.replace(bad, ending="terminated")
    users = {"user": "openai:org/m@http://host/v1#temperature=1"}
    served = [dataclasses.replace(good, args=users), dataclasses.replace(good, args=users, failed=True)]
    by = {found.user: found for found in fidelity([left, *served, bad, good])}
    assert set(by) == {"scripted", "org/m"}
    rate = by["scripted"].rates["premature_stop"]
    assert (rate.episodes, rate.findings, rate.mean) == (1, 1, 0.25), "task by task, not episode by episode"
    assert (rate.low, rate.high) == wilson(0.25, 2) and 0 < rate.low < 0.25 < rate.high < 1
    assert (by["org/m"].episodes, by["org/m"].failed) == (1, 1)
    assert [found.user for found in fidelity([left, good], user="me")] == ["me"]


def test_examples_are_few_and_of_every_fault() -> None:
    lines = ["How can I help you?", "My email is eve@elsewhere.org."] * 5
    turns = [text for line in lines for text in ("Your email?", line)]
    (found,) = fidelity([talk("retail/tiny/train/2/0", *turns, ending="max_turns")], examples=2)
    assert [one.fault for one in found.examples] == ["contradiction"] * 2 + ["out_of_character"] * 2
    assert found.rates["contradiction"].findings == 5
    (found,) = fidelity([talk("retail/tiny/train/2/0", *turns, ending="max_turns")], examples=0)
    assert found.examples == []


@given(st.floats(0, 1), st.integers(1, 1000))
def test_an_interval_holds_its_share_and_narrows_with_tasks(share: float, count: int) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1
    wider = wilson(share, max(1, count // 4))
    assert high - low <= wider[1] - wider[0] + 1e-12


def test_only_failed_episodes_give_no_rates() -> None:
    (found,) = fidelity([dataclasses.replace(talk("retail/tiny/train/2/0"), failed=True)])
    assert found == Fidelity("scripted", 0, 0, 1, {}, []) and "1 failed" in str(found)
