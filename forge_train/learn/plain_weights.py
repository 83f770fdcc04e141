"""The plain model's weights on their way elsewhere: some at a time, cast where they lie, then gathered.

    part of each process --merge its adapter, cast--> part in the other's dtype --gather--> a whole bucket

A bucket (256 MB, or one larger matrix) is all that exists beside the model, however large that is, and in
bfloat16 half as many bytes travel between processes as in float32. With several processes all must gather the
same names at the same time, and nobody sends while others gather: what is sent is a whole bucket of rank 0's
(a send that waits for a receiver, amid collectives that wait for the sender, hangs: TRL #7103).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from forge_train.learn.distributed import gathered
from forge_train.learn.lora import NAME, has_lora

BUCKET = 2**28
"""Bytes of whole weights that exist at one time."""
MERGED_AT_ONCE = 2**20
"""Numbers of a layer that are computed in float32 at one time while its adapter is merged."""

_gather = (
    getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
)  # its name before torch 2.13

Weights = Callable[[torch.dtype | None], Iterator[Mapping[str, Tensor]]]
"""All weights by name, a bucket at a time, floats as the dtype given. A bucket is read and let go (`del`: a
loop would keep it) before the next is asked for, and before the next update."""


def weight_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of the plain model's weights, in order; shared ones once."""
    return {name: value.shape for name, value in _plain(model).items()}


def weight_bytes(model: nn.Module, dtype: torch.dtype | None) -> dict[str, int]:
    """The size of each, floats as `dtype`."""
    return {n: w.numel() * _target(w, dtype).itemsize for n, w in _plain(model).items()}


def buckets(model: nn.Module, dtype: torch.dtype | None, at_once: int = BUCKET) -> list[list[str]]:
    """Their names, dealt in order into buckets of at most `at_once` bytes or one weight.

    Where parts are gathered, that of the last weight is there beside the bucket: there is room left for it.
    """
    dealt: list[list[str]] = []
    size, part = at_once, 0
    for name, count in weight_bytes(model, dtype).items():
        if size + count + max(part, count // 2) > at_once:
            dealt.append([])
            size, part = 0, 0
        dealt[-1].append(name)
        size, part = size + count, max(part, count // 2)
    return dealt


def model_weights(
    model: nn.Module, dtype: torch.dtype | None = None, at_once: int = BUCKET
) -> Iterator[dict[str, Tensor]]:
    """`Weights` of a model that this process holds alone; what needs no cast and no merge is no copy."""
    for names in buckets(model, dtype, at_once):
        yield gather_weights(model, names, dtype)


def base_weights(
    model: nn.Module, dtype: torch.dtype | None = None, at_once: int = BUCKET
) -> Iterator[dict[str, Tensor]]:
    """The same without the adapters."""
    for names in buckets(model, dtype, at_once):
        yield gather_weights(model, names, dtype, merged=False)


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """All of `model_weights` at once."""
    return {name: value for bucket in model_weights(model) for name, value in bucket.items()}


def gather_weights(
    model: nn.Module, names: list[str], dtype: torch.dtype | None = None, *, merged: bool = True
) -> dict[str, Tensor]:
    """The plain model's weights of these names, whole, adapters merged, floats as `dtype`, without gradient.

    With several processes all must call it, with the same names. Weights that are neither spread, adapted nor
    cast are the model's own, not copies: read them before the next update.
    """
    weights = _plain(model)
    layers = dict(model.named_modules()) if merged and has_lora(model) else {}
    found = {}
    for name in names:
        weight, layer = weights[name], layers.get(name.removesuffix(".weight"))
        target = _target(weight, dtype)
        part = _local(weight)
        part = _merged(part, layer, target) if hasattr(layer, "lora_A") else part.to(target)
        found[name] = _whole(part, weight)
        del part
    return found


def _plain(model: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if ".lora_" not in name and id(value) not in seen:
            seen.add(id(value))
            found[name.replace(".base_layer.", ".")] = value.detach()
    return found


def _target(weight: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and weight.is_floating_point() else weight.dtype


def _local(weight: Tensor) -> Tensor:
    return weight.to_local() if isinstance(weight, DTensor) else weight


def _whole(part: Tensor, like: Tensor) -> Tensor:
    """`part` of this process and those of the others, which is how `like` is spread.

    Gathered into its final place: `DTensor.full_tensor` would hold the whole of it twice.
    """
    if not isinstance(like, DTensor):
        return part
    axis = next(i for i, placed in enumerate(like.placements) if isinstance(placed, Shard))
    group = like.device_mesh.get_group(axis)
    count = dist.get_world_size(group)
    rows = -(-like.shape[0] // count)  # of a part, as torch.chunk cuts; the last ones may have fewer
    found = torch.empty((rows * count, *like.shape[1:]), dtype=part.dtype, device=part.device)
    if len(part) < rows:
        part = torch.cat([part, part.new_empty((rows - len(part), *like.shape[1:]))])
    _gather(found, part.contiguous(), group=group)
    return found[: like.shape[0]]


def _merged(part: Tensor, layer: Any, dtype: torch.dtype) -> Tensor:
    """A part of a weight with the adapter of its layer added, in float32, some rows at a time.

    Rows of the weight are rows of B, so both are cut at the same places; A, which is small, is needed whole.
    """
    a, b = gathered(layer.lora_A[NAME].weight.detach()), _local(layer.lora_B[NAME].weight.detach())
    scale: float = layer.scaling[NAME]
    found = torch.empty(part.shape, dtype=dtype, device=part.device)
    rows = max(MERGED_AT_ONCE // max(part.shape[1], 1), 1)
    for low in range(0, len(part), rows):
        some = slice(low, low + rows)
        found[some] = part[some] + scale * (b[some] @ a)
    return found
