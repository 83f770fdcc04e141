"""Episodes to imitate: what passes is kept, what does not is counted, and a killed collection goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train import cli, sft
from forge_train.config import load
from forge_train.evaluation.collect import Speaker, collect
from forge_train.evaluation.filters import DEFAULT, FILTERS, select
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.run_folder import read_lines
from forge_train.run import train
from forge_train.seeds import derive_seed
from tests.endpoint import Endpoint
from tests.train.tokens import tokenizer

fates = st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans(), st.integers(0, 3))
ECHO, RETAIL = "tests.train.worlds:Test/Echo-v0", "forge_envs:Forge/Retail-v0"


def gather(
    player: Any, folder: Path, *, world: World | None = None, tasks: int = 4, **options: Any
) -> dict[str, int]:
    world = world or World(ECHO)
    return asyncio.run(collect(world, player, world.tasks("train", tasks), folder, deadline=20.0, **options))


def test_gold_is_collected_and_supervised_training_reads_it(tmp_path: Path) -> None:
    world = World(RETAIL, {"size": "tiny", "level": 3})
    counts = gather(Speaker(world.gold), tmp_path, world=world, tasks=6, parquet=True)
    assert counts == {"kept": 6, "failed": 0, "repeated": 0, "surplus": 0, **dict.fromkeys(DEFAULT, 0)}
    episodes = sft.read_episodes(tmp_path / "episodes.jsonl")
    assert episodes == sft.gold_episodes(world, world.tasks("train", 6))
    renderer = ChatML(tokenizer())
    assert [sft.trajectory_of(m, renderer).sampled > 0 for m in episodes] == [True] * 6
    rows = pyarrow.parquet.read_table(tmp_path / "episodes.parquet").to_pylist()
    assert [r["task"] for r in rows] == world.tasks("train", 6) and {r["outcome"] for r in rows} == {1.0}
    assert rows[0]["messages"] == [{"role": m["role"], "content": m["content"]} for m in episodes[0]]
    assert len(json.loads(rows[0]["tools"])) == 16


def test_each_filter_drops_what_it_is_for_and_is_counted(tmp_path: Path) -> None:
    world = World(RETAIL, {"size": "tiny", "level": 1, "max_turns": 12})
    gold = {task: world.gold(task) for task in world.tasks("train", 6)}
    _, wrong, clumsy, refused, mute, longer = gold
    gold[wrong] = ["No."] * 12
    gold[clumsy] = ["<tool_call>oops", *gold[clumsy]]
    bad = '<tool_call>{"name": "get_user_details", "arguments": {"user_id": "nobody"}}</tool_call>'
    gold[refused] = [bad, *gold[refused]]
    gold[mute] = []
    gold[longer] = [*gold[longer][:2], *gold[longer][1:]]  # its first call twice
    counts = gather(Speaker(gold.__getitem__), tmp_path / "all", world=world, tasks=6)
    assert list(counts) == ["kept", "failed", "ending", "validity", "state", "calls", "repeated", "surplus"]
    assert {k: v for k, v in counts.items() if v} == {"kept": 2, "validity": 2, "state": 1, "calls": 1}
    kept = (tmp_path / "all" / "episodes.jsonl").read_text()
    assert "nobody" in kept, "an error of a tool, after which it succeeds, is kept"
    for filters, few in (
        (["ending", "state"], {"kept": 4, "state": 2}),
        (["ending", "state", "unrefused"], {"kept": 3, "state": 2, "unrefused": 1}),
        (["format", "state"], {"kept": 3, "format": 1, "state": 2}),
    ):
        some = gather(Speaker(gold.__getitem__), tmp_path / "b", world=world, tasks=6, filters=filters)
        assert {k: v for k, v in some.items() if v} == few


def test_of_several_plays_the_first_that_differ_are_kept(tmp_path: Path) -> None:
    script = [["7"], ["7 "], ["no"], ["7"], ["<think>7</think>"]]
    plays = [
        {"task": "t", "error": None, "graded": True, "outcome": float(words[0] != "no"), "parts": {},
         "messages": [{"role": "assistant", "content": w} for w in words]}
        for words in script
    ]  # fmt: skip
    kept, counts = select(plays, list(FILTERS), keep=2)
    assert kept == plays[:2]
    assert {k: v for k, v in counts.items() if v} == {"kept": 2, "state": 1, "repeated": 1, "surplus": 1}


@given(st.lists(fates, max_size=20), st.integers(1, 3))
def test_every_play_has_exactly_one_fate(drawn: list[tuple[str, bool, bool, int]], keep: int) -> None:
    plays = [
        {"task": task, "error": {"kind": "engine"} if failed else None, "graded": not failed,
         "outcome": float(won), "parts": {}, "messages": [{"role": "assistant", "content": str(word)}]}
        for task, won, failed, word in drawn
    ]  # fmt: skip
    kept, counts = select(plays, list(FILTERS), keep)
    assert sum(counts.values()) == len(plays) and counts["kept"] == len(kept)
    assert all(p["outcome"] == 1.0 and p["error"] is None for p in kept)
    assert all(sum(p["task"] == task for p in kept) <= keep for task in "ab")


def test_what_was_played_is_not_played_again_and_what_failed_is(tmp_path: Path) -> None:
    asked, fails = [], threading.Event()
    fails.set()

    def answer(body: dict[str, Any]) -> Any:
        number = body["messages"][1]["content"].removeprefix("Say ").removesuffix(".")
        asked.append(number)
        return 401 if number == "2" and fails.is_set() else number

    with Endpoint(answer) as endpoint:
        command = [
            "collect",
            endpoint.spec(),
            "--world",
            ECHO,
            "--tasks",
            "4",
            "--repeats",
            "2",
            "--keep",
            "2",
        ]
        command += ["--out", str(tmp_path), "--filter", "state"]
        assert cli.main(command) == 0
        assert asked.count("2") == 2 and len(asked) == 2 + 3 * 2 * 3
        with open(tmp_path / "plays.jsonl", "ab") as file:
            file.write(b'{"task": "train/3", "repet')  # as a kill leaves it
        fails.clear()
        asked.clear()
        assert cli.main(command) == 0
        assert asked == ["2"] * 6
    played = (tmp_path / "plays.jsonl").read_text().splitlines()
    assert len(played) == 10
    assert {json.loads(line)["usage"]["requests"] for line in played if '"error": null' in line} == {3}
    kept = [json.loads(line)["task"] for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert kept == [f"train/{n}" for n in range(4)], "the same words twice are kept once"


def test_when_every_play_failed_that_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Endpoint(lambda body: 401) as endpoint:
        assert cli.main(["collect", endpoint.spec(), "--world", ECHO, "--tasks", "2", "--out", str(tmp_path)])
    said = capsys.readouterr().err
    assert "all 2 plays failed, the last by" in said and "tries again" in said


def test_the_seed_of_a_play_depends_on_task_and_repetition_alone(tmp_path: Path) -> None:
    seeds: list[int] = []

    class Listening(World):
        def start(self, task: str, seed: int) -> dict[str, Any]:
            seeds.append(seed)
            return super().start(task, seed)

    world = Listening(ECHO)
    gather(Speaker(world.gold), tmp_path, world=world, tasks=2, repeats=2, seed=5)
    assert sorted(seeds) == sorted(derive_seed(5, f"train/{t}", i) for t in range(2) for i in range(2))


def test_a_folder_of_other_plays_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["collect", "gold", "--world", ECHO, "--tasks", "2", "--out", str(tmp_path)]
    assert cli.main(command) == 0
    before = (tmp_path / "episodes.jsonl").read_bytes()
    capsys.readouterr()
    for more, told in (
        (["--seed", "1"], "seed=0, not 1"),
        (["--arg", "turns=2"], "args={}, not {'turns': 2}"),
        (["--filter", "taste"], "the filters are ending, validity, state, calls, format, unrefused"),
    ):
        assert cli.main([*command, *more]) == 2
        assert told in capsys.readouterr().err
    world = World(ECHO, {})
    with pytest.raises(ValueError, match="keep=0"):
        gather(Speaker(world.gold), tmp_path, world=world, tasks=2, keep=0)
    assert (tmp_path / "episodes.jsonl").read_bytes() == before


def test_a_run_imitates_what_was_collected_as_it_does_gold(tmp_path: Path) -> None:
    base = ["sft.episodes=12", "sft.epochs=1", "run.steps=0", "run.threads=1", "model.tiny.hidden=32",
            "model.tiny.layers=1", "model.tiny.vocab=512", "eval.tasks=1", "eval.repeats=1", "eval.k=[1]",
            "rollout.max_action=8"]  # fmt: skip
    world = load(cli.GRPO, base).worlds[0]
    gold = World(world.id, world.args)
    gather(Speaker(gold.gold), tmp_path / "data", world=gold, tasks=12)
    losses = []
    for name, more in (("gold", ""), ("data", f'sft.path="{tmp_path / "data" / "episodes.jsonl"}"')):
        train(load(cli.GRPO, [*base, f'run.out="{tmp_path / f"run-{name}"}"', *filter(None, [more])]))
        events = read_lines(tmp_path / f"run-{name}" / "events.jsonl")
        losses.append([e["loss"] for e in events if e["event"] == "sft"])
    assert losses[0] == losses[1] and len(losses[0]) == 2


def test_a_missing_file_of_episodes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="forge-train collect makes one"):
        sft.read_episodes(tmp_path / "none.jsonl")
