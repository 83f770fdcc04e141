"""RLlib's own env runner on our worlds; only the RLModule is a script."""

from __future__ import annotations

import runpy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("ray.rllib.env.single_agent_env_runner", exc_type=ImportError)

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from forge_envs.adapters.rllib import TextWorld, register_creator
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played

GOLD = gold()


class Said(TorchRLModule):
    """Says the n-th line in the n-th turn of every env."""

    def setup(self) -> None:
        self.turns = [-1] * 3

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        said = np.empty(len(batch["obs"]), dtype=object)
        for i, text in enumerate(batch["obs"]):
            self.turns[i] = 0 if "# Tools" in text else self.turns[i] + 1
            said[i] = GOLD[min(self.turns[i], len(GOLD) - 1)]
        return {"actions": said}


@pytest.fixture
def runner_of() -> Any:
    register_creator()

    def make(mode: str = "sync", **tolerance: Any) -> Any:
        config = (
            PPOConfig()
            .environment("forge", env_config={"world": WORLD, "args": ARGS, "tasks": [TASK]})
            .env_runners(num_env_runners=0, num_envs_per_env_runner=3, gym_env_vectorize_mode=mode)
            .fault_tolerance(**tolerance)
            .rl_module(rl_module_spec=RLModuleSpec(module_class=Said))
        )
        return SingleAgentEnvRunner(config=config)

    yield make
    gym.registry.pop("rllib-single-agent-env-v0", None)


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_episodes_earn_what_the_same_actions_earn(
    mode: str, runner_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, direct = Open(monkeypatch), played(GOLD)
    runner = runner_of(mode)
    episodes = runner.sample(num_episodes=3)
    assert [episode.get_return() for episode in episodes] == pytest.approx([direct["reward"]] * 3)
    for episode in episodes:
        assert episode.is_terminated and [info["turn_reward"] for info in episode.get_infos()[1:]] == list(
            direct["turn_rewards"]
        )
        assert episode.get_infos()[-1]["outcome"] == 1.0
        assert [str(action) for action in episode.get_actions()] == GOLD
    runner.stop()
    assert not held.held


def test_a_machine_that_fails_is_no_return(runner_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(monkeypatch, range(1, 2))
    with pytest.raises(RuntimeError) as raised:
        runner_of().sample(num_episodes=3)
    assert "no answer" in str(raised.value.__cause__)
    failing.asked = 0
    runner = runner_of(restart_failed_sub_environments=True)
    found = [episode.get_return() for episode in runner.sample(num_episodes=3)]
    assert found == pytest.approx([played(GOLD)["reward"]] * 3) and failing.asked > 3
    runner.stop()


def test_an_option_that_is_unknown_is_named_and_not_dropped() -> None:
    env = TextWorld(WORLD, ARGS)
    with pytest.raises(ValueError, match=r"options \['tsk'\] are unknown"):
        env.reset(options={"tsk": TASK})
    assert env.reset(options={"task": TASK})[1]["task"] == TASK
    env.close()


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "rllib_episode.py"))
    gym.registry.pop("rllib-single-agent-env-v0", None)
    assert capsys.readouterr().out.count("return 1.1") == 2
