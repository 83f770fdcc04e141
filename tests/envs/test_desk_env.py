"""Every service desk as an environment: openings, turn rewards, snapshots, threads, drawing, no leaks."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from tests.envs.desks import DESKS, LEVELS, DeskWorld, call, parts, play


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest) -> DeskWorld:
    return DESKS[request.param]


def test_it_is_registered_and_the_user_speaks_first(desk: DeskWorld) -> None:
    env = gym.make(desk.id, size="tiny", level=1)
    text = desk.task_id("tiny", "test", 1, 17)
    first, info = env.reset(options={"task": text})
    assert [message["role"] for message in first] == ["system", "user"]
    assert info == {"task": text, "turn": 0}
    assert [tool["function"]["name"] for tool in first[0]["tools"]] == list(env.unwrapped.tools)  # type: ignore[attr-defined]


def test_the_compact_prompt_is_one_short_line_without_schemas(desk: DeskWorld) -> None:
    (system, user), _ = desk.make(prompt="compact", size="tiny").reset(
        options={"task": desk.task_id("tiny", "train", 1, 0)}
    )
    assert system == {"role": "system", "content": desk.compact} and len(desk.compact.split()) <= 25
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
def test_unknown_arguments_are_refused_with_what_is_known(desk: DeskWorld, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"known are|only bash|bash commands"):
        desk.make(**wrong)


def test_progress_telescopes_and_the_return_is_the_outcome(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    for level in LEVELS:
        log = play(env, desk.task_id("small", "train", level, 5))[1:]
        assert sum(step[4]["parts"].get("progress", 0.0) for step in log) == pytest.approx(1.0)
        assert sum(step[1] for step in log) == 1.0


def test_penalties_are_named_and_weighed(desk: DeskWorld) -> None:
    env = desk.make(size="tiny", prompt="compact", turn_weight=0.5)
    text = desk.task_id("tiny", "train", 2, 0)
    task = desk.find_task(text)
    cancel = next(goal.call for goal in task.goals)
    nobodys = {**cancel.arguments, f"{desk.table[:-1]}_id": "NONE00"}
    log = play(env, text, [call(cancel.name, **nobodys), call(cancel.name), *env.gold_actions(text)])
    assert log[1][4]["parts"] == {"refused": -0.05} and log[1][1] == pytest.approx(-0.025)
    assert log[2][4]["parts"] == {"malformed": -0.1} and log[2][1] == pytest.approx(-0.05)
    assert sum(step[4]["turn_reward"] for step in log[1:]) == pytest.approx(1.0 - 0.15)
    assert log[-1][4]["outcome"] == 1.0, "a call that changed nothing costs no outcome"


def test_a_write_said_but_not_done_earns_nothing(desk: DeskWorld) -> None:
    env = desk.make(size="tiny", prompt="compact")
    for n in range(5):
        log = play(env, desk.task_id("tiny", "train", 2, n), [desk.done])
        assert log[-1][2] and log[-1][4]["outcome"] == 0.0


def test_a_forbidden_request_must_be_refused_aloud(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact", max_turns=40)
    for n in range(10):
        text = desk.task_id("small", "train", 5, n)
        nos = {a for a in env.gold_actions(text) if re.search("cannot|unable|not ", a) and "<" not in a}
        assert nos
        quiet = ["One moment." if action in nos else action for action in env.gold_actions(text)]
        log = play(env, text, [*quiet, *["One moment."] * 8])
        assert log[-1][4]["outcome"] == 0.0


def test_a_transfer_ends_the_episode_and_is_graded(desk: DeskWorld) -> None:
    env = desk.make(size="tiny", prompt="compact")
    text = desk.task_id("tiny", "train", 1, 0)
    log = play(env, text, [call("transfer_to_human_agents", summary="help")])
    assert log[-1][2] and log[-1][4]["outcome"] == 0.0


def test_info_holds_what_it_may_and_the_opening_no_answers(desk: DeskWorld) -> None:
    env = desk.make(size="small")
    for level in LEVELS:
        text = desk.task_id("small", "train", level, 3)
        task = desk.find_task(text)
        log = play(env, text)
        assert set(log[0][1]) == {"task", "turn"}
        opening = json.dumps(log[0][0])
        assert task.customer_id not in opening
        about = desk.table[:-1]
        for goal in task.goals:
            assert not any(line in opening for topic, line in goal.details.items() if topic != about)
        for step in log[1:]:
            assert set(step[4]) <= {"task", "turn", "turn_reward", "parts", "outcome"} and json.dumps(step[4])
        assert all(set(found) <= {"progress", "rows", "told"} for found in parts(log))


def test_a_snapshot_continues_in_another_env(desk: DeskWorld) -> None:
    text = desk.task_id("full", "train", 5, 4)
    env, other = desk.make(), desk.make()
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


def test_threads_give_what_one_thread_gives(desk: DeskWorld) -> None:
    ids = [desk.task_id("full", "test", level, n) for level in LEVELS for n in range(4)]
    envs = [desk.make() for _ in range(32)]
    alone = [repr(play(desk.make(), text)) for text in ids]

    def work(thread: int) -> list[str]:
        return [repr(play(envs[thread], ids[n % len(ids)])) for n in range(thread, 160, 32)]

    with ThreadPoolExecutor(32) as pool:
        for thread, found in enumerate(pool.map(work, range(32))):
            assert found == [alone[n % len(ids)] for n in range(thread, 160, 32)]


def test_drawing_follows_the_seed_split_size_and_level(desk: DeskWorld) -> None:
    env, name = desk.make(split="test", size="tiny", level=2), desk.name
    _, first = env.reset(seed=3)
    _, again = env.reset(seed=3)
    assert first == again and first["task"].startswith(f"{name}/tiny/test/2/")
    assert env.reset()[1] != first
    assert env.task_ids(n=2) == [f"{name}/tiny/test/2/0", f"{name}/tiny/test/2/1"]
    assert env.task_ids("train", 1) == [f"{name}/tiny/train/2/0"]
    with pytest.raises(ValueError, match="split"):
        env.task_ids("dev")
