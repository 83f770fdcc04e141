"""The trainer on real containers: two steps of a tiny model on Forge/Polyglot-v0."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.worlds.polyglot import verdict as world
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
    "worlds.0.tasks=1",
    "sft.episodes=1",
    "sft.epochs=84",  # enough to say the answer often, too few to say it always
    "sft.batch=1",
    "rollout.groups=1",
    "rollout.group_size=4",
    "rollout.max_context=4096",
    "rollout.max_action=24",
    "eval.tasks=1",
    "eval.repeats=1",
    "eval.k=[1]",
]


def checkout(folder: Path) -> Path:
    """A benchmark so short that a tiny model learns its answer in seconds; one name is in each split."""
    for name in ("two", "pair"):
        place = folder / "python" / "exercises" / "practice" / name
        lists = {"solution": ["a.py"], "test": ["a_test.py"], "example": [".meta/example.py"]}
        files = {
            "a.py": "",
            "a_test.py": "import a\n\n\ndef test_it():\n    assert a.x == 1\n",
            ".meta/example.py": "x=1",
            ".docs/instructions.md": "Set x to 1.",
            ".meta/config.json": json.dumps({"files": lists}),
        }
        for path, text in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
    return folder


def test_two_steps(
    tmp_path: Path,
    image: Callable[[str], str],
    docker: DockerProvider,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image("polyglot-python")
    verdicts = []

    def noted(*args: object, **options: object) -> world.AnswerVerdict:
        verdicts.append(judge(*args, **options))
        return verdicts[-1]

    judge = world.judge
    monkeypatch.setattr(world, "judge", noted)
    source = checkout(tmp_path / "checkout")
    args = f'{{source = "{source}", language = "python", turn_weight = 1.0, reflections = 0}}'
    report = train(load(cli.GRPO, [*SMALL, f"worlds.0.args={args}", f'run.out="{tmp_path / "run"}"']))
    assert report.is_file()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1]
    for line in lines:
        assert line["episodes"] == 4 == sum(line["endings"].values())
        assert set(line["endings"]) <= {"terminated", "tokens"}, line
    assert max(line["success"] for line in lines) > 0, lines  # what the policy wrote passed in a container
    assert sum(line["optimizer_steps"] for line in lines) >= 1, lines  # and was learned from
    assert sum(verdict.passed for verdict in verdicts) >= 2  # the episode that was imitated, and a rollout
    docker.close()
    assert not mine(engine), "the trainer left containers"
