"""Safetensors files written weight by weight: none is held but the one that is being written.

The format is a length, a header with every weight's type, shape and place, and the bytes. Types and shapes
are known before anything is computed, so that the header can stand first.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from forge_train.merging.sources import DTYPES
from forge_train.record.model_files import INDEX, ONE
from forge_train.record.run_folder import sync_folder, write_atomic

NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Planned:
    """A weight that will be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its length in the file."""
        return int(torch.Size(self.shape).numel()) * self.dtype.itemsize


def cut(planned: Iterable[Planned], most: int) -> list[list[Planned]]:
    """Weights in order, in files of at most `most` bytes; a larger weight has a file of its own.

    >>> a, b, c = (Planned(name, torch.float32, (2,)) for name in "abc")
    >>> [[p.name for p in shard] for shard in cut([a, b, c], 16)]
    [['a', 'b'], ['c']]
    """
    shards: list[list[Planned]] = []
    room = 0
    for one in planned:
        if not shards or one.bytes > room:
            shards.append([])
            room = most
        shards[-1].append(one)
        room -= one.bytes
    return shards


def names_of(count: int) -> list[str]:
    """What the files of a model in `count` of them are called."""
    if count == 1:
        return [ONE]
    return [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]


def write_shard(path: Path, shard: Sequence[Planned], value_of: Callable[[Planned], Tensor]) -> None:
    """Write a file whole or not at all. `value_of` is asked once for each weight, in order."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for one in shard:
        header[one.name] = {
            "dtype": NAMES[one.dtype],
            "shape": list(one.shape),
            "data_offsets": [place, place + one.bytes],
        }
        place += one.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the bytes begin at a multiple of 8, where they can be mapped
    aside = path.with_name(f".{path.name}.part")
    with open(aside, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for one in shard:
            value = value_of(one)
            assert (value.dtype, tuple(value.shape)) == (one.dtype, one.shape), one
            file.write(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            del value
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_folder(path.parent)


def write_index(folder: Path, shards: Sequence[Sequence[Planned]]) -> None:
    """Which file holds which weight; a model in one file needs no list."""
    if len(shards) == 1:
        return
    names = names_of(len(shards))
    where = {one.name: names[i] for i, shard in enumerate(shards) for one in shard}
    total = sum(one.bytes for shard in shards for one in shard)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    write_atomic(folder / INDEX, json.dumps(index, indent=1, sort_keys=True).encode())
