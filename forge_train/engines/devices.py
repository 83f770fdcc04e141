"""Which GPU is whose: the learner's and the servers' are told apart before either takes one.

Pure: what there is comes as a number, so that a laptop can decide for a node of eight.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge_train.config import Config
from forge_train.engines.gpu_shares import learning, per_server, refuse_shares


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
    if learners > len(visible):
        raise ValueError(
            f"{learners} processes learn and this machine has {len(visible)} GPUs ({', '.join(visible)}); "
            "give torchrun --nproc-per-node as many"
        )
    if config.rollout.engine != "vllm" or config.vllm.urls:
        return config
    if config.vllm.gpus:
        refuse_shares(config, visible, learners)
        return config
    learns, together = learning(device, visible, learners), config.rollout.placement == "colocated"
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


def _dealt(config: Config, free: Sequence[str], learns: Sequence[str]) -> tuple[str, ...]:
    """Those of `free` that each server gets. Raises ValueError when there are too few."""
    count, each = config.vllm.count, per_server(config.vllm.flags)
    need, plural = count * each, "s" if count * each > 1 else ""
    if len(free) < need:
        raise ValueError(
            f"vllm.count = {count}: servers need {need} GPU{plural} and can have {len(free)} "
            f"(the learner's: {', '.join(learns)}); start fewer (vllm.count), name servers that run "
            'elsewhere (vllm.urls), or let both have the same in turn with rollout.placement = "colocated"'
        )
    return tuple(",".join(free[i * each : (i + 1) * each]) for i in range(count))
