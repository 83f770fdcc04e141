"""What a run leaves on disk: bounded, whole at every moment, and enough to go on from."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_train.cli import GRPO
from forge_train.config import Config, dump, load
from forge_train.evaluation import folder as judging
from forge_train.evaluation.evaluate import NothingPlayed
from forge_train.learn.lora import ADAPTER
from forge_train.record import checkpoint
from forge_train.record.checkpoint import MANIFEST, MOMENTS, Checkpoint
from forge_train.record.retention import thin
from forge_train.run import train
from tests.train.test_run import ODD, steps

torch.set_num_threads(1)


def odd(folder: Path, *more: str) -> Config:
    return load(GRPO, [*ODD, "run.checkpoint_every=1", "run.keep_optimizer=1", f'run.out="{folder}"', *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three updates, each saved, of which three checkpoints are kept."""
    folder = tmp_path_factory.mktemp("odd") / "run"
    train(odd(folder, "run.steps=3", "run.keep_checkpoints=3"))
    return folder


def test_only_the_newest_checkpoint_keeps_the_optimizers_state(run: Path) -> None:
    kept = {c.step: c for c in checkpoint.candidates(run / "checkpoints")}
    assert sorted(kept) == [1, 2, 3]
    assert {step for step, c in kept.items() if (c.path / MOMENTS).is_dir()} == {3}
    assert [c.problem() for c in kept.values()] == [None] * 3


def test_supervised_checkpoints_go_when_a_later_stage_has_its_own(run: Path) -> None:
    assert not (run / "sft").exists() and not (run / "supervised" / MOMENTS).exists()
    assert Checkpoint(run / "supervised", 0).problem() is None, "a model that other runs can begin with"


def test_a_run_that_has_to_go_back_says_that_its_moments_begin_anew(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "checkpoints" / "step-000003" / "config.json").write_text("{}")
    with (
        pytest.warns(UserWarning, match=r"going back to .*step-000002"),
        pytest.warns(UserWarning, match=r"step-000002 .* moments begin anew"),
    ):
        train(odd(folder, "run.steps=3", "run.keep_checkpoints=3"))
    assert [line["step"] for line in steps(folder)] == [0, 1, 2]
    assert (folder / "checkpoints" / "step-000003" / MOMENTS).is_dir()


def test_a_kill_while_moments_go_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        place = tmp_path / f"step-{step:06d}"
        (place / "critic" / MOMENTS).mkdir(parents=True)
        (place / "critic" / MOMENTS / "a").write_text("a")
        (place / "kept").write_text("k")
        checkpoint._seal(place, step)
    old = tmp_path / "step-000001"
    manifest = json.loads((old / MANIFEST).read_text())
    del manifest["files"][f"critic/{MOMENTS}/a"]  # killed here: the manifest forgot them, the files stand
    (old / MANIFEST).write_text(json.dumps(manifest))
    assert Checkpoint(old, 1).problem() is None
    thin(tmp_path, 1)
    assert not (old / "critic" / MOMENTS).exists() and (old / "kept").is_file()
    assert (tmp_path / "step-000002" / "critic" / MOMENTS / "a").is_file()
    assert Checkpoint(old, 1).problem() is None


def test_a_lora_checkpoint_has_the_adapter_apart_too(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need peft: pip install 'forge-envs[lora]'")
    train(odd(tmp_path / "run", "run.steps=0", "model.lora_rank=4", "sft.episodes=8"))
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert peft.PeftConfig.from_pretrained(saved.path / ADAPTER).r == 4
    small, whole = (
        saved.path / name for name in (f"{ADAPTER}/adapter_model.safetensors", "model.safetensors")
    )
    assert 0 < small.stat().st_size < whole.stat().st_size
    merged, beside = (checkpoint.load_model(folder)[0] for folder in (saved.path, small.parent))
    assert all(torch.equal(a, b) for a, b in zip(merged.parameters(), beside.parameters(), strict=True))
    shutil.copytree(small.parent, tmp_path / "alone")
    with pytest.raises(checkpoint.CheckpointError, match="an adapter, not a model; merge it"):
        checkpoint.load_model(tmp_path / "alone")


def test_a_run_is_judged_within_its_own_limits(run: Path) -> None:
    own = judging.run_of(run / "checkpoints" / "step-000003")
    assert judging.limits(own, None, None) == (1024, 16), "those of its config"
    assert judging.limits(own, 99, 5) == (99, 5)
    assert judging.limits(None, None, 5) == (0, 5), "as many as the model takes"


def test_a_run_is_judged_in_its_own_world(run: Path, tmp_path: Path) -> None:
    """What it was told for judging holds for its world by id and by name, and not for another."""
    shutil.copytree(run / "checkpoints" / "step-000003", tmp_path / "model")
    told = odd(tmp_path, "worlds.0.eval_args={fault='reset'}", "worlds.0.name='odd'")
    (tmp_path / "config.toml").write_text(dump(told))

    def endings(world: str | None, **args: Any) -> dict[str, int]:
        judged = judging.evaluate_model(
            tmp_path / "model", world=world, world_args=args, split="test", tasks=1, repeats=1,
            temperature=1.0, seed=0, device="cpu",
        )  # fmt: skip
        return asyncio.run(judged).endings

    for world in (None, "odd", told.worlds[0].id):
        with pytest.raises(NothingPlayed, match="the sandbox did not start"):
            endings(world)
        assert "failed" not in endings(world, fault="")
    assert "failed" not in endings("Test/Odd-v0")
