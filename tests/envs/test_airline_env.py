"""Forge/Airline-v0 as an environment: openings, outcomes, turn rewards, snapshots, threads, nothing leaks."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.messages import HERMES, ToolCall
from forge_envs.worlds.airline.env import COMPACT, AirlineEnv
from forge_envs.worlds.airline.ids import task_id
from forge_envs.worlds.airline.tasks import find_task


def call(name: str, **arguments: Any) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


def play(env: AirlineEnv, text: str, actions: list[str] | None = None) -> list[Any]:
    log: list[Any] = [env.reset(options={"task": text})]
    for action in env.gold_actions(text) if actions is None else actions:
        log.append(env.step(action))
    return log


def test_it_is_registered_and_the_user_speaks_first() -> None:
    env = gym.make("Forge/Airline-v0", size="tiny", level=1)
    first, info = env.reset(options={"task": "airline/tiny/test/1/17"})
    assert [message["role"] for message in first] == ["system", "user"]
    assert info == {"task": "airline/tiny/test/1/17", "turn": 0}
    assert [tool["function"]["name"] for tool in first[0]["tools"]] == list(env.unwrapped.tools)  # type: ignore[attr-defined]
    assert "15 May 2024" in first[0]["content"]


def test_the_compact_prompt_is_one_short_line_without_schemas() -> None:
    (system, user), _ = AirlineEnv(prompt="compact", size="tiny").reset(
        options={"task": "airline/tiny/train/1/0"}
    )
    assert system == {"role": "system", "content": COMPACT} and len(COMPACT.split()) <= 25
    assert len(user["content"].split()) <= 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": "dev"},
        {"level": 6},
        {"size": "huge"},
        {"prompt": "long"},
        {"source": "x"},
        {"user": "x"},
        {"grammar": "bash"},
    ],
)
def test_unknown_arguments_are_refused_with_what_is_known(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"known are|only bash|bash commands"):
        AirlineEnv(**wrong)


def test_progress_telescopes_and_the_return_is_the_outcome() -> None:
    env = AirlineEnv(size="small", prompt="compact")
    for level in range(1, 6):
        log = play(env, task_id("small", "train", level, 5))[1:]
        assert sum(step[4]["parts"].get("progress", 0.0) for step in log) == pytest.approx(1.0)
        assert sum(step[1] for step in log) == 1.0


def test_penalties_are_named_and_weighed() -> None:
    env = AirlineEnv(size="tiny", prompt="compact", turn_weight=0.5)
    text = task_id("tiny", "train", 2, 0)
    log = play(
        env,
        text,
        [
            call("cancel_reservation", reservation_id="NONE00"),
            call("cancel_reservation"),
            *env.gold_actions(text),
        ],
    )
    assert log[1][4]["parts"] == {"refused": -0.05} and log[1][1] == pytest.approx(-0.025)
    assert log[2][4]["parts"] == {"malformed": -0.1} and log[2][1] == pytest.approx(-0.05)
    assert sum(step[4]["turn_reward"] for step in log[1:]) == pytest.approx(1.0 - 0.15)
    assert log[-1][4]["outcome"] == 1.0, "a call that changed nothing costs no outcome"


def test_a_write_nobody_asked_for_costs_outcome_and_progress() -> None:
    env = AirlineEnv(size="tiny", prompt="compact")
    text = task_id("tiny", "train", 2, 0)
    actions = env.gold_actions(text)
    extra = call("send_certificate", user_id=find_task(text).customer_id, amount=50)
    log = play(env, text, [*actions[:-1], extra, actions[-1]])
    assert log[-1][4]["outcome"] == 0.0 and log[-1][4]["parts"]["rows"] == 0.0
    assert log[-2][4]["parts"]["progress"] < 0.0 < env.playing.progress < 1.0


def test_a_write_said_but_not_done_earns_nothing() -> None:
    env = AirlineEnv(size="tiny", prompt="compact")
    for n in range(5):
        log = play(env, task_id("tiny", "train", 2, n), ["The reservation has been cancelled."])
        assert log[-1][2] and log[-1][4]["outcome"] == 0.0


def test_naming_all_values_at_once_earns_nothing() -> None:
    env = AirlineEnv(size="small", prompt="compact", level=1)
    everything = (
        "It is economy. It is business. It is landed. It is delayed. "
        "2024-05-20. 2024-05-21. FG100. FG101. $1.00. $2.00."
    )
    for n in range(30):
        env.reset(options={"task": task_id("small", "train", 1, n)})
        ended = False
        while not ended:
            _, _, terminated, truncated, info = env.step(everything)
            ended = terminated or truncated
        assert info["outcome"] == 0.0


def test_a_forbidden_request_must_be_refused_aloud() -> None:
    env = AirlineEnv(size="small", prompt="compact", max_turns=40)
    played = 0
    for n in range(10):
        text = task_id("small", "train", 5, n)
        gold = env.gold_actions(text)
        nos = [a for a in find_task(text).gold if isinstance(a, str) and re.search("cannot|unable|not ", a)]
        assert nos
        env.reset(options={"task": text})
        for action in [*(a if a not in nos else "One moment." for a in gold), *["One moment."] * 8]:
            *_, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                break
        played += info["outcome"] == 0.0
    assert played == 10


def test_a_transfer_ends_the_episode_and_is_graded() -> None:
    env = AirlineEnv(size="tiny", prompt="compact")
    log = play(env, task_id("tiny", "train", 1, 0), [call("transfer_to_human_agents", summary="help")])
    assert log[-1][2] and log[-1][4]["outcome"] == 0.0


def test_nothing_leaks() -> None:
    env = AirlineEnv(size="small")
    for level in range(1, 6):
        text = task_id("small", "train", level, 3)
        task = find_task(text)
        log = play(env, text)
        assert set(log[0][1]) == {"task", "turn"}
        opening = json.dumps(log[0][0])
        assert task.customer_id not in opening
        for goal in task.goals:
            assert not any(line in opening for topic, line in goal.details.items() if topic != "reservation")
        for step in log[1:]:
            assert set(step[4]) <= {"task", "turn", "turn_reward", "parts", "outcome"} and json.dumps(step[4])
            assert set(step[4]["parts"]) <= {"progress", "rows", "told"}


def test_a_snapshot_continues_in_another_env() -> None:
    text = task_id("full", "train", 5, 4)
    env, other = AirlineEnv(), AirlineEnv()
    actions = env.gold_actions(text)
    for cut in (1, len(actions) // 2, len(actions) - 1):
        env.reset(options={"task": text})
        for action in actions[:cut]:
            env.step(action)
        data = env.snapshot()
        assert len(data) < 60_000
        other.restore(data)
        for action in actions[cut:]:
            assert env.step(action) == other.step(action)
        assert other.playing.over and other.playing.customer.told == other.task.to_tell


def test_threads_give_what_one_thread_gives() -> None:
    ids = [task_id("full", "test", level, n) for level in range(1, 6) for n in range(4)]
    envs = [AirlineEnv() for _ in range(32)]
    alone = [repr(play(AirlineEnv(), text)) for text in ids]

    def work(thread: int) -> list[str]:
        return [repr(play(envs[thread], ids[n % len(ids)])) for n in range(thread, 160, 32)]

    with ThreadPoolExecutor(32) as pool:
        for thread, found in enumerate(pool.map(work, range(32))):
            assert found == [alone[n % len(ids)] for n in range(thread, 160, 32)]


def test_drawing_follows_the_seed_split_size_and_level() -> None:
    env = AirlineEnv(split="test", size="tiny", level=2)
    _, first = env.reset(seed=3)
    _, again = env.reset(seed=3)
    assert first == again and first["task"].startswith("airline/tiny/test/2/")
    assert env.reset()[1] != first
    assert env.task_ids(n=2) == ["airline/tiny/test/2/0", "airline/tiny/test/2/1"]
    assert env.task_ids("train", 1) == ["airline/tiny/train/2/0"]
    with pytest.raises(ValueError, match="split"):
        env.task_ids("dev")
