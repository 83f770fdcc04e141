"""The policy as it was: what the trained weights were, to be put back for the time of a forward pass.

No second model: a copy of what is trained (with adapters, of the adapters alone), which changes places with
the weights while a batch is scored. So whatever computes with the weights computes with the reference, in
the same precision, sharded or not, and each process holds its own part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import AutoModelForCausalLM

from forge_train.learn.distributed import Processes
from forge_train.refusals import first_line


class Reference:
    """A copy of the trained weights of `model`, as they are when it is made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._kept = [_local(p).clone() for p in _trained(model).values()]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the reference's weights, then its own again, to the bit."""
        self._change_places()
        try:
            yield
        finally:
            self._change_places()

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor], processes: Processes | None) -> None:
        """Become the model of these weights, by parameter name; rank 0 gives them, all must call it.

        Raises ValueError where they are not those of a model like the policy.
        """
        trained = _trained(self._model)
        if processes is None or processes.leads:
            refuse_unlike(trained, weights)
        for (name, parameter), kept in zip(trained.items(), self._kept, strict=True):
            kept.copy_(_part(parameter, weights.get(name), processes))

    def state(self) -> dict[str, Tensor]:
        """A copy of this process's parts, by parameter name."""
        return {n: kept.clone() for n, kept in zip(_trained(self._model), self._kept, strict=True)}

    @torch.no_grad()
    def _change_places(self) -> None:
        for parameter, kept in zip(_trained(self._model).values(), self._kept, strict=True):
            own = _local(parameter)
            now = own.clone()
            own.copy_(kept)
            kept.copy_(now)


ADAPTERS = "adapters.safetensors"


def write_adapters(adapters: Mapping[str, Tensor], folder: Path) -> None:
    """Write adapters, by parameter name, for `read_reference`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.cpu().contiguous() for name, value in adapters.items()}, folder / ADAPTERS)


def read_reference(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder by parameter name: adapters, or those of a model that transformers reads."""
    if (folder / ADAPTERS).is_file():
        return load_file(folder / ADAPTERS)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a broken model
        raise ValueError(
            f"reference {folder}: no model could be loaded from it ({first_line(error)}); use a complete copy"
        ) from error
    return dict(model.state_dict())


def refuse_unlike(trained: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless `weights` has each of the policy's, in its shape."""
    for name, parameter in trained.items():
        given = weights.get(name)
        if given is None or given.shape != parameter.shape:
            theirs = "is not there" if given is None else f"has the shape {list(given.shape)}"
            raise ValueError(
                f"reference.path: {name} {theirs} instead of {list(parameter.shape)}: another vocabulary or "
                "architecture than the policy's; use a model that was trained from the same one"
            )


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """What moves; a matrix that two names share, once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _local(parameter: Tensor) -> Tensor:
    """This process's part, not a copy."""
    value = parameter.detach()
    return value.to_local() if isinstance(value, DTensor) else value


def _part(parameter: Tensor, whole: Tensor | None, processes: Processes | None) -> Tensor:
    """This process's part of a weight that only rank 0 has whole."""
    if whole is None:
        whole = torch.empty(parameter.shape)
    whole = whole.to(parameter.device, parameter.dtype)
    if isinstance(parameter, DTensor):
        return distribute_tensor(whole, parameter.device_mesh, parameter.placements).to_local()
    if processes is not None:
        dist.broadcast(whole, src=0)
    return whole
