"""GEM's own make, vectors and wrappers on our worlds."""

from __future__ import annotations

import random
import runpy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("gem")

import gem
from gem.wrappers.episode_tracking_wrapper import EpisodeTrackingWrapper
from gem.wrappers.observation_wrapper import ObservationWrapper

from forge_envs import MachineError, TaskError
from forge_envs.adapters import EPISODE_OVER
from forge_envs.adapters.gem import GemWorld, register_world
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played

ENV = register_world(WORLD, ARGS, env_id="forge:test")
ONE = register_world(WORLD, ARGS, tasks=[TASK], env_id="forge:one")


@pytest.mark.parametrize("wrap", [lambda env: env, EpisodeTrackingWrapper])
def test_an_episode_earns_what_the_same_actions_earn(wrap: Any) -> None:
    env, direct = wrap(gem.make(ONE)), played(gold())
    text, info = env.reset(seed=0)
    assert info["task"] == TASK and "# Tools" in text
    steps = [env.step(action) for action in gold()]
    assert env.unwrapped._session.record() == direct
    assert sum(step[1] for step in steps) == pytest.approx(direct["reward"])
    assert [step[4]["turn_reward"] for step in steps] == direct["turn_rewards"]
    assert [step[2] for step in steps] == [False] * (len(steps) - 1) + [True]
    assert steps[-1][4]["outcome"] == 1.0 and not any(step[3] for step in steps)
    if wrap is EpisodeTrackingWrapper:
        assert steps[-1][4]["cumulative_rewards"] == pytest.approx(direct["reward"])
    assert env.step("more")[0] == EPISODE_OVER


def test_a_limit_truncates_and_the_verdict_counts() -> None:
    env = gem.make(ONE, args={"max_turns": 2})
    env.reset()
    env.step("Hello")
    *_, terminated, truncated, info = env.step("Hello")
    assert truncated and not terminated and info["outcome"] == 0.0


def test_a_seed_decides_and_the_global_state_is_left_alone() -> None:
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    first, second = gem.make(ENV, seed=5), gem.make(ENV)
    assert first.reset() == second.reset(seed=5)
    assert first.reset() == second.reset()
    tasks = {first.reset(seed=seed)[1]["task"] for seed in range(8)}
    assert len(tasks) > 1
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("threads", [False, True])
def test_a_vector_plays_several_at_once(threads: bool) -> None:
    direct = played(gold())
    vector = gem.make_vec([ONE] * 4, async_mode=threads, wrappers=[EpisodeTrackingWrapper], seed=1)
    texts, infos = vector.reset()
    assert len(set(texts)) == 1 and [info["task"] for info in infos] == [TASK] * 4
    total = np.zeros(4)
    for action in gold():
        texts, rewards, terminated, _, infos = vector.step([action] * 4)
        total += rewards
    assert total.tolist() == pytest.approx([direct["reward"]] * 4) and terminated.all()
    assert [info["prev_ep_step_counter"] for info in infos] == [len(gold())] * 4


def test_histories_are_kept_by_the_wrapper_of_gem() -> None:
    env = ObservationWrapper(gem.make(ONE), include_chat_template=False)
    env.reset()
    text, *_ = env.step(gold()[0])
    assert text.count("# Tools") == 1 and gold()[0] in text


def test_a_state_is_continued_in_another_env() -> None:
    env = gem.make(ONE)
    env.reset(seed=3)
    env.step(gold()[0])
    twin, fresh = env.spawn(same_state=True), env.spawn()
    answers = [[each.step(action) for action in gold()[1:]] for each in (env, twin)]
    assert answers[0] == answers[1] and answers[0][-1][4]["outcome"] == 1.0
    assert env.reset() == twin.reset()
    with pytest.raises(Exception, match="reset"):
        fresh.get_state()
    assert env.spawn(args={"max_turns": 2})._session.env.max_turns == 2


def test_random_actions_are_understood() -> None:
    env = gem.make(ENV, seed=0)
    env.reset()
    for _ in range(5):
        assert "malformed" not in env.step(env.sample_random_action())[4]["parts"]


def test_a_machine_that_fails_is_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, range(1))
    env = gem.make(ONE)
    env.reset()
    with pytest.raises(MachineError, match="no answer"):
        for action in gold():
            env.step(action)
    with pytest.raises(MachineError):
        env.step("again")
    env.reset()
    assert [env.step(action) for action in gold()][-1][4]["outcome"] == 1.0


def test_worlds_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    env = gem.make(ONE)
    env.reset()
    assert held.held
    del env
    assert not held.held


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="is already"):
        register_world(WORLD, {"turn_weight": 0.25}, env_id="forge:test")
    assert register_world(WORLD, ARGS, env_id="forge:test") == "forge:test"
    with pytest.raises(TaskError, match="nowhere"):
        GemWorld(WORLD, tasks=["nowhere"])
    with pytest.raises(Exception, match="Nothing"):
        gem.make(register_world("Forge/Nothing-v0"))


def test_a_world_that_cannot_be_made_is_not_registered() -> None:
    for world, args in (("Forge/Retial-v0", {}), (WORLD, {"max_trns": 3})):
        with pytest.raises(ValueError if args else gym.error.Error, match=r"Retail|Retial|max_turns"):
            register_world(world, args, env_id="forge:Mistyped-v0")
    assert register_world(WORLD, env_id="forge:Mistyped-v0") == "forge:Mistyped-v0"  # corrected, under its id


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "gem_vector.py"))
    assert "retail/" in capsys.readouterr().out
