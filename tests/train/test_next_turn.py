"""The two kinds of samples in one run: whole episodes and single turns, mixed by weight, from a config."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from forge_train import cli
from forge_train.config import Config, dump, load
from forge_train.play.curriculum import Curriculum
from forge_train.play.episode import play, play_group
from forge_train.play.gold_player import GoldPlayer
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.run_folder import RunFolder, read_lines, rollout_files
from forge_train.run import Run, train
from tests.endpoint import Endpoint
from tests.train.tokens import tokenizer

MIXED = """
[run]
steps = 2
threads = 1
[model.tiny]
hidden = 32
layers = 1
vocab = 512
[[worlds]]
id = "forge_envs:Forge/Retail-v0"
args = { size = "tiny", level = 1, prompt = "compact", max_turns = 4 }
weight = 1.0
tasks = 16
[[worlds]]
id = "forge_envs:Forge/NextTurn-v0"
args = { world = "forge_envs:Forge/Retail-v0", size = "tiny", level = 1, prompt = "compact" }
weight = 3.0
tasks = 16
[sft]
episodes = 8
[rollout]
groups = 4
group_size = 2
max_action = 12
[eval]
tasks = 2
repeats = 1
k = [1]
"""
WHOLE, TURN = "Forge/Retail-v0", "Forge/NextTurn-v0"


def config(tmp_path: Path, *more: str) -> Config:
    path = tmp_path / "mixed.toml"
    path.write_text(MIXED)
    return load(path, [f'run.out="{tmp_path / "run"}"', *more])


def worlds_of(settings: Config) -> dict[str, World]:
    return {w.label: World(w.id, w.args, w.label, w.weight) for w in settings.worlds}


def test_a_run_trains_on_both_kinds_in_the_shares_of_their_weights(tmp_path: Path) -> None:
    train(config(tmp_path, "run.keep_groups=4"))
    for path in rollout_files(tmp_path / "run"):
        records = read_lines(path)
        assert Counter(r["info"]["world"] for r in records) == {WHOLE: 2, TURN: 6}
        assert {len(r["rewards"]) for r in records if r["info"]["world"] == TURN} == {1}
    judged = [e["world"] for e in read_lines(tmp_path / "run" / "events.jsonl") if e["event"] == "evaluation"]
    assert judged == [WHOLE, TURN] * 3


def test_a_dumped_config_reproduces_both_worlds(tmp_path: Path) -> None:
    first = config(tmp_path)
    (tmp_path / "again.toml").write_text(dump(first))
    ids = [
        {n: w.tasks("train", 16) for n, w in worlds_of(c).items()}
        for c in (first, load(tmp_path / "again.toml"))
    ]
    assert ids[0] == ids[1] and all("@" in task for task in ids[0][TURN])
    curriculum = Curriculum(ids[0], {w.label: w.weight for w in first.worlds}, seed=0)
    assert [curriculum.draw(i).world for i in range(40)].count(TURN) == 30


def test_a_group_is_one_task_and_one_prefix_and_gold_matches(tmp_path: Path) -> None:
    world = worlds_of(config(tmp_path))[TURN]
    player = GoldPlayer(ChatML(tokenizer()), world.gold)
    for task in world.tasks("train", 6):
        group = asyncio.run(play_group(world, player, task, group="g", size=3, seed=0, deadline=20.0))
        assert [(t.ending, t.outcome, len(t.rewards)) for t in group] == [("terminated", 1.0, 1)] * 3
        roles = [m["role"] for m in group[0].info["messages"]]
        assert roles.count("assistant") == 1 + int(task.rsplit("@", 1)[1])


def test_the_policy_may_be_judged_with_another_user_than_it_trains_with(tmp_path: Path) -> None:
    with Endpoint(lambda body: "###STOP###") as endpoint:
        settings = config(tmp_path, f'worlds.0.eval_args.user="{endpoint.spec()}"')
        with RunFolder.create(settings) as folder:
            run = Run(settings, folder)
        for worlds, asked in ((run.worlds, 0), (run.judged, 1)):
            player = GoldPlayer(run.renderer, lambda task: ["Hello."] * 4)
            trajectory = asyncio.run(
                play(worlds[WHOLE], player, "retail/tiny/train/1/0", seed=0, group="g", deadline=20.0)
            )
            assert trajectory.ending in ("terminated", "max_turns") and len(endpoint.asked) == asked
    assert run.judged[TURN] is run.worlds[TURN]


@pytest.mark.parametrize("override", ['worlds.0.eval_args.user="nobody"', "worlds.0.eval_args.colour=1"])
def test_wrong_arguments_for_judging_are_refused_before_anything_is_played(
    tmp_path: Path, override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config(tmp_path)
    command = ["train", str(tmp_path / "mixed.toml"), f'run.out="{tmp_path / "run"}"', override]
    assert cli.main(command) == 2
    assert override.split(".")[-1].split("=")[0] in capsys.readouterr().err
