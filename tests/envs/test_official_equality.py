"""Official tasks: gold wins on every one, and the tools and what they answer are the official ones."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.grammars import HERMES
from forge_envs.worlds.tau.env import TauEnv
from forge_envs.worlds.tau.tau2 import Tau2Env
from tests.envs.official import DATA, play

pytestmark = pytest.mark.skipif(
    not (DATA / "tau2" / "retail" / "oracle.json").exists(),
    reason=f"the benchmarks' data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["tau1 retail", "tau2 retail", "tau2 airline"])
def env(request: pytest.FixtureRequest) -> TauEnv:
    kind, domain = request.param.split()
    path = str(DATA / kind / domain)
    made = gym.make(f"Forge/{kind.capitalize()}-v0", domain=domain, path=path, gaps="play").unwrapped
    assert isinstance(made, TauEnv)
    return made


def test_official_observations_are_ours() -> None:
    env = Tau2Env(path=str(DATA / "tau2"), gaps="play")
    oracle, refused = load("tau2/retail/oracle.json")["tasks"], 0
    for id, found in oracle.items():
        env.reset(options={"task": id})
        for gold, theirs in zip(env.task.gold or (), found["observations"], strict=True):
            (message,), *_ = env.step(HERMES.write(calls=[gold.call]))
            ours = message["content"]
            refused += theirs.startswith("Error")
            assert ours.startswith("Error") == theirs.startswith("Error"), (id, ours, theirs)
            if theirs.startswith("{"):
                assert json.loads(ours) == json.loads(theirs)
            elif not theirs.startswith(("Error", "Transfer")):
                assert ours == theirs
    assert len(oracle) == 74 and refused > 5


def test_the_tools_are_the_official_ones() -> None:
    env = Tau2Env(path=str(DATA / "tau2"))
    official = {
        entry["function"]["name"]: entry["function"]
        for entry in load("tau2/retail/tools_schema.json")["assistant"]
    }
    assert set(env.tools) == set(official)
    types = load("tau2/retail/tools_schema.json")["types"]
    for name, tool in env.tools.items():
        theirs = official[name]["parameters"]
        assert list(tool.parameters["properties"]) == list(theirs["properties"]), name
        assert set(tool.parameters["required"]) == set(theirs.get("required", [])), name
        assert tool.writes == (types[name] == "write"), name
        assert tool.description != official[name]["description"], "descriptions are our own"


def test_official_gold_wins_on_every_task(env: TauEnv) -> None:
    ids = [id for split in env.splits for id in env.task_ids(split)]
    count = {("tau1", "retail"): 520, ("tau2", "retail"): 74, ("tau2", "airline"): 30}
    assert len(ids) == count[env.kind, env.benchmark.domain.name]
    for id in ids:
        _, info = play(env, id, env.gold_actions(id))
        assert info["outcome"] == 1.0, (id, info)


def test_tasks_without_a_verdict_are_listed_and_left_out() -> None:
    env = Tau2Env(path=str(DATA / "tau2"))
    judged = {
        f"tau2/retail/{task['id']}"
        for task in load("tau2/retail/tasks.json")
        if task["evaluation_criteria"]["nl_assertions"]
        and "NL_ASSERTION" in task["evaluation_criteria"]["reward_basis"]
    }
    assert set(env.gaps) == judged and len(judged) == 29
    assert all("judge" in reason for reason in env.gaps.values())
    assert len(env.task_ids("train")) == 74 - 29 and not judged & set(env.task_ids("train"))
    assert env.benchmark.bases == {"DB+NL_ASSERTION": 73, "DB": 1}
    with pytest.raises(ValueError, match="gaps='play'"):
        env.reset(options={"task": min(judged)})
