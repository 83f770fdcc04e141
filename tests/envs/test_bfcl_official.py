"""BFCL's own dialogues: gold wins, and results, states and verdicts are those of the official code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forge_envs.testing import check_world
from forge_envs.worlds.bfcl.env import BfclEnv
from forge_envs.worlds.bfcl.task import Dialogue
from tests.envs.bfcl_episodes import episodes, play
from tests.envs.bfcl_verdicts import CHANGED, EVERY, digest, stored
from tests.envs.official import DATA

pytestmark = pytest.mark.skipif(
    not (DATA / "bfcl" / "v4" / "oracle").exists(),
    reason=f"the benchmarks' data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)
PLACES = [(version, kind) for version in ("v3", "v4") for kind in ("base", "miss_func", "miss_param")]


def opened(version: str, kind: str, **arguments: Any) -> BfclEnv:
    path = str(DATA / "bfcl" / version)
    return BfclEnv(path=path, category=f"multi_turn_{kind}", wrong_gold="play", **arguments)


@pytest.mark.parametrize(("version", "kind"), PLACES)
def test_gold_answers_and_leaves_what_the_official_simulators_do(version: str, kind: str) -> None:
    env = opened(version, kind)
    rows = (DATA / "bfcl" / version / "oracle" / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    official = {row["id"]: row["turns"] for row in map(json.loads, rows)}
    for task in env.leaderboard.tasks.values():
        assert isinstance(task, Dialogue)
        turns = env.leaderboard.expected(task)
        for ours, theirs in zip(turns, official[task.official], strict=True):
            assert list(ours.results) == theirs["results"], task.id
            for name, attributes in theirs["state"].items():
                state = json.loads(json.dumps(ours.state[name], default=str))
                assert {key: state.get(key) for key in attributes} == attributes, (task.id, name)
    assert len(env.leaderboard.tasks) == len(official) == 100


@pytest.mark.parametrize(("version", "kind"), PLACES)
def test_right_and_wrong_episodes_are_judged_as_by_the_official_checker(version: str, kind: str) -> None:
    env, checked = opened(version, kind), opened(version, kind, check_empty_turns=True)
    ours = []
    for episode in episodes(env, CHANGED, EVERY):
        verdict = play(env, episode)
        ours.append(digest({**verdict, "empty": play(checked, episode)["valid"]}))
    assert ours == stored()[f"{version}/multi_turn_{kind}"]
    # Episodes of each verdict: wrong, right if empty turns are not looked at, right.
    kinds = {one[0] for one in ours}
    assert kinds == {"0", "2", "3"}


def test_the_one_dialogue_that_nobody_can_win_is_left_out() -> None:
    env = BfclEnv(path=str(DATA / "bfcl" / "v3"))
    assert list(env.gaps) == ["bfcl_v3/multi_turn_base_154"] and len(env.task_ids()) == 99
    assert "its answer has 6 turns, its question 5" in env.gaps["bfcl_v3/multi_turn_base_154"]


def test_official_dialogues_keep_every_promise() -> None:
    check_world("Forge/BFCL-v0", tasks=2, path=str(DATA / "bfcl" / "v4"), category="multi_turn_miss_func")


@pytest.mark.parametrize("version", ["v3", "v4"])
def test_gold_that_is_not_what_was_asked_for_is_named_and_played(version: str) -> None:
    env = BfclEnv(path=str(DATA / "bfcl" / version))
    assert [int(id.rsplit("_", 1)[1]) for id in env.doubts] == [4, 18, 30, 162, 184]
    assert set(env.doubts) <= set(env.task_ids())
