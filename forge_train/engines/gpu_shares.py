"""Which GPUs of a machine learn and which serve: refused before anything starts where two would meet."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise

from forge_train.config import Config

_SPLIT = ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp")
"""Flags by which a server takes several GPUs."""


def refuse_shares(config: Config, visible: Sequence[str], ranks: int) -> None:
    """Raise ValueError, with keys and fix, for GPUs that two want, that are not there, or too few.

    `visible`: the GPUs that this process sees, by the names CUDA_VISIBLE_DEVICES has for them; `ranks`: how
    many processes of this machine learn. Servers that run already (vllm.urls) are not ours to place.
    """
    vllm, device = config.vllm, config.model.device
    if config.rollout.engine != "vllm" or vllm.urls or not visible or not vllm.gpus:
        return
    learn = learning(device, visible, ranks)
    serve = [gpu.strip() for each in vllm.gpus for gpu in each.split(",") if gpu.strip()]
    gone = sorted(set(serve) - set(visible))
    if gone:
        raise ValueError(
            f"vllm.gpus = {json.dumps(list(vllm.gpus))}: there is no GPU {', '.join(gone)} here; there are "
            f"{', '.join(visible)}"
        )
    twice = sorted({gpu for gpu in serve if serve.count(gpu) > 1})
    if twice:
        raise ValueError(
            f"vllm.gpus = {json.dumps(list(vllm.gpus))}: two servers would take GPU {', '.join(twice)}; name "
            "each once"
        )
    both = [gpu for gpu in learn if gpu in serve]
    if both and config.rollout.placement == "separate":
        free = [gpu for gpu in visible if gpu not in learn]
        fix = f"set vllm.gpus = {json.dumps(free)} and vllm.count = {len(free)}, " if free else ""
        raise ValueError(
            f"vllm.gpus = {json.dumps(list(vllm.gpus))}: the learner is on GPU {', '.join(learn)}, "
            f"so {', '.join(both)} would be taken twice; {fix}start fewer processes, or take turns: "
            'rollout.placement = "colocated"'
        )
    each = per_server(vllm.flags)
    for gpus in vllm.gpus:
        if len(gpus.split(",")) != each:
            raise ValueError(
                f"vllm.gpus = {json.dumps(list(vllm.gpus))}: a server takes {each} by vllm.flags, and "
                f'"{gpus}" names {len(gpus.split(","))}; let both agree (--tensor-parallel-size)'
            )


def learning(device: str, visible: Sequence[str], ranks: int) -> list[str]:
    """The GPUs that learn: one for each of several processes on this machine, or the one that is named."""
    if not device.startswith("cuda"):
        return []
    first = 0 if ranks > 1 else int(device.partition(":")[2] or 0)
    return list(visible[first : first + ranks])


def visible_gpus(count: int, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the GPUs that this process sees, `count` as torch has it.

    >>> visible_gpus(2, {"CUDA_VISIBLE_DEVICES": "2,3"}), visible_gpus(2, {})
    (['2', '3'], ['0', '1'])
    """
    named = [gpu.strip() for gpu in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu.strip()]
    return named[:count] if named else [str(i) for i in range(count)]


def local_ranks(environ: Mapping[str, str] = os.environ) -> int:
    """Processes that learn on this machine, as torchrun tells them."""
    return int(environ.get("LOCAL_WORLD_SIZE", "1"))


def per_server(flags: Sequence[str]) -> int:
    """GPUs of one server, by its flags.

    >>> per_server(["--tensor-parallel-size", "2", "-pp=2"]), per_server([])
    (4, 1)
    """
    words = [word for flag in flags for word in flag.split("=", 1)]
    count = 1
    for word, value in pairwise([*words, ""]):
        if word in _SPLIT and value.isdigit():
            count *= int(value)
    return count
