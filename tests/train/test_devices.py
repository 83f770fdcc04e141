"""Learner and servers never take the same GPU unseen: told from the config and a number of GPUs."""

from __future__ import annotations

import pytest

from forge_train.config import Config, load
from forge_train.engines.devices import refuse_missing, visible_devices, with_devices


def vllm(*more: str) -> Config:
    told = ["worlds.0.id=w:W-v0", "model.device=cuda", "rollout.engine=vllm"]
    return load(None, [*told, *more])


@pytest.mark.parametrize(
    ("more", "gpus", "learners", "dealt"),
    [
        ([], 2, 1, ("1",)),
        (["vllm.count=3"], 4, 1, ("1", "2", "3")),
        (["model.device=cuda:1", "vllm.count=2"], 3, 1, ("0", "2")),
        (["vllm.count=2", 'vllm.flags=["--tensor-parallel-size", "2"]'], 8, 4, ("4,5", "6,7")),
        (['vllm.gpus=["1"]'], 2, 1, ("1",)),
        (["rollout.placement=colocated"], 1, 1, ("0",)),
        (["rollout.placement=colocated", "model.device=cuda:1"], 2, 1, ("1",)),
    ],
)
def test_servers_get_gpus_that_the_learner_has_not(
    more: list[str], gpus: int, learners: int, dealt: tuple[str, ...]
) -> None:
    visible = [str(i) for i in range(gpus)]
    assert with_devices(vllm(*more), visible, learners=learners).vllm.gpus == dealt


@pytest.mark.parametrize(
    ("more", "gpus", "learners", "says"),
    [
        ([], 1, 1, "servers need 1 GPU and can have 0 (the learner's: 0); start fewer"),
        (["vllm.count=8"], 8, 1, "servers need 8 GPUs and can have 7"),
        (['vllm.gpus=["0"]'], 2, 1, "GPU 0 is the learner's"),
        (['vllm.gpus=["2,1"]'], 3, 2, "GPU 1 is the learner's"),
        ([], 0, 1, 'model.device = "cuda": no GPU can be used here'),
        (["model.device=cuda:4"], 2, 1, "this machine has 2 GPUs, cuda:0 to cuda:1"),
        ([], 2, 4, "4 processes learn and this machine has 2 GPUs"),
    ],
)
def test_what_would_take_one_gpu_twice_is_refused(
    more: list[str], gpus: int, learners: int, says: str
) -> None:
    with pytest.raises(ValueError) as refused:
        with_devices(vllm(*more), [str(i) for i in range(gpus)], learners=learners)
    assert says in str(refused.value)


def test_who_takes_no_gpu_is_left_alone() -> None:
    for more in (["model.device=cpu"], ["rollout.engine=local"], ['vllm.urls=["http://host:8000"]']):
        config = vllm(*more)
        assert with_devices(config, ["0"]) is config


def test_servers_are_named_as_the_environment_names_gpus() -> None:
    visible = visible_devices(2, {"CUDA_VISIBLE_DEVICES": "4,6"})
    assert with_devices(vllm(), visible).vllm.gpus == ("6",)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "CUDA", "cuda:-1"])
def test_a_word_that_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="set cpu, cuda, cuda:N or mps"):
        refuse_missing(device, ["0"], "--device")
