"""The trainer on real containers: two steps of a tiny model on Forge/SWE-v0."""

from __future__ import annotations

import json
from pathlib import Path

from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_train import cli
from forge_train.config import load
from forge_train.run import train
from tests.docker.conftest import mine

SMALL = [
    "run.steps=2",
    "run.threads=1",
    "run.checkpoint_every=2",
    "model.tiny.hidden=32",
    "model.tiny.layers=1",
    "model.tiny.vocab=512",
    'worlds.0.id="forge_envs:Forge/SWE-v0"',
    'worlds.0.args={sandbox = "docker", scaffold = "mini", max_turns = 2, turn_weight = 1.0}',
    "worlds.0.tasks=4",
    "sft.episodes=2",
    "sft.epochs=1",
    "rollout.groups=2",
    "rollout.group_size=4",
    "rollout.max_context=6144",
    "rollout.max_action=256",
    'algorithm.masked=["deadline"]',
    "eval.tasks=1",
    "eval.repeats=1",
    "eval.k=[1]",
]


def test_two_steps(tmp_path: Path, swe_image: str, docker: DockerProvider, engine: Engine) -> None:
    report = train(load(cli.GRPO, [*SMALL, f'run.out="{tmp_path / "run"}"']))
    assert report.is_file()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    for line in lines:
        assert line["episodes"] == 8 == sum(line["endings"].values())
        assert set(line["endings"]) <= {"terminated", "max_turns", "tokens"}, "no play failed"
        assert line["turns"] > 1, "the world answered"
        assert line["optimizer_steps"] == 1, "and what came of it was trained on"
    docker.close()
    assert not mine(engine), "the trainer left containers"
