"""The trainer on real containers: two steps of a tiny model on Forge/Polyglot-v0, solutions imitated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.worlds.polyglot import env as world
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
    'worlds.0.id="forge_envs:Forge/Polyglot-v0"',
    'worlds.0.args={sandbox = "docker", language = "python", turn_weight = 1.0, reflections = 0}',
    "worlds.0.tasks=1",
    "sft.episodes=2",
    "sft.epochs=1",
    "rollout.groups=2",
    "rollout.group_size=4",
    "rollout.max_context=4096",
    "rollout.max_action=24",
    "eval.tasks=1",
    "eval.repeats=1",
    "eval.k=[1]",
]


def test_two_steps(
    tmp_path: Path,
    image: Callable[[str], str],
    docker: DockerProvider,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image("polyglot-python")
    verdicts = []

    def noted(*args: object, **options: object) -> world.Verdict:
        verdicts.append(judge(*args, **options))
        return verdicts[-1]

    judge = world.judge
    monkeypatch.setattr(world, "judge", noted)
    report = train(load(cli.DEMO, [*SMALL, f'run.out="{tmp_path / "run"}"']))
    assert report.is_file()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    for line in lines:
        assert line["episodes"] == 8 == sum(line["endings"].values())
        assert "error" not in line["endings"], line
    assert (
        sum(verdict.passed for verdict in verdicts) >= 1
    )  # the solutions that were imitated were really run
    docker.close()
    assert not mine(engine), "the trainer left containers"
