"""A run that is held to a reference goes on with the one it had; what it imitates beside is drawn anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from forge_train import cli
from forge_train.config import Config, load
from forge_train.replay import replay
from forge_train.run import train
from tests.train.test_run import ODD, steps

HELD = [
    "run.checkpoint_every=2",
    "algorithm.advantage=rloo",
    "algorithm.objective=opmd",
    "algorithm.minibatches=2",
    "algorithm.kl_weight=0.05",
    "algorithm.kl=unbiased",
    "algorithm.entropy_weight=0.001",
    "reference.refresh=3",
    "reference.reset_optimizer=true",
]


def held(folder: Path, *more: str) -> Config:
    return load(cli.GRPO, [*ODD, *HELD, f'run.out="{folder}"', *more])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five steps, whose reference changes after the third."""
    folder = tmp_path_factory.mktemp("held") / "run"
    train(held(folder, "run.steps=5"))
    return folder


def test_it_drifts_from_its_reference_until_there_is_a_new_one(whole: Path) -> None:
    told = [line["kl_reference"] for line in steps(whole)]
    # Half of the tokens of an update are scored after its first step.
    assert 0 < told[0] < 0.5 * told[1] and told[3] < 0.5 * told[2]
    assert {path.name for path in (whole / "reference").iterdir()} == {"step-000000", "step-000003"}
    assert not any(line.get("idle") for line in steps(whole))


def test_killed_before_the_new_one_was_in_a_checkpoint_it_goes_back_to_the_old(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train(held(folder, "run.steps=3"))
    assert (folder / "reference" / "step-000003").is_dir()
    shutil.rmtree(folder / "checkpoints" / "step-000003")  # as if it had been killed before it stood
    train(held(folder, "run.steps=5"))
    assert steps(folder) == steps(whole)


def test_it_goes_on_from_an_optimizer_that_had_forgotten(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(held(folder, "run.steps=3"))  # its last checkpoint has no moments: they have just been forgotten
    train(held(folder, "run.steps=4"))
    train(held(folder, "run.steps=5"))
    assert steps(folder) == steps(whole)


def test_an_update_is_done_again_with_the_reference_it_had(whole: Path) -> None:
    again = replay(whole, 4)
    for name in ("kl_reference", "entropy", "grad_norm", "loss", "log_ratio"):
        assert again.replayed[name] == pytest.approx(again.recorded[name], rel=1e-5), name
    with pytest.raises(ValueError, match="imitated beside is not stored"):
        replay(whole, 4, ["algorithm.ptx_weight=0.1"])


def test_a_reference_that_is_gone_is_missed(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "reference")
    with pytest.raises(ValueError, match="reference of step 5 is not there; restore it"):
        train(held(folder, "run.steps=6"))


def test_it_pays_for_drifting_and_imitates_gold_beside(tmp_path: Path) -> None:
    more = ["algorithm.advantage=turn_rloo", "algorithm.objective=gspo_turn", "algorithm.kl_weight=0.1"]
    more += ["algorithm.kl_in=reward", "algorithm.ptx_weight=0.5", "ptx.episodes=8", "ptx.batch=4"]
    for name in ("a", "b"):
        train(load(cli.GRPO, [*ODD, *more, f'run.out="{tmp_path / name}"', "run.steps=3"]))
    told = steps(tmp_path / "a")
    assert told == steps(tmp_path / "b")
    assert told[0]["kl_reward"] == pytest.approx(0, abs=1e-5) and told[2]["kl_reward"] != 0
    assert told[2]["ptx_nll"] < told[0]["ptx_nll"]
