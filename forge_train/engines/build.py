"""The vLLM engine a config asks for: servers, the way their weights travel, and the flags that takes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor

from forge_train.config import Config, VLLMConfig
from forge_train.config.hosts import is_loopback
from forge_train.engines.nccl import NCCLTransfer
from forge_train.engines.server_check import sizes_of
from forge_train.engines.server_processes import ServerProcesses
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.weights import AdapterTransfer, FolderTransfer, WeightTransfer, save_policy
from forge_train.learn.lora import adapter_state, has_lora, save_adapter
from forge_train.learn.plain_weights import Weights, base_weights

_RANKS = (8, 16, 32, 64, 128, 256, 512)
"""What vLLM takes as --max-lora-rank."""


def vllm_engine(
    config: Config,
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    weights: Weights | None = None,
    adapter: Callable[[], dict[str, Tensor]] | None = None,
) -> VLLMEngine:
    """An engine on the servers of `config.vllm`, still to be started with `await engine.start()`.

    Without `vllm.urls`, servers of our own are made for it, from a copy of `model` as it is now, with logs in
    `folder`; nothing runs before `start`. `weights` and `adapter` are where new ones come from, by default
    `model` itself; where several processes hold parts of it, the learner. Raises ValueError.
    """
    vllm = config.vllm
    colocated = config.rollout.placement == "colocated"
    if colocated and not vllm.urls and not torch.cuda.is_available():
        raise ValueError(
            'rollout.placement = "colocated": there is no GPU here, and on a CPU vLLM 0.32 cannot sleep; set '
            'rollout.placement = "separate"'
        )
    _refuse_strangers(config)
    transfer, flags = _transfer(config, model, weights, adapter)
    flags = (*flags, "--enable-sleep-mode") if colocated else flags
    servers = None
    if not vllm.urls:
        try:
            servers = _servers(config, model, tokenizer, folder, flags, weights)
        except BaseException:
            transfer.close()
            raise
    return VLLMEngine(
        servers.urls if servers else vllm.urls,
        vllm,
        max_context=config.rollout.max_context,
        transfer=transfer,
        processes=servers,
        sleeps=colocated,
        vocab=model.config.vocab_size,
        sizes=sizes_of(model),
    )


def _transfer(
    config: Config, model: Any, weights: Weights | None, adapter: Callable[[], dict[str, Tensor]] | None
) -> tuple[WeightTransfer, tuple[str, ...]]:
    """How weights travel, and what servers must be told to take them that way."""
    vllm = config.vllm
    folder = Path(vllm.folder).expanduser() if vllm.folder else None
    if vllm.transfer == "folder":
        return FolderTransfer(model, folder, dtype=_dtype(vllm), weights=weights), ()
    if vllm.transfer == "nccl":
        nccl = NCCLTransfer(model, dtype=_dtype(vllm), weights=weights)
        return nccl, ("--weight-transfer-config", '{"backend": "nccl"}')
    if not has_lora(model):
        raise ValueError(
            'vllm.transfer = "adapter": the model has none; set model.lora_rank, or use "folder"'
        )
    rank = next((r for r in _RANKS if r >= model.lora[0]), None)
    if rank is None:
        raise ValueError(f"model.lora_rank = {model.lora[0]}: vLLM serves adapters up to rank {_RANKS[-1]}")
    keep = max(2, 1 + config.rollout.latest)
    flags = ("--enable-lora", "--max-loras", str(keep), "--max-lora-rank", str(rank))
    save = partial(_save_adapter, model, adapter or partial(adapter_state, model))
    return AdapterTransfer(save, folder, keep=keep, rank=model.lora[0]), flags


def _servers(
    config: Config, model: Any, tokenizer: Any, folder: Path, flags: tuple[str, ...], weights: Weights | None
) -> ServerProcesses:
    vllm = config.vllm
    base: Weights | None = partial(base_weights, model) if vllm.transfer == "adapter" else weights
    start = folder.resolve() / "model"
    shutil.rmtree(start, ignore_errors=True)  # that of the run before it was continued
    return ServerProcesses(
        save_policy(model, tokenizer, start, dtype=_dtype(vllm), weights=base),
        python=vllm.python,
        logs=folder,
        count=vllm.count,
        host=vllm.host,
        port=vllm.port,
        max_context=config.rollout.max_context,
        dtype=vllm.dtype,
        flags=[*flags, *vllm.flags],
        gpus=vllm.gpus,
        env=vllm.env,
        start_s=vllm.start_s,
        restarts=vllm.restarts,
    )


def _refuse_strangers(config: Config) -> None:
    """Machines that cannot see each other's weights or servers; ValueError with the key that joins them."""
    vllm = config.vllm
    away = [url for url in vllm.urls if not _here(url)]
    if away and vllm.transfer != "nccl" and not vllm.folder:
        raise ValueError(
            f'vllm.folder = "": weights are left in the memory of this machine, and {away[0]} may be '
            'another; name a folder that both see (when it is this one, "/dev/shm")'
        )
    cluster = os.environ.get("RAY_ADDRESS") or "local"
    if config.rollout.workers != "ray" or cluster in ("local", "auto") or _here(cluster):
        return
    near = [url for url in vllm.urls or (f"http://{vllm.host}",) if _here(url)]
    if near:
        key = "vllm.urls" if vllm.urls else "vllm.host"
        raise ValueError(
            f'rollout.workers = "ray" on {cluster}: workers on other machines do not reach {near[0]}; set '
            f"{key} to the address of the servers' machine in the network"
        )


def _here(address: str) -> bool:
    """Whether an address is for this machine alone.

    >>> _here("http://localhost:8000"), _here("127.0.0.1:6379"), _here("ray://10.0.0.7:10001")
    (True, True, False)
    """
    return is_loopback(urlsplit(address if "://" in address else f"//{address}").hostname or "")


def _dtype(vllm: VLLMConfig) -> torch.dtype:
    return torch.bfloat16 if vllm.dtype == "bfloat16" else torch.float32


def _save_adapter(model: Any, adapter: Callable[[], dict[str, Tensor]], folder: Path) -> None:
    folder.mkdir(parents=True)
    save_adapter(model, adapter(), folder)
