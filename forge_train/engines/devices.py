"""Which GPU is whose: the learner's and the servers' are told apart before either takes one.

Pure: what there is comes as a number, so that a laptop can decide for a node of eight.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from forge_train.config import Config

_SPLITS = ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp")
"""Flags of vLLM that make a server take several GPUs."""


def with_devices(config: Config, visible: Sequence[str], *, learners: int = 1) -> Config:
    """`config` with the GPUs of our servers named, apart from the learner's.

    `visible` are the GPUs of this machine as CUDA_VISIBLE_DEVICES names them, `learners` the processes that
    learn on it. Raises ValueError for a device that is not there, and for two that would take the same one.

    >>> from forge_train.config import load
    >>> worlds = ["worlds.0.id=w:W-v0", "model.device=cuda", "rollout.engine=vllm"]
    >>> with_devices(load(None, worlds), ["0", "1"]).vllm.gpus
    ('1',)
    """
    device = config.model.device
    refuse_missing(device, visible, "model.device")
    if not device.startswith("cuda"):
        return config
    _, _, number = device.partition(":")
    wanted = [int(number)] if number else list(range(learners))
    if wanted[-1] >= len(visible):
        raise ValueError(
            f"{learners} processes learn and this machine has {len(visible)} GPUs ({', '.join(visible)}); "
            "give torchrun --nproc-per-node as many"
        )
    if config.rollout.engine != "vllm" or config.vllm.urls:
        return config
    learns, together = [visible[i] for i in wanted], config.rollout.placement == "colocated"
    if config.vllm.gpus:
        if not together:
            _refuse_shared(config.vllm.gpus, learns)
        return config
    gpus = _dealt(config, learns if together else [gpu for gpu in visible if gpu not in learns], learns)
    return config.model_copy(update={"vllm": config.vllm.model_copy(update={"gpus": gpus})})


def refuse_missing(device: str, visible: Sequence[str], key: str) -> None:
    """Raise ValueError, naming `key`, for a device that is no device or is not here.

    >>> refuse_missing("cuda:2", ["0", "1"], "--device")
    Traceback (most recent call last):
    ValueError: --device = "cuda:2": this machine has 2 GPUs, cuda:0 to cuda:1; set one of them
    """
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f'{key} = "{device}": set cpu, cuda, cuda:N or mps')
    if not device.startswith("cuda"):
        return
    if not visible:
        raise ValueError(
            f'{key} = "{device}": no GPU can be used here (a torch without CUDA, no driver, or an empty '
            'CUDA_VISIBLE_DEVICES); mend that, or set it to "cpu"'
        )
    if int(device.partition(":")[2] or 0) >= len(visible):
        last = f" to cuda:{len(visible) - 1}" if len(visible) > 1 else ""
        raise ValueError(
            f'{key} = "{device}": this machine has {len(visible)} GPU{"s" if last else ""}, cuda:0{last}; '
            "set one of them"
        )


def _refuse_shared(gpus: Sequence[str], learns: Sequence[str]) -> None:
    """Raise ValueError when a server is to take a GPU of the learner."""
    shared = {gpu.strip() for those in gpus for gpu in those.split(",")} & set(learns)
    if shared:
        both = ", ".join(sorted(shared))
        raise ValueError(
            f"vllm.gpus = {json.dumps(list(gpus))}: GPU {both} is the learner's; name others, "
            'or let both have it in turn with rollout.placement = "colocated"'
        )


def _dealt(config: Config, free: Sequence[str], learns: Sequence[str]) -> tuple[str, ...]:
    """Those of `free` that each server gets. Raises ValueError when there are too few."""
    count, each = config.vllm.count, _each(config.vllm.flags)
    need, plural = count * each, "s" if count * each > 1 else ""
    if len(free) < need:
        raise ValueError(
            f"vllm.count = {count}: servers need {need} GPU{plural} and can have {len(free)} "
            f"(the learner's: {', '.join(learns)}); start fewer (vllm.count), name servers that run "
            'elsewhere (vllm.urls), or let both have the same in turn with rollout.placement = "colocated"'
        )
    return tuple(",".join(free[i * each : (i + 1) * each]) for i in range(count))


def _each(flags: Sequence[str]) -> int:
    """GPUs of one server.

    >>> _each(["--tensor-parallel-size", "2", "--pipeline-parallel-size=2"]), _each(["--enforce-eager"])
    (4, 1)
    """
    found = 1
    words = [word for flag in flags for word in flag.split("=", 1)]
    for name, value in pairwise(words):
        if name in _SPLITS and value.isdecimal():
            found *= int(value)
    return found


def visible_devices(count: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that torch counts, as CUDA_VISIBLE_DEVICES names them.

    >>> visible_devices(2, {"CUDA_VISIBLE_DEVICES": "4,6"}), visible_devices(2, {})
    (['4', '6'], ['0', '1'])
    """
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if len(named) >= count else [str(i) for i in range(count)]
