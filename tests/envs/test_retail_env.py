"""Forge/Retail-v0 as an environment: openings, outcomes, turn rewards, snapshots, threads, nothing leaks."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.messages import HERMES, ToolCall
from forge_envs.worlds.retail.env import COMPACT, RetailEnv
from forge_envs.worlds.retail.ids import task_id
from forge_envs.worlds.retail.tasks import find_task


def call(name: str, **arguments: Any) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


def play(env: RetailEnv, text: str, actions: list[str] | None = None) -> list[Any]:
    log: list[Any] = [env.reset(options={"task": text})]
    for action in env.gold_actions(text) if actions is None else actions:
        log.append(env.step(action))
    return log


def test_it_is_registered_and_the_user_speaks_first() -> None:
    env = gym.make("Forge/Retail-v0", size="tiny", level=1)
    first, info = env.reset(options={"task": "retail/tiny/test/1/17"})
    assert [message["role"] for message in first] == ["system", "user"]
    assert info == {"task": "retail/tiny/test/1/17", "turn": 0}
    assert [tool["function"]["name"] for tool in first[0]["tools"]] == list(env.unwrapped.tools)  # type: ignore[attr-defined]
    assert "yes" in first[0]["content"]


def test_the_compact_prompt_is_one_short_line_without_schemas() -> None:
    (system, user), _ = RetailEnv(prompt="compact", size="tiny").reset(
        options={"task": "retail/tiny/train/1/0"}
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
        RetailEnv(**wrong)


def test_progress_telescopes_and_the_return_is_the_outcome() -> None:
    env = RetailEnv(size="small", prompt="compact")
    for level in range(1, 6):
        log = play(env, task_id("small", "train", level, 5))[1:]
        assert sum(step[4]["parts"].get("progress", 0.0) for step in log) == pytest.approx(1.0)
        assert sum(step[1] for step in log) == 1.0


def test_a_write_nobody_asked_for_costs_outcome_and_progress() -> None:
    env = RetailEnv(size="tiny", prompt="compact")
    text = task_id("tiny", "train", 2, 0)
    actions = env.gold_actions(text)
    home = {"address1": "1 A", "address2": "", "city": "B", "state": "C", "country": "USA", "zip": "1"}
    extra = call("modify_user_address", user_id=find_task(text).customer_id, **home)
    log = play(env, text, [*actions[:-1], extra, actions[-1]])
    assert log[-1][4]["outcome"] == 0.0 and log[-1][4]["parts"]["rows"] == 0.0
    assert log[-2][4]["parts"]["progress"] < 0.0 < env.playing.progress < 1.0


def test_a_write_said_but_not_done_earns_nothing() -> None:
    env = RetailEnv(size="tiny", prompt="compact")
    for n in range(5):
        text = task_id("tiny", "train", 2, n)
        log = play(env, text, ["Order has been cancelled."])
        assert log[-1][2] and log[-1][4]["outcome"] == 0.0


def test_saying_all_values_at_once_earns_nothing() -> None:
    env = RetailEnv(size="tiny", prompt="compact", level=1)
    everything = "It is pending. It is processed. It is delivered. Reno, Tulsa, Omaha. credit card, paypal."
    played = 0
    for n in range(40):
        text = task_id("tiny", "train", 1, n)
        if find_task(text).goals[0].fact in ("status", "city", "payment"):
            env.reset(options={"task": text})
            ended = False
            while not ended:
                _, _, terminated, truncated, info = env.step(everything)
                ended = terminated or truncated
            assert info["outcome"] == 0.0
            played += 1
    assert played > 10


def test_a_forbidden_request_must_be_refused_aloud() -> None:
    env = RetailEnv(size="small", prompt="compact", max_turns=40)
    text = task_id("small", "train", 5, 2)
    task = find_task(text)
    said = [
        n
        for n, action in enumerate(task.gold)
        if isinstance(action, str) and ("cannot" in action or "not " in action)
    ]
    assert said
    actions = [a if n not in said else "One moment." for n, a in enumerate(env.gold_actions(text))]
    env.reset(options={"task": text})
    for action in [*actions, *["One moment."] * 8]:
        *_, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            break
    assert info["outcome"] == 0.0


def test_a_transfer_ends_the_episode_and_is_graded() -> None:
    env = RetailEnv(size="tiny", prompt="compact")
    log = play(env, task_id("tiny", "train", 1, 0), [call("transfer_to_human_agents", summary="help")])
    assert log[-1][2] and log[-1][4]["outcome"] == 0.0


def test_nothing_leaks() -> None:
    env = RetailEnv(size="small")
    for level in range(1, 6):
        text = task_id("small", "train", level, 3)
        task = find_task(text)
        log = play(env, text)
        assert set(log[0][1]) == {"task", "turn"}
        opening = json.dumps(log[0][0])
        for goal in task.goals:
            assert task.email == "" or task.email not in opening
            assert task.customer_id not in opening
            if goal.details.get("reason"):
                assert goal.details["reason"] not in opening
        for step in log[1:]:
            allowed = {"task", "turn", "turn_reward", "parts", "outcome"}
            assert set(step[4]) <= allowed and json.dumps(step[4])
            assert set(step[4]["parts"]) <= {"progress", "rows", "told"}


def test_a_snapshot_continues_in_another_env() -> None:
    text = task_id("full", "train", 5, 4)
    env, other = RetailEnv(), RetailEnv()
    actions = env.gold_actions(text)
    for cut in (1, len(actions) // 2, len(actions) - 1):
        env.reset(options={"task": text})
        for action in actions[:cut]:
            env.step(action)
        data = env.snapshot()
        assert len(data) < 40_000
        other.restore(data)
        for action in actions[cut:]:
            assert env.step(action) == other.step(action)
        assert other.playing.over and other.playing.customer.told == other.task.to_tell


def test_threads_give_what_one_thread_gives() -> None:
    ids = [task_id("full", "test", level, n) for level in range(1, 6) for n in range(8)]
    envs = [RetailEnv() for _ in range(32)]

    def outcome(n: int) -> str:
        return repr(play(envs[n % 32], ids[n % len(ids)]))

    alone = [repr(play(RetailEnv(), text)) for text in ids]

    def work(thread: int) -> list[str]:
        return [outcome(n) for n in range(thread, 160, 32)]

    with ThreadPoolExecutor(32) as pool:
        for thread, found in enumerate(pool.map(work, range(32))):
            assert found == [alone[n % len(ids)] for n in range(thread, 160, 32)]


def test_drawing_follows_the_seed_split_size_and_level() -> None:
    env = RetailEnv(split="test", size="tiny", level=2)
    _, first = env.reset(seed=3)
    _, again = env.reset(seed=3)
    assert first == again and first["task"].startswith("retail/tiny/test/2/")
    assert env.reset()[1] != first
    assert env.task_ids(n=2) == ["retail/tiny/test/2/0", "retail/tiny/test/2/1"]
    assert env.task_ids("train", 1) == ["retail/tiny/train/2/0"]
    with pytest.raises(ValueError, match="split"):
        env.task_ids("dev")
