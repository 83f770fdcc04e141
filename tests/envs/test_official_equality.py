"""Official retail and airline tasks: the official gold wins, and every verdict is the official evaluator's.

The verdicts are compared with the rule written a second time (`tests/envs/official.py`), whose hashes are
those that the official code computed (`oracle.json`).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.grammars import HERMES
from forge_envs.worlds.tau.env import OfficialEnv
from forge_envs.worlds.tau.retail import RETAIL
from tests.envs.official import DATA, Evaluator, play
from tests.envs.perturbed import gold_calls, gold_hashes, official_tasks, perturbed, writes

pytestmark = pytest.mark.skipif(
    not (DATA / "tau2" / "retail" / "oracle.json").exists(),
    reason=f"the benchmarks' data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)
BASES = {"tau2 of old": None, "tau2 with actions": ["DB", "COMMUNICATE", "ACTION"]}
"""τ²-bench's tasks as an older release has them, without a reward basis, and with one that asks for calls."""
SOURCES = {kind: f"{kind}:{DATA / kind}" for kind in ("tau1", "tau2")}
SOME = 60
"""Of τ-bench's 500 tasks, those that are perturbed."""


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["tau1", "tau2", *BASES, "tau2 airline"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a kind: the shared folder, or one beside it whose tasks have another basis."""
    if kind not in BASES:
        return DATA / kind[:4] / ("airline" if "airline" in kind else "retail")
    made = tmp_path_factory.mktemp(kind.replace(" ", "_")) / "retail"
    made.mkdir()
    for name in ("db.json", "policy.md", "split_tasks.json"):
        (made / name).symlink_to(DATA / "tau2" / "retail" / name)
    tasks = load("tau2/retail/tasks.json")
    for task in tasks:
        task["evaluation_criteria"].pop("reward_basis")
        if BASES[kind]:
            task["evaluation_criteria"]["reward_basis"] = BASES[kind]
    (made / "tasks.json").write_text(json.dumps(tasks))
    return made


@pytest.fixture(scope="module")
def env(kind: str, folder: Path) -> OfficialEnv:
    world = "Forge/Airline-v0" if folder.name == "airline" else "Forge/Retail-v0"
    made = gym.make(world, source=f"{kind[:4]}:{folder}", gaps="play").unwrapped
    assert isinstance(made, OfficialEnv)
    return made


@pytest.fixture(scope="module")
def evaluator(kind: str, folder: Path) -> Evaluator:
    return Evaluator(kind[:4], folder)


@pytest.fixture(scope="module")
def tasks(kind: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Official tasks by our ids."""
    return official_tasks(kind[:4], folder)


def test_the_second_rule_hashes_as_the_official_code_does(
    kind: str, folder: Path, tasks: dict[str, dict[str, Any]], evaluator: Evaluator
) -> None:
    base, expected = gold_hashes(kind[:4], folder)
    assert evaluator.hash([]) == base
    assert len(expected) == {"tau1": 520, "tau2 airline": 30}.get(kind, 74)
    assert [id for id in expected if evaluator.hash(gold_calls(kind[:4], tasks[id])) != expected[id]] == []


def test_official_observations_are_ours() -> None:
    env = OfficialEnv(domain=RETAIL, source=SOURCES["tau2"], gaps="play")
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
    env = OfficialEnv(domain=RETAIL, source=SOURCES["tau2"])
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


def test_official_gold_wins_on_every_task(kind: str, env: OfficialEnv) -> None:
    ids = [id for split in env.splits for id in env.task_ids(split)]
    assert len(ids) == {"tau1": 520, "tau2 airline": 30}.get(kind, 74)
    for id in ids:
        _, info = play(env, id, env.gold_actions(id))
        assert info["outcome"] == 1.0, (id, info)


def test_tasks_without_a_verdict_are_listed_and_left_out() -> None:
    env = OfficialEnv(domain=RETAIL, source=SOURCES["tau2"])
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


def test_verdicts_equal_the_official_rule_on_perturbed_episodes(
    kind: str, env: OfficialEnv, tasks: dict[str, dict[str, Any]], evaluator: Evaluator
) -> None:
    rng = np.random.default_rng(7)
    ids = sorted(tasks)
    if kind == "tau1":
        ids = [str(id) for id in rng.choice(ids, SOME, replace=False)]
    elif kind in BASES:
        ids = [id for id in ids if env.find(id).communicate]
    seen: Counter[tuple[str, float]] = Counter()
    for n, id in enumerate(ids):
        foreign = [action for action in env.gold_actions(ids[n - 1]) if writes(env, action)]
        for change, actions in perturbed(env, env.gold_actions(id), foreign, rng):
            played, info = play(env, id, actions)
            ours = info["outcome"]
            assert ours == evaluator.verdict(tasks[id], played), (id, change, info, played)
            seen[change, ours] += 1
    for change in ("dropped", "wrong", "foreign"):
        assert seen[change, 0.0] > 10, seen
    assert sum(seen.values()) > 150, seen
    if kind != "tau2 airline":
        assert seen["duplicated", 1.0] > 10 and seen["swapped", 1.0] > 5, seen
    assert (seen["untold", 0.0] > 3) == (kind in BASES or kind == "tau2 airline"), seen
