"""SkyRL-Gym's own registry and make on our worlds; its generator is another matter (Python 3.12)."""

from __future__ import annotations

import runpy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("skyrl_gym")

import skyrl_gym
from skyrl_gym.metrics import aggregate_for_environment

from forge_envs import MachineError, TaskError
from forge_envs.adapters import EPISODE_OVER
from forge_envs.adapters.skyrl import ForgeTextEnv, MaskFailures, register_worlds, rows
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played

register_worlds()


def made(**row: Any) -> Any:
    return skyrl_gym.make("forge", env_config={}, extras={**rows(WORLD, ARGS, tasks=[TASK])[0], **row})


def play(env: Any, actions: list[str]) -> list[dict[str, Any]]:
    """As the generator does it: until the env is done."""
    env.init([{"role": "user", "content": "a row's prompt"}])
    answers = []
    for action in actions:
        answers.append(env.step(action))
        if answers[-1]["done"]:
            break
    return answers


def test_an_episode_earns_what_the_same_actions_earn() -> None:
    env, direct = made(), played(gold())
    answers = play(env, gold())
    assert env.session.record() == direct
    assert sum(answer["reward"] for answer in answers) == pytest.approx(direct["reward"])
    assert [answer["metadata"]["turn_reward"] for answer in answers] == direct["turn_rewards"]
    assert [answer["done"] for answer in answers] == [False] * (len(gold()) - 1) + [True]
    late = env.step("Hello?")
    assert late["done"] and late["reward"] == 0.0 and late["observations"][0]["content"] == EPISODE_OVER
    metrics = env.get_metrics()
    assert metrics["outcome"] == 1.0 and metrics["failed"] == 0.0 and metrics["turns"] == len(gold())
    env.close()


def test_a_row_begins_as_its_episode_does() -> None:
    row = rows(WORLD, ARGS, tasks=[TASK])[0]
    opening, _ = made().init(row["prompt"])
    assert opening == row["prompt"] and "# Tools" in opening[0]["content"]


@pytest.mark.parametrize("kept", [True, False])
def test_results_are_told_in_roles_that_a_template_knows(kept: bool) -> None:
    answers = play(made(use_tool_role=kept), gold())
    roles = {message["role"] for answer in answers for message in answer["observations"]}
    assert ("tool" in roles) == kept and roles <= {"tool", "user"}


def test_registering_twice_is_fine_and_another_of_that_name_is_not() -> None:
    register_worlds()
    skyrl_gym.register("another", "somewhere:Else")
    with pytest.raises(ValueError, match="somewhere:Else"):
        register_worlds("another")


def test_episodes_on_threads_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    envs = [made(task=task, repetition=i) for i, task in enumerate([TASK, "retail/small/train/2/2"] * 8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda env: play(env, gold(env._task)), envs))
    assert [env.session.outcome for env in envs] == [1.0] * 16 and len(held.held) == 16
    total = aggregate_for_environment("forge", [env.get_metrics() for env in envs])
    assert total["outcome"] == 1.0 and total["failed"] == 0.0
    for env in envs:
        env.close()
    assert not held.held


def test_a_machine_that_fails_raises_unless_it_is_to_be_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(monkeypatch, range(1))
    with pytest.raises(MachineError, match="no answer"):
        play(made(), gold())
    failing.asked = 0
    env = made(mark_failures=True)
    last = play(env, gold())[-1]
    assert (
        last["done"] and last["metadata"]["error"]["kind"] == "timeout" and "outcome" not in last["metadata"]
    )
    assert env.get_metrics()["failed"] == 1.0 and "outcome" not in env.get_metrics()


def test_a_machine_that_fails_at_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MachineError("no image", kind="missing", stage="reset", retryable=False)

    row = rows(WORLD, ARGS, tasks=[TASK])[0]
    monkeypatch.setattr("forge_envs.worlds.retail.env.RetailEnv.begin", fail)
    with pytest.raises(MachineError, match="no image"):
        skyrl_gym.make("forge", extras=row).init(row["prompt"])
    env = skyrl_gym.make("forge", extras={**row, "mark_failures": True})
    prompt, about = env.init(row["prompt"])
    assert prompt == row["prompt"] and about["error"]["kind"] == "missing"
    assert env.step("Hello")["done"] and env.get_metrics()["failed"] == 1.0


@dataclass
class Output:
    """The fields of SkyRL's outputs that the mask touches."""

    response_ids: list[int]
    loss_mask: list[int]
    reward: list[float]
    stop_reason: str = "stop"
    env_metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Steps:
    step_outputs: list[Output]


class Base:
    def _setup_env_extras(self, env_class: str, extras: dict[str, Any], *_: Any) -> dict[str, Any]:
        return extras

    def _post_process_agent_loop_output(self, output: Any, *_: Any) -> Any:
        return output


class Generator(MaskFailures, Base):
    pass


@dataclass
class Trajectory:
    repetition_id: int


def test_a_failed_episode_is_masked_and_others_are_not() -> None:
    row = {"task": TASK}
    extras = Generator()._setup_env_extras("forge", row, None, Trajectory(3))
    assert extras == {"task": TASK, "mark_failures": True, "repetition": 3} and row == {"task": TASK}
    for metrics, mask, reason in (({"failed": 1.0}, [0, 0], "env_error"), ({"failed": 0.0}, [1, 0], "stop")):
        out = Output([5, 6], [1, 0], [0.0, 0.5], env_metrics=metrics)
        Generator()._post_process_agent_loop_output(out, {}, None)
        assert (out.loss_mask, out.stop_reason) == (mask, reason) and out.reward[1] == 0.5 * mask[0]
        first, last = Output([5], [1], [0.5]), Output([6], [1], [0.5], env_metrics=metrics)
        Generator()._post_process_agent_loop_output(Steps([first, last]), {}, None)
        assert first.loss_mask == last.loss_mask == mask[:1] and first.stop_reason == reason


def test_an_env_that_has_not_begun_gives_no_reward() -> None:
    env = made()
    with pytest.raises(gym.error.ResetNeeded):
        env.step("too early")
    env.close()


def test_bad_input_is_told() -> None:
    with pytest.raises(TaskError, match="nowhere"):
        rows(WORLD, tasks=["nowhere"])
    with pytest.raises(TaskError, match="nowhere"):
        made(task="nowhere").init([])
    with pytest.raises(ValueError, match="the row has no args, task, world"):
        ForgeTextEnv({}, {"max_turns": 3})


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "skyrl_episode.py"))
    assert "'outcome': 1.0" in capsys.readouterr().out
