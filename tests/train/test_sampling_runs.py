"""Whole runs in which what is played and trained depends on what happened: they go on as if never stopped."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from forge_train import cli
from forge_train.config import Config, WorldConfig, load
from forge_train.evaluation.warming import set_apart
from forge_train.play.difficulty import Plays, read_passes
from forge_train.play.world_pool import World
from forge_train.record.run_folder import read_lines
from forge_train.replay import replay
from forge_train.run import train
from tests.train.test_run import ODD, steps
from tests.train.worlds import Echo


class Luck(Echo):
    """Of four tasks one is always solved, one by the right word alone, two by any of an odd length."""

    def step(self, action: str) -> Any:
        messages, _, terminated, truncated, info = super().step(action)
        kind = int(self.task.split("/")[1]) % 4
        if terminated or truncated:
            right = action == self.task.split("/")[1]
            info["outcome"] = float(right or (len(action) % 2, 1, 0, len(action) % 2)[kind])
        return messages, info.get("outcome", 0.0), terminated, truncated, info

    def truncate(self) -> Any:
        return (), 1.0, False, True, {"task": self.task, "outcome": 1.0}


class FewLuck(Luck):
    """Has five tasks."""

    def task_ids(self, split: str, n: int) -> list[str]:
        return super().task_ids(split, min(n, 5))


if "Test/Luck-v0" not in gym.registry:
    gym.register("Test/Luck-v0", entry_point=Luck)
    gym.register("Test/FewLuck-v0", entry_point=FewLuck)

LUCK = [*ODD, "worlds.0.id=tests.train.test_sampling_runs:Test/Luck-v0", "worlds.0.args={turns=1}"]


def luck(folder: Path, *more: str) -> Config:
    return load(cli.GRPO, [*LUCK, f'run.out="{folder}"', *more])


def cut_back(folder: Path, step: int) -> None:
    """As a run is whose newest checkpoints are lost: it must repeat the updates since `step`."""
    for checkpoint in (folder / "checkpoints").glob("step-*"):
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)


def played(folder: Path) -> list[tuple[int, str, int]]:
    """Update, task and solved plays of each group that ended, as the journal tells it."""
    events = read_lines(folder / "events.jsonl")
    meant = {e["group"]: e["update"] for e in events if e["event"] == "dispatch"}
    return [(meant[e["group"]], e["task"], e["solved"]) for e in events if e["event"] == "finish"]


WAYS = {
    "rates": ["curriculum.rates=[0.0, 1.0]", "worlds.0.tasks=8", "curriculum.horizons=[[0, 1], [2, 2]]",
              "worlds.0.args={turns=3}", "shaping.length_weight=0.1", 'temperature.decay="cosine"',
              "temperature.end=1.4", "temperature.steps=3"],
    "prioritised": ['curriculum.order="prioritised"', "worlds.0.tasks=8", "rollout.refill=2",
                    "worlds.0.budget=6", "shaping.budget_penalty=0.5", 'algorithm.masked=["deadline"]'],
    "recall": ["curriculum.recall=3", "curriculum.recall_from=1", "curriculum.recall_steps=2",
               "curriculum.duplicate=true", "rollout.groups=4"],
    "cooler": ["curriculum.top_spread=0.5", "rollout.groups=4", 'temperature.decay="linear"',
               "temperature.end=0.5", "temperature.steps=4", "rollout.max_lag=1"],
    "warmer": ["temperature.grid=[0.7, 1.3]", "temperature.plateau=1", "temperature.gain=9.0",
               "temperature.tasks=2", "temperature.repeats=1",
               "run.eval_every=2"],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_with_the_draws_and_episodes_it_would_have_had(tmp_path: Path, way: str) -> None:
    keep = ["run.checkpoint_every=2", "run.keep_checkpoints=9", "run.keep_optimizer=9"]
    told = [*WAYS[way], *keep, "rollout.deterministic=true", "run.steps=5"]
    folder = tmp_path / "run"
    train(luck(folder, *told))
    whole, groups = steps(folder), played(folder)
    LOOK[way](whole, groups, folder)
    cut_back(folder, 2)
    train(luck(folder, *told))
    assert steps(folder) == whole
    again = replay(folder, 4)
    assert {k: v for k, v in again.recorded.items() if again.replayed.get(k, v) != v} == {}


Steps = list[dict[str, Any]]
Groups = list[tuple[int, str, int]]


def rates_held(metrics: Steps, groups: Groups, folder: Path) -> None:
    assert [line["turns"] for line in metrics] == [1.0, 1.0, 2.0, 2.0, 2.0]
    assert [round(line["temperature"], 3) for line in metrics] == [1.0, 1.1, 1.3, 1.4, 1.4]
    assert any(line["shaping_length_reward"] for line in metrics)
    assert all(line.get("logprob_gap", 0) < 1e-4 for line in metrics), "scored as it was sampled"
    stored = read_lines(folder / "rollouts" / "step-000002.jsonl.gz")
    assert all(t["temperature"] == 1.3 or abs(t["temperature"] - 1.3) < 1e-9 for t in stored)
    assert all({"length_reward"} <= t["info"]["parts"].keys() and t["outcome"] == 1.0 for t in stored)


def often_solved_is_seldom_drawn(metrics: Steps, groups: Groups, folder: Path) -> None:
    for update, task, _ in groups:
        before = [solved for u, t, solved in groups if t == task and u < update]
        assert not before or min(before) < 4, "a task that was always solved is not drawn again"
    assert any(line["shaping_budget_penalty"] < 0 for line in metrics)
    assert any(line["endings"].get("tokens") for line in metrics)
    stored = [t for step in range(5) for t in read_lines(folder / "rollouts" / f"step-{step:06d}.jsonl.gz")]
    said = [sum(a != -1 for s in t["segments"] for a in s["action"]) for t in stored]
    assert max(said) <= 6
    cut = [t for t, n in zip(stored, said, strict=True) if t["ending"] == "tokens"]
    assert all(t["rewards"][-1] == -0.5 and t["outcome"] is None for t in cut)


def some_count_twice_and_some_again(metrics: Steps, groups: Groups, folder: Path) -> None:
    assert any(line["duplicated_groups"] for line in metrics)
    assert metrics[0]["recalled"] == 0 < metrics[-1]["recalled"]
    assert 0 < metrics[-1]["recalled_share"] < 1
    assert all(line["lag"]["max"] == 0 for line in metrics), "of what was played for the update"


def half_is_trained_ever_cooler(metrics: Steps, groups: Groups, folder: Path) -> None:
    trained = [line for line in metrics if "idle" not in line]
    assert all(line["left_out_groups"] == 2 and line["trained"] == 8 for line in trained)
    assert all(line["temperature"] == 1 - line["step"] / 8 for line in trained)
    assert any(line["lag"]["max"] for line in metrics)


def the_warmest_that_costs_nothing(metrics: Steps, groups: Groups, folder: Path) -> None:
    events = [e for e in read_lines(folder / "events.jsonl") if e["event"] == "temperature"]
    assert [e["step"] for e in events] == [2, 4]
    for event in events:
        scores = dict(map(tuple, event["scores"]))
        assert event["temperature"] == max(t for t, s in scores.items() if s >= max(scores.values()) - 0.01)
    chosen = {e["step"]: e["temperature"] for e in events}
    warm = [line.get("temperature") for line in metrics]
    assert all(got in (None, want) for got, want in zip(warm, [1.0, 1.0, chosen[2], chosen[2], chosen[4]],
                                                         strict=True))  # fmt: skip
    assert chosen[2] in warm


LOOK = {
    "rates": rates_held,
    "prioritised": often_solved_is_seldom_drawn,
    "recall": some_count_twice_and_some_again,
    "cooler": half_is_trained_ever_cooler,
    "warmer": the_warmest_that_costs_nothing,
}


def test_tasks_are_measured_and_the_measure_chooses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "hard"
    train(luck(run, "run.steps=0"))
    ask = ["difficulty", str(cli.GRPO), *LUCK, f'run.out="{run}"', "--out", str(out), "--tasks", "8"]
    assert cli.main([*ask, "--samples", "2"]) == 0
    assert f'curriculum.passes = "{out / "passes.json"}"' in capsys.readouterr().out
    found = read_passes(out / "passes.json")["Test/Luck-v0"]
    assert [one.plays for one in found.values()] == [2] * 8
    assert found["train/1"] == found["train/5"] == Plays(2, 2, 0), "always solved"
    before = (out / "0-Test-Luck-v0" / "plays.jsonl").read_bytes()
    unsolved = sorted(task for task, one in found.items() if not one.solved)
    assert cli.main([*ask, "--samples", "5", "--unsolved"]) == 0
    after = (out / "0-Test-Luck-v0" / "plays.jsonl").read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 16 + 3 * len(unsolved), "only what was missing"
    more = read_passes(out / "passes.json")["Test/Luck-v0"]
    assert {task for task, one in more.items() if one.plays == 5} == {*unsolved} >= {"train/2", "train/6"}
    assert cli.main([*ask, "--samples", "5", "--unsolved"]) == 0, "asked again, nothing is played twice"
    told = [f'curriculum.passes="{out / "passes.json"}"', "curriculum.rates=[0, 1]", "worlds.0.tasks=8"]
    train(luck(tmp_path / "chosen", *told, "curriculum.online=false", "curriculum.revisit=0", "run.steps=2"))
    kept = {task for task, one in more.items() if 0 < one.solved < one.plays} or set(more)
    assert {task for _, task, _ in played(tmp_path / "chosen")} <= kept


def test_a_temperature_is_chosen_by_tasks_that_nobody_trains_on(tmp_path: Path) -> None:
    config = luck(tmp_path, *WAYS["warmer"], "worlds.0.tasks=5")
    told = config.worlds[0]
    with closing(World(told.id, told.args, told.label)) as world:
        assert set_apart(config, told, world) == ["train/5", "train/6"]
        named = luck(tmp_path, *WAYS["warmer"], "temperature.split=validation")
        assert set_apart(named, told, world) == ["validation/0", "validation/1"]
    few = WorldConfig(id="tests.train.test_sampling_runs:Test/FewLuck-v0", tasks=5)
    with (
        closing(World(few.id, few.args, few.label)) as world,
        pytest.raises(ValueError, match="none is left to choose a temperature by"),
    ):
        set_apart(config, few, world)


def test_nobody_to_measure_by_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["difficulty", str(cli.GRPO), *LUCK, f'run.out="{tmp_path / "none"}"', "--out", str(tmp_path / "o")]
    assert cli.main(ask) == 2
    assert "name a player with --by" in capsys.readouterr().err
