"""Customers of both desks played by a model: what they know, what they hear, and the verdict beside them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.worlds.airline.customer import AirlineListener
from forge_envs.worlds.airline.env import AirlineEnv
from forge_envs.worlds.airline.tasks import find_task as find_airline_task
from forge_envs.worlds.desk.customer import Listener
from forge_envs.worlds.desk.env import DeskEnv
from forge_envs.worlds.retail.customer import ShopListener
from forge_envs.worlds.retail.env import RetailEnv
from forge_envs.worlds.retail.tasks import find_task as find_retail_task
from tests.endpoint import Endpoint
from tests.envs.official import DATA, call, cancelling, pending, task, write_tau2

LINES = ["Hello?", "Which id?", "é “quotes” 数", "Anything else?"]


@dataclass(frozen=True)
class Desk:
    """One of the two worlds."""

    name: str
    env: type[DeskEnv[Any, Any]]
    listener: type[Listener]
    find: Callable[[str], Any]

    def task(self, level: int, n: int = 0, size: str = "tiny") -> str:
        return f"{self.name}/{size}/train/{level}/{n}"


DESKS = [
    Desk("retail", RetailEnv, ShopListener, find_retail_task),
    Desk("airline", AirlineEnv, AirlineListener, find_airline_task),
]


@pytest.fixture(params=DESKS, ids=lambda desk: desk.name)
def desk(request: pytest.FixtureRequest) -> Desk:
    found = request.param
    assert isinstance(found, Desk)
    return found


def well(body: dict[str, Any]) -> str:
    """A reply that follows from the request: its seed and how much was said."""
    return f"seed {body['seed']}, after {len(body['messages'])}"


def talk(env: Any, task: str, seed: int, lines: list[str]) -> list[Any]:
    """Everything a world with a model for a customer says to these lines."""
    log: list[Any] = [env.reset(seed=seed, options={"task": task})]
    for line in lines:
        log.append(env.step(line))
        if log[-1][2] or log[-1][3]:
            break
    return log


# -- what they know ------------------------------------------------------------------------------------


def test_the_notes_hold_what_the_scripted_customer_can_tell(desk: Desk) -> None:
    for level in range(1, 6):
        for n in range(20):
            listener = desk.listener(desk.find(desk.task(level, n, "full")))
            brief = listener.brief()
            assert brief.opening == listener.open() and all(
                text in brief.persona for text in listener.identity().values()
            )
            for goal in listener.task.goals:
                assert all(text in brief.goal for text in (goal.request, *goal.details.values()))
                assert (listener.unknown in brief.goal) or goal.knows_subject


def test_the_customer_does_not_know_what_it_waits_to_hear(desk: Desk) -> None:
    looked = 0
    for level in range(1, 6):
        for n in range(20):
            listener = desk.listener(desk.find(desk.task(level, n, "full")))
            told = " ".join(
                [listener.persona(), *(text for g in listener.task.goals for text in g.details.values())]
            )
            told += " ".join(goal.request for goal in listener.task.goals)
            for goal in listener.task.goals:
                if (
                    goal.truth
                    and len(goal.truth) > 5
                    and not goal.forbidden
                    and goal.truth not in told.lower()
                ):
                    looked += 1
                    assert goal.truth not in listener.brief().prompt.lower(), (listener.task.id, goal.truth)
    assert looked > 10


def test_no_notes_hold_the_id_that_the_agent_must_find(desk: Desk) -> None:
    for n in range(60):
        listener = desk.listener(desk.find(desk.task(4, n, "full")))
        for goal in listener.task.goals:
            if not goal.knows_subject:
                assert goal.subject and goal.subject not in listener.brief().prompt


def test_the_customer_never_sees_calls_or_thoughts_of_the_agent(desk: Desk) -> None:
    with Endpoint(well) as endpoint:
        env = desk.env(size="tiny", level=2, user=endpoint.spec())
        env.reset(seed=0)
        call = HERMES.write("Let me look.", [ToolCall("think", {"thought": "secret idea"})])
        env.step("<think>secret plan</think>" + call)
        assert endpoint.asked == []
        env.step("<think>secret plan</think>Which one?")
    (body,) = endpoint.asked
    assert "secret" not in json.dumps(body) and "Let me look" not in json.dumps(body)
    assert body["messages"][-1] == {"role": "user", "content": "Which one?"}


# -- the verdict beside them ---------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(1, 6))
def test_gold_is_graded_alike_whoever_plays_the_customer(desk: Desk, level: int) -> None:
    with Endpoint(lambda body: "Yes.") as endpoint:
        env = desk.env(size="small", user=endpoint.spec(), max_turns=60)
        for n in range(8):
            task = desk.task(level, n, "small")
            env.reset(seed=n, options={"task": task})
            for action in env.gold_actions(task):
                _, _, terminated, truncated, _ = env.step(action)
                assert not terminated and not truncated  # this model never leaves
            score = env.grade()
            assert score.outcome == 1.0, (task, score)


def test_the_ear_hears_a_wrong_fact_once_and_for_all(desk: Desk) -> None:
    fact, right, wrong = ("status", "pending", "delivered")
    if desk.name == "airline":
        fact, right, wrong = ("cabin", "economy", "business")
    tasks = (desk.find(desk.task(1, n)) for n in range(99))
    task = next(t for t in tasks if t.goals[0].fact == fact and t.goals[0].truth == right)
    for said, told in (
        ([f"It is {right}."], 1),
        (["Hello."] * 9 + [f"It is {right}."], 1),
        ([f"It is {wrong}.", f"It is {right}."], 0),
        ([f"It is {right}.", f"It is {wrong}."], 1),
    ):
        listener = desk.listener(task)
        for line in said:
            listener.listen(line)
        assert listener.told == told, said
        assert pickle.loads(pickle.dumps(listener)) == listener


def test_a_failing_model_truncates_the_episode_and_the_next_one_plays(desk: Desk) -> None:
    broken = [False]
    with Endpoint(lambda body: 400 if broken[0] else well(body)) as endpoint:
        env = gym.make(f"Forge/{desk.name.capitalize()}-v0", size="tiny", user=endpoint.spec())
        assert env.unwrapped.metadata["quick"] is False and desk.env().metadata["quick"] is True
        env.reset(seed=0)
        broken[0] = True
        messages, reward, terminated, truncated, info = env.step("Hello?")
        assert (messages, reward, terminated, truncated) == ((), 0.0, False, True)
        assert info["error"]["kind"] == "refused" and "outcome" not in info
        broken[0] = False
        env.reset(seed=0)
        assert env.step("Hello?")[0][0]["content"].startswith("seed ")


def test_a_model_that_leaves_is_graded_by_what_the_ear_heard(desk: Desk) -> None:
    with Endpoint(lambda body: "Thanks. ###STOP###" if len(body["messages"]) > 5 else "Yes.") as endpoint:
        env = desk.env(size="tiny", user=endpoint.spec())
        log = talk(env, desk.task(1), 0, ["Hello?", "How are you?", "Bye."])
    *_, terminated, truncated, info = log[-1]
    assert (terminated, truncated, info["outcome"]) == (True, False, 0.0) and len(log) == 3
    assert env.playing.user.ended == "stop"


@pytest.mark.skipif(not (DATA / "tau2").exists(), reason=f"the benchmarks' data is not at {DATA}")
@pytest.mark.parametrize(("domain", "world"), [("retail", "Tau1"), ("retail", "Tau2"), ("airline", "Tau2")])
def test_a_model_plays_the_customers_of_published_tasks(domain: str, world: str) -> None:
    leave = {"now": False}
    with Endpoint(lambda body: "Thanks. ###STOP###" if leave["now"] else "Yes.") as endpoint:
        env: Any = gym.make(
            f"Forge/{world}-v0", domain=domain, path=str(DATA / world.lower()), user=endpoint.spec()
        ).unwrapped
        task = env.task_ids()[0]
        brief = env.find(task).brief
        leave["now"] = False
        env.reset(seed=0, options={"task": task})
        *actions, last = env.gold_actions(task)
        for action in actions:
            _, _, terminated, truncated, info = env.step(action)
            assert not terminated and not truncated, info
        leave["now"] = True
        *_, info = env.step(last)
    assert info["outcome"] == 1.0
    assert all(brief.goal.strip() in body["messages"][0]["content"] for body in endpoint.asked)


def test_a_model_that_leaves_with_its_first_line_ends_the_episode_as_in_tau2(tmp_path: Path) -> None:
    both = ["DB", "ACTION"]
    tasks = [
        task("change", actions=[cancelling()], reward_basis=both),
        task("nothing", actions=[], reward_basis=both, communicate_info=[]),
    ]
    cancel = call("cancel_pending_order", order_id=pending(), reason="no longer needed")
    with Endpoint(lambda body: "Never mind. ###STOP###") as endpoint:
        env: Any = gym.make(
            "Forge/Tau2-v0", path=write_tau2(tmp_path, tasks), split="base", user=endpoint.spec()
        ).unwrapped
        for id, action, outcome in (
            ("change", cancel, 0.0),
            ("nothing", cancel, 1.0),
            ("nothing", "Hi?", 1.0),
        ):
            messages, _ = env.reset(options={"task": id})
            assert messages[-1] == {"role": "user", "content": "Never mind."}
            answer, _, terminated, truncated, info = env.step(action)
            assert (answer, terminated, truncated, info["outcome"]) == ((), True, False, outcome), id
    assert len(endpoint.asked) == 1, "their notes are the same, so their first line is"


# -- settings ------------------------------------------------------------------------------------------


def test_settings_of_training_and_evaluation_stay_apart(desk: Desk) -> None:
    with Endpoint(well) as endpoint:
        train = desk.env(size="tiny", user=endpoint.spec(temperature=1.0, max_tokens=64))
        judged = desk.env(size="tiny", user=endpoint.spec(temperature=0.0, max_tokens=256))
        for env in (train, judged, train):
            talk(env, desk.task(1), 3, ["Hello?"])
    settings = [(body["temperature"], body["max_completion_tokens"]) for body in endpoint.asked]
    assert settings == [(1.0, 64), (0.0, 256), (1.0, 64)]


def test_a_deadline_and_an_attempt_limit_hold(desk: Desk) -> None:
    with Endpoint(lambda body: None) as endpoint:
        env = desk.env(size="tiny", user=endpoint.spec(deadline=5, attempt=0.2, attempts=2))
        *_, truncated, info = talk(env, desk.task(1), 0, ["Hello?"])[-1]
        assert truncated and info["error"]["kind"] == "timeout" and len(endpoint.asked) == 2


def test_all_worlds_of_a_process_share_the_limit() -> None:
    with Endpoint(well) as endpoint:
        envs = [desk.env(size="tiny", user=endpoint.spec(limit=2)) for desk in DESKS * 4]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda env: talk(env, env.task_ids()[0], 0, LINES), envs))
        assert len(endpoint.asked) == 8 * len(LINES) and endpoint.most_at_once <= 2


def test_replies_follow_the_seed_of_the_episode_and_the_opening_does_not(desk: Desk) -> None:
    with Endpoint(well) as endpoint:
        env, task = desk.env(size="tiny", user=endpoint.spec()), desk.task(3)
        logs = [talk(env, task, seed, LINES) for seed in (5, 5, 6)]
    assert logs[0] == logs[1] and logs[0][0] == logs[2][0] and logs[0][1] != logs[2][1]


def test_a_snapshot_goes_on_with_the_same_customer(desk: Desk) -> None:
    with Endpoint(well) as endpoint:
        env, other = (desk.env(size="tiny", user=endpoint.spec()) for _ in range(2))
        env.reset(seed=0)
        env.step("Hello?")
        other.restore(env.snapshot())
        assert env.step("And?") == other.step("And?")


# -- recordings ----------------------------------------------------------------------------------------


def test_an_episode_is_recorded_and_played_again_to_the_byte_without_the_model(
    desk: Desk, tmp_path: Path
) -> None:
    path, ids = tmp_path / "deep" / "users.jsonl", [desk.task(4, n) for n in range(3)]
    answers = iter(f"Line {n}: “naïve” \u2028 数" for n in range(999))
    with Endpoint(lambda body: next(answers)) as endpoint:
        env = desk.env(size="tiny", user=endpoint.spec(record=path))
        live = [talk(env, task, n, LINES) for n, task in enumerate(ids)]
        asked = len(endpoint.asked)
        assert [talk(env, task, n, LINES) for n, task in enumerate(ids)] == live
        assert len(endpoint.asked) == asked == 12
        spec = endpoint.spec(replay=path)
    stored = path.read_bytes()
    assert len(stored.splitlines()) == 12
    replayed = desk.env(size="tiny", user=spec)
    for n in (2, 0, 1):  # in another order
        assert json.dumps(talk(replayed, ids[n], n, LINES)) == json.dumps(live[n])
    assert path.read_bytes() == stored


def test_a_recording_of_something_else_is_a_failed_machine_and_scores_nothing(
    desk: Desk, tmp_path: Path
) -> None:
    path, task = tmp_path / "users.jsonl", desk.task(1)
    with Endpoint(well) as endpoint:
        record, replay = endpoint.spec(record=path), endpoint.spec(replay=path)
        talk(desk.env(size="tiny", user=record), task, 0, LINES)
    log = talk(desk.env(size="tiny", user=replay), task, 0, ["Who?"])
    messages, reward, terminated, truncated, info = log[-1]
    assert (messages, reward, terminated, truncated) == ((), 0.0, False, True) and "outcome" not in info
    error = info["error"]
    assert (error["kind"], error["stage"], error["retryable"]) == ("recording", "user", False)
    assert "holds no reply to 'Who?'" in error["message"]
