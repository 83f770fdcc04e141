"""Any Gymnasium environment of texts: played, failing, and trained on."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import forge_envs
from forge_envs import MachineError
from forge_envs.adopted import Adopted, Answered
from forge_envs.adopted.randomness import OwnRandomness
from forge_train import cli
from forge_train.config import load
from forge_train.run import train

ECHO = "tests.adopted.strangers:Strangers/Echo-v0"


def made(**args: Any) -> gym.Env[Any, Any]:
    return gym.make("Forge/Text-v0", **{"env": ECHO, **args})


def word(observation: Any) -> str:
    return str(observation[-1]["content"]).removeprefix("Say ").removesuffix(".")


def test_an_episode_from_its_opening_to_its_outcome() -> None:
    env = made(system="Obey.")
    observation, info = env.reset(seed=3)
    assert observation[0] == {"role": "system", "content": "Obey."} and observation[1]["role"] == "user"
    assert info == {"task": "seed:3", "turn": 0}, "what its info tells of the answer stays there"
    observation, reward, terminated, truncated, info = env.step("up")
    assert observation == ({"role": "user", "content": "No."},) and reward == -0.25
    assert not terminated and not truncated and "outcome" not in info
    _, reward, terminated, truncated, info = env.step(word(env.reset(seed=3)[0]))
    assert (reward, terminated, truncated) == (1.0, True, False)
    expected = {"task": "seed:3", "turn": 1, "turn_reward": 1.0, "parts": {"right": 1.0}, "outcome": 1.0}
    assert info == expected
    with pytest.raises(gym.error.ResetNeeded):
        env.step("north")
    env.close()
    env.close()


def test_it_passes_the_checker_of_gymnasium() -> None:
    check_env(made().unwrapped, skip_render_check=True)


def test_the_seed_is_the_task_and_a_limit_ends_it() -> None:
    one, two = made(max_turns=2), made()
    assert len({word(one.reset(seed=seed)[0]) for seed in range(20)}) == 4
    for seed in range(5):
        assert one.reset(seed=seed) == two.reset(seed=seed)
    one.step("up")
    _, _, terminated, truncated, info = one.step("up")
    assert truncated and not terminated and info["outcome"] == -0.5
    for _ in range(3):
        *_, terminated, truncated, info = two.step("up")
    assert truncated and info["outcome"] == -0.75


def test_an_action_outside_its_space_is_told_to_the_agent() -> None:
    env = made()
    env.reset(seed=0)
    for action, why in (("", "1 to 24 characters, yours 0"), ("NORTH!", "'!HNORT'"), ("x" * 25, "yours 25")):
        observation, reward, terminated, truncated, info = env.reset(seed=0) and env.step(action)
        assert why in observation[0]["content"] and "Nothing was done" in observation[0]["content"]
        assert (reward, terminated, truncated, info["turn"]) == (0.0, False, False, 1)
    loose = made(any_text=True)
    loose.reset(seed=0)
    assert loose.step("NORTH!")[0][0]["content"] == "No."


@pytest.mark.parametrize(
    ("habit", "kind"),
    [
        ("raises", "environment"),
        ("sleeps", "timeout"),
        ("nan", "reward"),
        ("number", "reward"),
        ("fails", "fire"),
    ],
)
def test_its_failure_is_no_zero(habit: str, kind: str) -> None:
    env = made(args={"habit": habit}, timeout=0.5 if habit == "sleeps" else 30.0)
    for seed in (1, 2):  # and the next episode begins as if nothing had been
        env.reset(seed=seed)
        observation, _, terminated, truncated, info = env.step("north")
        assert (observation, terminated, truncated) == ((), False, True)
        assert info["error"]["kind"] == kind and "outcome" not in info and info["task"] == f"seed:{seed}"
    env.close()


def test_a_reset_that_fails_raises() -> None:
    env = made(args={"habit": "reset"})
    with pytest.raises(MachineError, match="the disk is full") as failure:
        env.reset(seed=0)
    assert failure.value.stage == "reset" and failure.value.kind == "environment"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"env": ""}, "say which"),
        ({"env": "Strangers/NoSuch-v0"}, "NoSuch"),
        ({"args": {"habits": 1}}, "habits"),
        ({"env": "tests.adopted.strangers:Strangers/Numbers-v0"}, "not spaces.Text"),
        ({"max_turns": 1}, "max_turns=1"),
        ({"maxturns": 3}, "did you mean max_turns"),
    ],
)
def test_bad_arguments(args: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made(**args)


class Dice(Adopted):
    """Draws from the global random states, as many environments do."""

    shares_randomness = True

    def begin(self, seed: int) -> str:
        random.seed(seed)
        np.random.seed(seed)
        return f"{random.random()} {np.random.random()}"

    def answer(self, action: str) -> Answered:
        return Answered(f"{random.random()} {np.random.random()}", 0.0, False)

    def let_go(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def rolled(env: Adopted, seed: int) -> list[str]:
    said = [env.reset(seed=seed)[0]]
    return [str(m) for m in (*said, *(env.step("roll")[0] for _ in range(20)))]


def test_global_randomness_is_lent_to_each_its_own() -> None:
    outside = random.getstate(), np.random.get_state()[1].tolist()
    alone = [rolled(Dice(), seed) for seed in range(6)]
    assert alone[0] != alone[1]
    together: dict[int, list[str]] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: together.update({seed: rolled(Dice(), seed)}))
        for seed in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[seed] for seed in range(6)] == alone
    assert (random.getstate(), np.random.get_state()[1].tolist()) == outside


def test_who_keeps_the_randomness_does_not_stop_the_others_for_ever() -> None:
    with OwnRandomness(1.0)(), pytest.raises(TimeoutError, match="keeps the global"), OwnRandomness(0.05)():
        pass


def test_the_ids_are_made_by_name_and_are_no_worlds_by_themselves() -> None:
    assert "Forge/Text-v0" not in forge_envs.world_ids() and "Forge/Gem-v0" in gym.registry


def test_forge_train_learns_in_a_world_of_strangers(tmp_path: Path) -> None:
    changes = [
        f'run.out="{tmp_path / "run"}"',
        "run.steps=2",
        "run.threads=1",
        "model.tiny.hidden=32",
        "model.tiny.layers=1",
        "model.tiny.vocab=300",
        'worlds.0.id="forge_envs:Forge/Text-v0"',
        f'worlds.0.args={{env = "{ECHO}", any_text = true}}',
        "worlds.0.tasks=4",
        "sft.episodes=0",
        "rollout.groups=1",
        "rollout.group_size=4",
        "rollout.max_context=256",
        "rollout.max_action=6",
        "eval.tasks=1",
        "eval.repeats=1",
        "eval.k=[1]",
    ]
    assert train(load(cli.GRPO, changes)).is_file()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    assert all(line["episodes"] == 4 and "failed" not in line["endings"] for line in lines), lines
