"""Worlds of text in Gymnasium's own vectors, and the space of any text."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from forge_envs import MachineError, TaskError
from forge_envs.adapters.rllib import TextWorld, Words, creator
from tests.adapters.gold import ARGS, TASK, WORLD, Failing, Open, gold, played

ASKED: dict[str, Any] = {"world": WORLD, "args": ARGS, "tasks": [TASK]}


def as_rllib_makes_it(mode: str, n: int = 3) -> Any:
    """The calls of its `SingleAgentEnvRunner.make_env`."""
    gym.register(
        "rllib-single-agent-env-v0",
        entry_point=lambda: creator(ASKED),
        vector_entry_point=lambda num_envs: creator({**ASKED, "num_envs": num_envs}),
    )
    try:
        return gym.make_vec(
            "rllib-single-agent-env-v0", num_envs=n, vectorization_mode=gym.VectorizeMode(mode)
        )
    finally:
        gym.registry.pop("rllib-single-agent-env-v0")


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_a_vector_earns_what_the_same_actions_earn(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held, direct = Open(monkeypatch), played(gold())
    vector = as_rllib_makes_it(mode)
    texts, infos = vector.reset(seed=5)
    assert texts.dtype == object and texts.shape == (3,) and len(set(texts)) == 1 and "# Tools" in texts[0]
    total = np.zeros(3)
    for action in gold():
        texts, rewards, terminated, truncated, infos = vector.step(np.array([action] * 3, dtype=object))
        total += rewards
        assert infos["turn_reward"].shape == (3,)
    assert total.tolist() == pytest.approx([direct["reward"]] * 3)
    assert terminated.all() and not truncated.any() and infos["outcome"].tolist() == [1.0] * 3
    again, *_ = vector.step([""] * 3)
    assert "# Tools" in again[0]
    vector.close()
    assert not held.held


def test_the_checker_of_gymnasium_is_content() -> None:
    from gymnasium.utils.env_checker import check_env

    gym.register("Forge-test/Text-v0", entry_point=TextWorld, kwargs=ASKED)
    check_env(gym.make("Forge-test/Text-v0").unwrapped, skip_render_check=True)


def test_a_seed_decides_the_task() -> None:
    env = TextWorld(WORLD, ARGS, ["retail/small/train/2/1", "retail/small/train/2/2"])
    found = [env.reset(seed=seed)[1]["task"] for seed in range(8)]
    assert found == [env.reset(seed=seed)[1]["task"] for seed in range(8)] and len(set(found)) == 2
    assert env.reset(options={"task": TASK})[1]["task"] == TASK


def test_a_limit_truncates_and_the_verdict_counts() -> None:
    env = TextWorld(WORLD, {"max_turns": 2})
    env.reset(options={"task": TASK})
    env.step("Hello")
    *_, terminated, truncated, info = env.step("Hello")
    assert truncated and not terminated and info["outcome"] == 0.0


def test_a_machine_that_fails_is_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, range(1))
    env = TextWorld(**ASKED)
    env.reset()
    with pytest.raises(MachineError, match="no answer"):
        for action in gold():
            env.step(action)


def test_words_are_any_text() -> None:
    words, three = Words(seed=1), Words(3)
    assert "数 \x00 é" in words and words.sample() in words and three.sample() in three
    assert words == Words() != three and ["a", "b", "c"] in three and ["a"] not in three and 3 not in words
    assert pickle.loads(pickle.dumps(three)) == three and not words.is_np_flattenable
    assert pickle.loads(pickle.dumps(creator)) is creator


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match=r"env_config does not know \['max_turns'\]"):
        creator({**ASKED, "max_turns": 3})
    with pytest.raises(ValueError, match="env_config needs `world`"):
        creator({})
    with pytest.raises(TaskError, match="nowhere"):
        creator({**ASKED, "tasks": ["nowhere"]})
    with pytest.raises(gym.error.Error):
        creator({"world": "Forge/Nothing-v0"})


def test_an_action_that_is_no_text_and_a_vector_of_none_are_refused() -> None:
    env = creator(ASKED)
    with pytest.raises(gym.error.ResetNeeded):
        env.step("too early")
    env.reset()
    for wrong in (None, 3, b"bytes"):
        with pytest.raises(ValueError, match="a text is needed"):
            env.step(wrong)
    assert env.step(np.array("", dtype=object))[1:4] == (0.0, False, False)
    env.close()
    for n in (0, -1, 1.5):
        with pytest.raises(ValueError, match=r"num_envs=.*at least 1"):
            creator({**ASKED, "num_envs": n})
