"""The trainer of TRL on our worlds: what it is given, what it counts, and what a failed machine is to it."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

from forge_envs import Observation
from forge_envs.adapters import EPISODE_OVER, Session
from forge_envs.errors import TaskError
from tests.envs.worlds import Counter, Visit, Wish

pytest.importorskip("trl")

from transformers.utils import get_json_schema

from forge_envs.adapters.trl import ForgeMix, ForgeSpec
from tests.adapters.trl_runs import calls_of, replayed, said_in, text_policy, tools_policy, train

RETAIL = "Forge/Retail-v0"
SMALL = {"size": "tiny", "level": 1, "prompt": "compact", "max_turns": 8}
COUNTER = "TrlTest/Counter-v0"
UNLUCKY = "TrlTest/Unlucky-v0"


class UnluckyCounter(Counter):
    """A counter whose machine fails in some of the episodes that are seeded, by their seed."""

    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        self.unlucky = self._np_random_seed is not None and self.np_random.random() < 0.5
        return super().begin(task)

    def may_fail(self, stage: str) -> None:
        if self.unlucky:
            super().may_fail(stage)


@pytest.fixture(scope="module", autouse=True)
def _worlds() -> Iterator[None]:
    for id, kind in ((COUNTER, Counter), (UNLUCKY, UnluckyCounter)):
        gym.register(id, kind, disable_env_checker=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    del gym.registry[COUNTER], gym.registry[UNLUCKY]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


def test_tools_are_told_as_in_forge() -> None:
    for world, args in ((RETAIL, {}), ("Forge/Airline-v0", {}), ("Forge/SWE-v0", {"sandbox": "process"})):
        spec = ForgeSpec(world, args, n=1)
        assert spec.environment_factory is not None
        environment = spec.environment_factory()
        for schema in environment._session.env.schemas:
            ours = schema["function"]
            theirs = get_json_schema(getattr(environment, ours["name"]))["function"]
            assert theirs["description"] == ours["description"]
            assert theirs["parameters"].get("required", []) == ours["parameters"]["required"]
            for name, told in theirs["parameters"]["properties"].items():
                whole = dict(ours["parameters"]["properties"][name])
                whole.pop("default", None)
                if told != whole:  # a type cannot say it, so the description does
                    said, _, rest = told["description"].partition(" As a JSON schema: ")
                    assert json.loads(rest) | {"description": said} == whole
        assert get_json_schema(environment.say)["function"]["parameters"]["required"] == ["message"]


def test_two_steps_on_retail(tmp_path: Path) -> None:
    spec = ForgeSpec(RETAIL, SMALL, n=1)
    policy = tools_policy(spec, 80, 22)
    before = {name: weight.clone() for name, weight in policy[0].state_dict().items()}
    trainer, watch = train(spec, policy, tmp_path, most=400)
    assert len(watch.rows) == 8
    said = 0
    for row in watch.rows:
        calls = calls_of(row["completion"])
        said += sum(name == "say" for name, _ in calls)

        def act(session: Session, calls: list[Any] = calls) -> None:
            for name, arguments in calls:
                if name != "say":
                    session.call(name, arguments)
                elif list(arguments) == ["message"]:
                    session.say(arguments["message"])

        assert replayed(RETAIL, SMALL, spec.tasks[0], act) == row["record"]
    assert said >= 4, "prose was said"
    assert any(row["record"]["outcome"] == 1.0 for row in watch.rows)
    rewards = [row["record"]["reward"] for row in watch.rows]
    logged = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert logged == pytest.approx([sum(rewards[:4]) / 4, sum(rewards[4:]) / 4])
    told = [line["forge/outcome"] for line in trainer.state.log_history if "reward" in line]
    assert told == pytest.approx(logged)
    assert any(not torch.equal(weight, before[name]) for name, weight in policy[0].state_dict().items())
    assert len({id(row["environment"]) for row in watch.rows}) == 4, "instances are used again"


@pytest.fixture(scope="module")
def taught(_worlds: None) -> dict[str, tuple[Any, Any]]:
    """Policies that know the counter's first task, by door."""
    text = text_policy(ForgeSpec(COUNTER, n=1, door="text"), 90, 30)
    return {"text": text, "tools": tools_policy(ForgeSpec(COUNTER, n=1), 90, 30)}


@pytest.fixture
def policies(taught: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """The same, for one test to train."""
    return copy.deepcopy(taught)


def test_tokens_of_tool_results_are_not_trained(tmp_path: Path, policies: dict[str, Any]) -> None:
    trainer, watch = train(ForgeSpec(COUNTER, n=1), policies["tools"], tmp_path, steps=1)
    assert any(row["record"]["outcome"] == 1.0 for row in watch.rows)
    batch, tokenizer = trainer._buffered_inputs[0], policies["tools"][1]
    for ids, mask, real in zip(
        batch["completion_ids"], batch["tool_mask"], batch["completion_mask"], strict=True
    ):
        trained, read = ids[(mask * real).bool()], ids[((1 - mask) * real).bool()]
        assert "<tool_response>" not in tokenizer.decode(trained)
        assert ("<tool_response>" in tokenizer.decode(read)) == bool(len(read))


def test_two_steps_through_the_text_door(tmp_path: Path, policies: dict[str, Any]) -> None:
    args = {"turn_weight": 0.5}
    spec, tokenizer = ForgeSpec(COUNTER, args, n=1, door="text"), policies["text"][1]
    _, watch = train(spec, policies["text"], tmp_path)
    assert any(row["record"]["outcome"] == 1.0 for row in watch.rows)
    for row, mask in zip(watch.rows, watch.masks, strict=True):
        assert len(row["ids"]) == len(mask) <= 250
        texts, actions = said_in(row["ids"], mask, tokenizer)

        def act(session: Session, actions: list[str] = actions) -> None:
            for action in actions:
                session.act(action)

        assert replayed(COUNTER, args, spec.tasks[0], act) == row["record"]
        if row["record"]["outcome"] == 1.0 and len(actions) == 2:  # the template writes the same conversation
            heard = "\n<|im_start|>user\n<tool_response>\n1 apple sold\n</tool_response><|im_end|>\n"
            assert texts == [actions[0] + "<|im_end|>", heard + "<|im_start|>assistant\n", texts[2]]
    assert spec.rollout_func is not None
    assert sum(map(len, spec.rollout_func._free.values())) == 4, "worlds are used again"


EACH_ONCE = [("tools", "reset"), ("text", "hear"), ("tools", "grade")]
"""Every door and every stage at which a machine may fail; the other pairs are tried by `make test-all`."""
OTHERS = [("text", "reset"), ("tools", "hear"), ("text", "grade")]


@pytest.mark.parametrize(
    ("door", "stage"), [*EACH_ONCE, *(pytest.param(*pair, marks=pytest.mark.matrix) for pair in OTHERS)]
)
def test_a_failed_machine_is_no_zero(stage: str, door: Any, tmp_path: Path, policies: dict[str, Any]) -> None:
    spec = ForgeSpec(UNLUCKY, {"fails": stage}, n=1, door=door)
    trainer, watch = train(spec, policies[door], tmp_path, steps=1)
    records = [row["record"] for row in watch.rows]
    scored = [record["reward"] for record in records if record["error"] is None]
    assert 0 < len(scored) < 4, records
    mean = sum(scored) / len(scored)
    for record, advantage in zip(records, trainer._logs["advantages"], strict=True):
        if record["error"] is None:
            assert (advantage > 0, advantage < 0) == (record["reward"] > mean, record["reward"] < mean)
        else:
            assert advantage == 0.0 and record["error"]["kind"] == "fire" and record["outcome"] is None
    line = next(line for line in trainer.state.log_history if "reward" in line)
    assert line["reward"] == pytest.approx(mean)
    assert line["forge/failed"] == pytest.approx(1 - len(scored) / 4)


def test_several_worlds_in_one_batch(tmp_path: Path, policies: dict[str, Any]) -> None:
    for door in ("tools", "text"):
        counter = ForgeSpec(COUNTER, n=1, door=door)  # type: ignore[arg-type]
        unlucky = ForgeSpec(UNLUCKY, {"fails": "look"}, n=1, door=door)  # type: ignore[arg-type]
        _, watch = train(ForgeMix(a=counter, b=unlucky), policies[door], tmp_path / door)
        worlds = [row["record"]["world"] for row in watch.rows]
        assert worlds == [COUNTER] * 4 + [UNLUCKY] * 4
        assert all(row["record"]["error"] is None for row in watch.rows)


def test_an_environment_alone() -> None:
    spec = ForgeSpec(COUNTER, n=1, seed=3)
    factory = pickle.loads(pickle.dumps(spec.environment_factory))  # as AsyncGRPOTrainer sends it
    environment = factory()
    assert type(environment) is type(factory())
    row = spec.train_dataset[0]
    assert environment.reset(**row) is None
    assert "1 apple sold" in environment.sell(item="apple")
    assert "not an argument" in environment.sell(item="apple", colour="red")
    assert environment.say(message="Goodbye.") == ""
    assert environment.look() == EPISODE_OVER
    assert "takes one argument" in environment.say(words="Goodbye.")
    assert environment.get_reward() == environment.get_reward() == 1.0
    environment.reset(**row)
    assert environment.get_reward() == 0.0 and environment.record["turn_rewards"] == [0.0]
    assert spec.reward_funcs[0](completions=[[]]) == [None], "there the environments score alone"


def test_members_of_a_group_have_seeds_of_their_own_and_keep_them() -> None:
    def seeds() -> list[int | None]:
        factory = ForgeSpec(COUNTER, n=1, seed=3).environment_factory
        assert factory is not None
        environments = [factory() for _ in range(3)]
        for environment in environments:
            environment.reset(task="train/apple/1")
        return [environment._session.env.np_random_seed for environment in environments]

    first = seeds()
    assert len(set(first)) == 3 and seeds() == first


def test_bad_input() -> None:
    with pytest.raises(gym.error.Error, match="NoSuch"):
        ForgeSpec("Forge/NoSuch-v0")
    with pytest.raises(TaskError, match="unknown task 'nowhere'"):
        ForgeSpec(COUNTER, tasks=["nowhere"])
    with pytest.raises(TaskError, match="no tasks"):
        ForgeSpec(COUNTER, tasks=[])
    with pytest.raises(ValueError, match="door='window'"):
        ForgeSpec(COUNTER, door="window")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one door"):
        ForgeMix(a=ForgeSpec(COUNTER, n=1), b=ForgeSpec(COUNTER, n=1, door="text"))
    for mixed in ({}, {"a": COUNTER}):
        with pytest.raises(ValueError, match="at least one ForgeSpec"):
            ForgeMix(**mixed)
    rollout = ForgeSpec(COUNTER, n=1, door="text").rollout_func
    assert rollout is not None
    for prompt in ([{"role": "user", "content": "Hi"}], "Hi", []):
        with pytest.raises(ValueError, match="train_dataset of the same spec"):
            rollout._begun(prompt, None)  # type: ignore[arg-type]
