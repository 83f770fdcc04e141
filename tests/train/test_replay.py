"""An update done again: to the bit where nothing is changed, and with other settings from the same place."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
import torch

from forge_train import cli
from forge_train.config import ConfigError, load
from forge_train.record import checkpoint, retention
from forge_train.replay import replay
from forge_train.run import train
from tests.train import test_ppo
from tests.train.test_run import ODD


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five updates of two optimizer steps, checkpoints before 0, 3 and at the end."""
    folder = tmp_path_factory.mktemp("run")
    more = ["run.steps=5", "run.checkpoint_every=3", "algorithm.minibatches=2", f'run.out="{folder}"']
    more.append("run.keep_optimizer=2")
    train(load(cli.GRPO, [*ODD, *more]))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, _ = checkpoint.load_model(folder)
    return dict(model.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("step", [3, 4])
def test_with_the_same_settings_it_is_equal_to_the_bit(run: Path, step: int) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    found = replay(run, step)
    assert found.replayed == found.recorded and found.recorded["grad_norm"] > 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before
    if step == 4:  # repeated from checkpoint 3 by way of step 3
        assert same(dict(found.learner.model.state_dict()), weights(run / "checkpoints" / "step-000005"))


def test_other_settings_change_that_update_alone(run: Path) -> None:
    for step in (3, 4):
        found = replay(run, step, ["optim.lr=1e-2", "algorithm.clip_high=0.1"])
        assert found.replayed["lr"] > found.recorded["lr"]
        assert found.replayed["sampled_tokens"] == found.recorded["sampled_tokens"]
        assert found.replayed["loss"] != found.recorded["loss"]
    one = replay(run, 4, ["algorithm.minibatches=1", "optim.packing=padded"])
    assert one.replayed["optimizer_steps"] == 1 and one.recorded["optimizer_steps"] == 2


def test_a_critic_is_replayed_too(tmp_path: Path) -> None:
    train(test_ppo.small(tmp_path / "run", "run.keep_checkpoints=9", "run.keep_optimizer=9"))
    for step in (0, 2, 3):  # from the beginning, from a checkpoint, and through an update
        found = replay(tmp_path / "run", step)
        assert found.replayed == found.recorded and "value_loss" in found.replayed
    other = replay(tmp_path / "run", 3, ["critic.clip=0", "critic.epochs=2"])
    assert other.replayed["value_steps"] == 2 * other.recorded["value_steps"]


def test_without_the_optimizer_s_state_it_says_that_moments_begin_anew(run: Path, tmp_path: Path) -> None:
    thin = tmp_path / "thin"
    shutil.copytree(run, thin)
    retention.thin(thin / "checkpoints", 1)
    found = replay(thin, 3)
    assert found.replayed != found.recorded and "run.keep_optimizer" in found.notes[0]
    assert not replay(run, 3).notes


@pytest.mark.parametrize(
    ("step", "changes", "said"),
    [
        (1, [], "steps 3 to 4 can be replayed"),
        (5, [], "steps 3 to 4 can be replayed"),
        (4, ["eval.tasks=3", "worlds.0.tasks=9"], r"worlds.0.tasks, eval.tasks: a replay learns from what"),
        (4, ["optim.lrr=3"], "did you mean optim.lr?"),
    ],
)
def test_what_cannot_be_replayed_is_refused(run: Path, step: int, changes: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        replay(run, step, changes)


def test_an_update_at_which_the_run_stopped_has_no_record_and_can_be_replayed(
    run: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text("".join(lines[:4]))
    found = replay(stopped, 4)
    assert found.recorded == {} and found.replayed == replay(run, 4).replayed
    (file, *_) = sorted((stopped / "finished").iterdir())[-2:]
    file.write_bytes(gzip.compress(b"[{}]"))
    with pytest.raises(ValueError, match=f"{file.name} cannot be read"):
        replay(stopped, 4)


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", str(run), "--step", "4"]) == 0
    told = capsys.readouterr().out
    assert "grad_norm" in told and told.count("same") == len(told.splitlines()) - 2
    assert cli.main(["replay", str(run), "--step", "3", "optim.lr=1e-2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recorded"]["lr"] != found["replayed"]["lr"]
    assert cli.main(["replay", str(run), "optim.lr=1e-2", "--step", "x"]) == 2
    assert cli.main(["replay", str(tmp_path), "--step", "3"]) == 2
    assert "no run here" in capsys.readouterr().err


def test_keys_are_checked_as_everywhere(run: Path) -> None:
    with pytest.raises(ConfigError):
        replay(run, 4, ["algorithm.clip_low=2"])
