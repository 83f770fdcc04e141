"""Whole runs in which what is played and trained depends on what happened: they go on as if never stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from forge_train import cli
from forge_train.config import Config, load
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


if "Test/Luck-v0" not in gym.registry:
    gym.register("Test/Luck-v0", entry_point=Luck)

LUCK = [*ODD, "worlds.0.id=tests.train.test_sampling_runs:Test/Luck-v0", "worlds.0.args={turns=1}"]


def luck(folder: Path, *more: str) -> Config:
    return load(cli.DEMO, [*LUCK, f'run.out="{folder}"', *more])


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
              "worlds.0.args={turns=3}", "shaping.length_weight=0.1", "temperature.decay=\"cosine\"",
              "temperature.end=1.4", "temperature.steps=3"],
    "prioritised": ['curriculum.order="prioritised"', "worlds.0.tasks=8", "rollout.refill=2",
                    "worlds.0.budget=6", "shaping.budget_penalty=0.5", 'algorithm.masked=["deadline"]'],
    "recall": ["curriculum.recall=3", "curriculum.recall_from=1", "curriculum.recall_steps=2",
               "curriculum.duplicate=true", "rollout.groups=4"],
    "cooler": ["curriculum.top_spread=0.5", "rollout.groups=4", 'temperature.decay="linear"',
               "temperature.end=0.5", "temperature.steps=4", "rollout.max_lag=1"],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_with_the_draws_and_episodes_it_would_have_had(tmp_path: Path, way: str) -> None:
    keep = ["run.checkpoint_every=2", "run.keep_checkpoints=9", "run.keep_optimizer=9"]
    told = [*WAYS[way], *keep, "rollout.deterministic=true", "run.steps=5"]
    folder = tmp_path / "run"
    train(luck(folder, *told))
    whole = steps(folder)
    cut_back(folder, 2)
    train(luck(folder, *told))
    assert steps(folder) == whole
    again = replay(folder, 4)
    print(
        way,
        [
            {
                k: v
                for k, v in line.items()
                if k
                in (
                    "success",
                    "recalled",
                    "recalled_share",
                    "trained",
                    "left_out_groups",
                    "duplicated_groups",
                    "zero_groups",
                    "temperature",
                    "turns",
                )
                or "shaping" in k
            }
            for line in whole
        ],
    )
    assert {k: v for k, v in again.recorded.items() if again.replayed.get(k, v) != v} == {}
    print(played(folder))
