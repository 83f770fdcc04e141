"""An opening and one action must fit into what the policy sees; where they do not, nothing is played."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tests.train.worlds  # noqa: F401  (registers worlds)
from forge_train import cli
from forge_train.config import load
from forge_train.play.room import context_of, model_limit, refuse_cramped, with_room
from forge_train.play.world_pool import World
from forge_train.run import train
from tests.train.models import saved
from tests.train.test_run import SMALL

ECHO = "tests.train.worlds:Test/Echo-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes 4,096 tokens."""
    return saved(tmp_path_factory.mktemp("model"))


def words(messages: Any) -> int:
    return sum(len(m["content"].split()) for m in messages)


def test_what_does_not_fit_is_told_with_both_numbers_the_task_and_the_key() -> None:
    world = World(ECHO)
    refuse_cramped(world, ["train/0"], words, context=10, action=6, key="rollout.max_context")
    with pytest.raises(ValueError) as refused:
        refuse_cramped(world, ["train/0"], words, context=9, action=6, key="rollout.max_context")
    for part in (
        "rollout.max_context = 9",
        "Test/Echo-v0",
        "'train/0'",
        "has 4 tokens",
        "up to 6",
        "set rollout",
    ):
        assert part in str(refused.value)
    with pytest.raises(ValueError, match="the model takes 9, so take one that sees more"):
        refuse_cramped(world, ["train/0"], words, context=9, action=6, key="k", most=9)


def test_the_default_is_what_the_model_takes(folder: Path) -> None:
    told = {"id": ECHO}
    config = load(None, [f"worlds.0.{k}={v}" for k, v in told.items()])
    model = type("M", (), {"config": type("C", (), {"max_position_embeddings": 512})})
    assert with_room(config, model).rollout.max_context == 512
    assert context_of(64, model, "k") == 64
    with pytest.raises(ValueError, match="k = 1024: the model takes 512 tokens; lower it"):
        context_of(1024, model, "k")
    assert model_limit(object()) is None
    with pytest.raises(ValueError, match="names no longest sequence; set k"):
        context_of(0, type("M", (), {"config": object()}), "k")


@pytest.mark.parametrize("command", ["eval", "collect"])
def test_eval_and_collect_play_nothing_that_does_not_fit(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = ["--tasks", "2", "--max-context", "40", "--max-action", "32", "--world", ECHO]
    more = ["--out", str(tmp_path / "out")] if command == "collect" else ["--repeats", "1"]
    assert cli.main([command, str(folder), *limits, *more]) == 2
    said = capsys.readouterr()
    assert "--max-context = 40 has no room" in said.err and "pass@1" not in said.out


def test_a_run_plays_nothing_that_does_not_fit(tmp_path: Path) -> None:
    config = load(cli.GRPO, [*SMALL, f"run.out={tmp_path / 'run'}", "rollout.max_context=64"])
    with pytest.raises(ValueError, match=r"rollout\.max_context = 64 has no room for world Forge/Retail-v0"):
        train(config)
    assert not (tmp_path / "run" / "report.html").exists()


def test_an_evaluation_without_limits_takes_the_models_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--tasks", "1", "--repeats", "1", "--max-action", "4", "--json", "--world", ECHO]
    assert cli.main(["eval", str(folder), *few]) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert set(told["endings"]) <= {"tokens", "terminated", "max_turns"}
