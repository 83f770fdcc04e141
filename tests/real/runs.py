"""Configs of runs with a real model: as small as they can be and still be whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge_train.cli import GRPO
from forge_train.config import Config, load
from forge_train.record import checkpoint
from forge_train.record.run_folder import read_lines

SMALL = [
    "run.threads=1",
    "run.checkpoint_every=1",
    "run.keep_optimizer=1",
    "worlds.0.id=tests.real.worlds:Test/Number-v0",
    "worlds.0.args={}",
    "worlds.0.tasks=32",
    "sft.episodes=0",
    "sft.epochs=1",
    "sft.batch=16",
    "sft.lr=1e-4",
    "sft.warmup=0",
    "rollout.groups=2",
    "rollout.group_size=4",
    "rollout.max_context=64",
    "rollout.max_action=8",
    "optim.warmup=0",
    "optim.micro_tokens=512",
    "eval.tasks=2",
    "eval.repeats=1",
    "eval.k=[1]",
]


def overrides(model: Path, folder: Path, *more: str) -> list[str]:
    """What a command line says; later settings win."""
    return [*SMALL, f'model.path="{model}"', f'run.out="{folder}"', *more]


def config(model: Path, folder: Path, *more: str) -> Config:
    return load(GRPO, overrides(model, folder, *more))


def newest(folder: Path) -> Path:
    """The newest checkpoint of a run."""
    saved = checkpoint.latest(folder / "checkpoints")
    assert saved is not None
    return saved.path


def steps(folder: Path) -> list[dict[str, Any]]:
    """Metrics of all steps, without the clocks."""
    lines = read_lines(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith("seconds")} for line in lines]
