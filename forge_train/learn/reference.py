"""The policy as it was: what the trained weights were, to be put back for the time of a forward pass.

No second model: a copy of what is trained (with adapters, of the adapters alone), which changes places with
the weights while a batch is scored. So whatever computes with the weights computes with the reference, in
the same precision, sharded or not, and each process holds its own part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import AutoModelForCausalLM

from forge_train.learn.distributed import Processes
from forge_train.record.checkpoint import load_tensors, save_tensors
from forge_train.refusals import first_line


class Reference:
    """A copy of the trained weights of `model`, as they are when it is made."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._kept = {name: p.detach().clone() for name, p in self._trained.items()}

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
        """Become a model of these weights, by parameter name; rank 0 gives them, all must call it.

        Raises ValueError where they are not those of a model like the policy.
        """
        if processes is None or processes.leads:
            refuse_unlike(self._trained, weights)
        for name, kept in self._kept.items():
            _local(kept).copy_(_part(kept, weights.get(name), processes))

    def save(self, folder: Path) -> None:
        """Write it, each process its part; all must call it."""
        save_tensors(folder, self._kept)

    def load(self, folder: Path) -> None:
        """Become what `save` wrote, by however many processes; all must call it."""
        load_tensors(folder, self._kept)

    @torch.no_grad()
    def _change_places(self) -> None:
        for name, parameter in self._trained.items():
            own, kept = _local(parameter.detach()), _local(self._kept[name])
            now = own.clone()
            own.copy_(kept)
            kept.copy_(now)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a model that transformers reads, by parameter name. ValueError where it is none."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a broken model
        raise ValueError(
            f'reference.path = "{folder}": no model could be loaded from it ({first_line(error)}); use a '
            "complete copy"
        ) from error
    return dict(model.state_dict())


def refuse_unlike(trained: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless `weights` has each of the policy's, in its shape."""
    for name, parameter in trained.items():
        given = weights.get(name)
        if given is None or given.shape != parameter.shape:
            theirs = "is not there" if given is None else f"has the shape {list(given.shape)}"
            raise ValueError(
                f"reference.path: {name} {theirs} instead of {list(parameter.shape)}: another vocabulary or "
                "architecture than the policy's; use a model that was trained from the same one"
            )


def _local(value: Tensor) -> Tensor:
    """This process's part, not a copy."""
    return value.to_local() if isinstance(value, DTensor) else value


def _part(like: Tensor, whole: Tensor | None, processes: Processes | None) -> Tensor:
    """This process's part of a weight that only rank 0 has whole."""
    if whole is None:
        whole = torch.empty(like.shape)
    whole = whole.to(like.device, like.dtype).contiguous()
    if isinstance(like, DTensor):
        return distribute_tensor(whole, like.device_mesh, like.placements).to_local()
    if processes is not None:
        dist.broadcast(whole, src=0)
    return whole
