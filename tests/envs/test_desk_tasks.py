"""Generated tasks of every desk: gold earns all, silence nothing; splits share no request; ids last."""

from __future__ import annotations

import hashlib
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import TaskError
from forge_envs.worlds.desk.env import DeskEnv
from tests.envs.desks import DESKS, LEVELS, DeskWorld, play

SIZES = ("full", "small", "tiny")


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest) -> DeskWorld:
    return DESKS[request.param]


def pair(desk: DeskWorld, size: str) -> tuple[DeskEnv[Any, Any], DeskEnv[Any, Any]]:
    """An env for gold and one for silence."""
    return desk.make(size=size, prompt="compact"), desk.make(size=size, prompt="compact", max_turns=2)


def check(env: DeskEnv[Any, Any], silent: DeskEnv[Any, Any], text: str) -> Any:
    """Gold earns 1 in its last action and breaks no rule; silence earns nothing. The task."""
    gold = env.gold_actions(text)
    log = play(env, text, gold)
    assert len(log) == len(gold) + 1, f"{text} ended early"
    assert log[-1][1] == log[-1][4]["outcome"] == 1.0 and env.playing.progress == 1.0, text
    assert all(set(step[4]["parts"]) <= {"progress", "rows", "told"} for step in log[1:]), text
    assert play(silent, text, ["", ""])[-1][4]["outcome"] == 0.0, text
    return env.task


def test_the_sizes_are_those_that_are_tested(desk: DeskWorld) -> None:
    assert set(desk.sizes) == set(SIZES)


@pytest.mark.parametrize("each", [50, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.matrix])])
@pytest.mark.parametrize("size", SIZES)
def test_many_tasks_of_each_level(desk: DeskWorld, size: str, each: int) -> None:
    """Ten thousand of each size, or some hundred: gold, silence, and no request twice."""
    env, silent = pair(desk, size)
    seen: dict[str, set[Any]] = {"train": set(), "test": set()}
    for level in LEVELS:
        for n in range(each if size == "full" else each // 2):
            for split in seen:
                key = desk.content(check(env, silent, desk.task_id(size, split, level, n)))
                # A tiny desk has few ids by design, so a request comes back with other rows behind it.
                assert size == "tiny" or key not in seen[split], "the same request twice in a split"
                seen[split].add(key)
    assert not seen["train"] & seen["test"]


@given(
    st.sampled_from(list(DESKS.values())),
    st.sampled_from(SIZES),
    st.sampled_from(LEVELS),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_no_request_is_in_both_splits(desk: DeskWorld, size: str, level: int, n: int, m: int) -> None:
    train, test = (
        desk.find_task(desk.task_id(size, split, level, k)) for split, k in (("train", n), ("test", m))
    )
    assert desk.content(train) != desk.content(test)


def test_levels_are_what_they_say(desk: DeskWorld) -> None:
    def goals(level: int, n: int) -> Any:
        return desk.find_task(desk.task_id("small", "train", level, n)).goals

    for n in range(40):
        (one,) = goals(1, n)
        assert one.kind == "fact" and one.subject in one.request
        assert [goal.kind for goal in goals(2, n)] == ["cancel"]
        (three,) = goals(3, n)
        assert three.kind not in ("fact", "cancel")
        four = goals(4, n)
        assert len(four) == 2 or not four[0].knows_subject
        five = goals(5, n)
        assert len(five) == 3 and sum(goal.forbidden for goal in five) == 1
        assert desk.find_task(desk.task_id("small", "train", 0, n)).level in LEVELS


def test_an_agent_that_loses_the_thread_does_worse_at_each_level(desk: DeskWorld) -> None:
    env = desk.make(size="small", prompt="compact")
    rng = random.Random(0)
    solved = []
    for level in LEVELS:
        won = 0.0
        for n in range(250):
            text = desk.task_id("small", "train", level, n)
            gold = env.gold_actions(text)
            length = next((n for n in range(len(gold)) if rng.random() < 0.1), len(gold))
            won += play(env, text, [*gold[:length], *[""] * 30])[-1][4]["outcome"]
        solved.append(won / 250)
    assert solved == sorted(solved, reverse=True) and solved[0] > solved[-1] + 0.3, solved


def test_an_id_means_the_same_task_in_another_process_and_in_threads(desk: DeskWorld) -> None:
    ids = [desk.task_id(size, "test", level, 7) for size in ("tiny", "full") for level in LEVELS]
    here = [desk.digest(text) for text in ids]
    code = (
        "import hashlib; from tests.envs.desks import DESKS\n"
        f"found = [DESKS[{desk.name!r}].digest(text) for text in {ids!r}]\n"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(repr(here).encode()).hexdigest()
    desk.find_task.cache_clear()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(desk.digest, ids)) == here


def test_a_task_pickles_as_its_id(desk: DeskWorld) -> None:
    task = desk.find_task(desk.task_id("full", "train", 5, 3))
    rows = getattr(task, desk.table)
    data = pickle.dumps((task, task.users, rows))
    assert len(data) < 500
    again, users, same = pickle.loads(data)
    assert again is task and users is task.users and same is rows


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "{}/tiny/train/1",
        "{}/huge/train/1/0",
        "{}/tiny/dev/1/0",
        "{}/tiny/train/6/0",
        "{}/tiny/train/1/-1",
        "{}/tiny/train/1/007",
        "{}/tiny/train/1/x",
        "telecom/tiny/train/1/0",
    ],
)
def test_unknown_ids_are_refused_with_the_form(desk: DeskWorld, text: str) -> None:
    with pytest.raises(TaskError, match=f"{desk.name}/<size>"):
        desk.find_task(text.format(desk.name))
