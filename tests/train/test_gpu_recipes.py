"""The recipes for GPUs: they load, fit the machine they were written for, and say where two would meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forge_train.cli import GRPO
from forge_train.config import Config, dump, load
from forge_train.engines.gpu_shares import learning, refuse_shares

RECIPES = GRPO.parent
EIGHT = [str(i) for i in range(8)]
PAIRS = 'vllm.gpus=["4,5","6,7"]'


def recipe(name: str, *more: str) -> Config:
    return load(RECIPES / f"{name}.toml", more)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_says_all_of_itself_again(path: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = load(path, [f"model.path={tmp_path}"])
    (tmp_path / "resolved.toml").write_text(dump(config))
    assert load(tmp_path / "resolved.toml") == config


@pytest.mark.parametrize("name", ["qwen3_8b", "qwen3_8b_one_gpu"])
def test_every_field_that_is_set_for_a_gpu_has_its_reason(name: str) -> None:
    text = (RECIPES / f"{name}.toml").read_text()
    for key in ("dtype", "transfer", "lr", "micro_tokens", "flags" if "one" in name else "gpus"):
        assert "#" in next(line for line in text.splitlines() if line.startswith(f"{key} =")), key


def test_eight_gpus_are_shared_without_meeting() -> None:
    config = recipe("qwen3_8b")
    assert learning(config.model.device, EIGHT, 4) == EIGHT[:4]
    refuse_shares(config, EIGHT, 4)
    assert config.vllm.gpus == ("4", "5", "6", "7") and not config.precise


def test_one_gpu_is_had_in_turn() -> None:
    config = recipe("qwen3_8b_one_gpu")
    refuse_shares(config, ["0"], 1)
    with pytest.raises(ValueError, match=r"learner is on GPU 0, so 0 would be taken twice.*colocated"):
        refuse_shares(recipe("qwen3_8b_one_gpu", "rollout.placement=separate"), ["0"], 1)


@pytest.mark.parametrize(
    ("more", "visible", "ranks", "said"),
    [
        ([], EIGHT, 8, "so 4, 5, 6, 7 would be taken twice; start fewer"),
        ([], EIGHT, 6, 'set vllm.gpus = ["6", "7"] and vllm.count = 2'),
        ([], EIGHT[:6], 4, "there is no GPU 6, 7 here; there are 0, 1, 2, 3, 4, 5"),
        (['vllm.gpus=["4","5","5","6"]'], EIGHT, 4, "two servers would take GPU 5"),
        (['vllm.flags=["-tp=2"]'], EIGHT, 4, 'a server takes 2 by vllm.flags, and "4" names 1'),
        (["vllm.count=2", PAIRS], EIGHT, 4, 'a server takes 1 by vllm.flags, and "4,5" names 2'),
    ],
)  # fmt: skip
def test_gpus_that_collide_or_are_not_there_are_refused(
    more: list[str], visible: list[str], ranks: int, said: str
) -> None:
    with pytest.raises(ValueError) as refused:
        refuse_shares(recipe("qwen3_8b", *more), visible, ranks)
    assert said in str(refused.value)


def test_servers_of_two_gpus_each_are_fine() -> None:
    more = ["vllm.count=2", PAIRS, 'vllm.flags=["--tensor-parallel-size","2"]']
    refuse_shares(recipe("qwen3_8b", *more), EIGHT, 4)


def test_names_of_gpus_are_those_of_the_machine() -> None:
    """A job that was given GPUs 4 to 7 learns on the first of these."""
    assert learning("cuda:1", EIGHT[4:], 1) == ["5"]
    assert learning("cpu", EIGHT, 4) == []


def test_precision_follows_the_device_unless_it_is_said() -> None:
    def dtype(**model: Any) -> str:
        return Config.model_validate({"worlds": [{"id": "w"}], "model": model}).model.dtype

    assert (dtype(), dtype(device="cpu"), dtype(device="cuda:1")) == ("float32", "float32", "bfloat16")
    assert dtype(device="cuda", dtype="float32") == "float32"
