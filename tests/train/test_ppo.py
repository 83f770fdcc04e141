"""Whole runs with a critic: the demo's PPO config plays, waits, learns, and resumes to the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from forge_train import cli
from forge_train.config import Config, load
from forge_train.record.run_folder import read_lines
from forge_train.run import train
from tests.train.worlds import Echo

PPO = Path(cli.__file__).parent / "recipes" / "ppo.toml"
SMALL = [
    "run.steps=4",
    "run.threads=1",
    "run.checkpoint_every=2",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=512",
    "sft.episodes=160",
    "sft.warmup=0",
    "sft.lr=1e-2",
    "sft.epochs=1",
    "rollout.groups=3",
    "rollout.group_size=2",
    "rollout.max_action=16",
    "worlds.0.id=Test/Odd-v0",
    "worlds.0.args={}",
    "critic.policy_waits=1",
    "eval.tasks=3",
    "eval.repeats=1",
    "eval.k=[1]",
]


class Odd(Echo):
    """Pays for actions of an odd length, so that a newborn policy earns something, and not always."""

    def step(self, action: str) -> Any:
        messages, _, terminated, truncated, info = super().step(action)
        return messages, float(len(action) % 2), terminated, truncated, info


if "Test/Odd-v0" not in gym.registry:
    gym.register("Test/Odd-v0", entry_point=Odd)


def small(folder: Path, *more: str) -> Config:
    return load(PPO, [*SMALL, f'run.out="{folder}"', *more])


def steps(folder: Path) -> list[dict[str, Any]]:
    """Metrics without the clocks."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]


def test_ppo_differs_from_the_demo_in_what_makes_it_ppo() -> None:
    ppo, demo = load(PPO), load(cli.GRPO)
    assert ppo.algorithm.advantage == "turn_gae"
    for section in ("model", "worlds", "sft", "eval"):
        assert getattr(ppo, section) == getattr(demo, section)
    episodes = [c.rollout.groups * c.rollout.group_size for c in (ppo, demo)]
    assert episodes[0] == episodes[1], "as many episodes a step"


@pytest.mark.parametrize(
    "advantage",
    ["turn_gae", *(pytest.param(name, marks=pytest.mark.matrix) for name in ("gae", "bilevel_gae"))],
)
def test_a_run_with_a_critic_waits_then_learns(tmp_path: Path, advantage: str) -> None:
    train(small(tmp_path / "run", f"algorithm.advantage={advantage}", "run.steps=2"))
    waits, learns = steps(tmp_path / "run")
    assert waits["policy_waits"] == 1 and waits["trained"] == 0 and waits["optimizer_steps"] == 0
    assert learns["policy_waits"] == 0 and learns["trained"] == 6 and learns["optimizer_steps"] == 1
    for line in (waits, learns):
        assert line["value_steps"] == 4 and line["value_skipped"] == 0
    records = read_lines(tmp_path / "run" / "rollouts" / "step-000001.jsonl.gz")
    assert all(len(r["advantages"]) == len(r["versions"]) for r in records), "told by action"


def test_the_critic_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    train(small(tmp_path / "whole"))
    train(small(tmp_path / "parts", "run.steps=2"))
    train(small(tmp_path / "parts"))
    assert steps(tmp_path / "parts") == steps(tmp_path / "whole")
