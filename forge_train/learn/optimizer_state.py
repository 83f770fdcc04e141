"""The optimizer's state on disk: both moments of every trained parameter, by name; of Muon's matrices one.

Each process writes the parts that it holds; any number of processes can read them, one included.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forge_train.learn.muon import MOMENTUM
from forge_train.record.checkpoint import MOMENTS, load_tensors, save_tensors

KINDS = ("exp_avg", "exp_avg_sq")
"""Of AdamW."""


def save_moments(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write into `folder`/moments; nothing before the first step."""
    if optimizer.state:
        save_tensors(folder / MOMENTS, _moments(model, optimizer))


def load_moments(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Give `optimizer` the state it had after `steps` steps. CheckpointError when it does not fit.

    Where that was taken out (`forge_train.record.retention`), moments begin anew, with a warning.
    """
    optimizer.state.clear()
    if not steps:
        return
    if not (folder / MOMENTS).is_dir():
        warnings.warn(
            f"{folder} is an older checkpoint, without the optimizer's state: its moments begin anew, and "
            "updates differ from those of the first time (run.keep_optimizer keeps the state of more)",
            stacklevel=2,
        )
        return
    for group in optimizer.param_groups:
        for p in group["params"]:
            moments = {kind: torch.zeros_like(p, requires_grad=False) for kind in kinds_of(group)}
            counted = {} if group.get("muon") else {"step": torch.tensor(float(steps), device=p.device)}
            optimizer.state[p] = counted | moments
    load_tensors(folder / MOMENTS, _moments(model, optimizer))


def move_moments(optimizer: torch.optim.Optimizer, device: torch.device | None) -> None:
    """Move the optimizer's state to `device`, or back to where each parameter is; what is there stays.

    On a GPU the memory goes back to the driver: another process is to have it.
    """
    for p, state in optimizer.state.items():
        for kind, value in state.items():
            state[kind] = value.to(device or p.device)
    if device is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def kinds_of(group: Mapping[str, Any]) -> tuple[str, ...]:
    """What an optimizer remembers of the parameters of a group."""
    return (MOMENTUM,) if group.get("muon") else KINDS


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    kinds = {id(p): kinds_of(group) for group in optimizer.param_groups for p in group["params"]}
    return {
        f"{name}.{kind}": optimizer.state[p][kind].detach()
        for name, p in model.named_parameters()
        if p.requires_grad
        for kind in kinds[id(p)]
    }
