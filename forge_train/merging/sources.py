"""Checkpoints on disk, weight by weight: what they hold, whether they match, and one weight when asked.

Only the headers of safetensors files are read to compare (a few kilobytes each), so that what does not match
is refused before a byte of weights is.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from forge_train.record.checkpoint import model_folder
from forge_train.record.model_files import INDEX, ONE

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What a safetensors header calls each type; others, of quantised models, cannot be merged."""
HEAD = "lm_head.weight"
INCIDENTAL = frozenset(
    {
        "_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "max_position_embeddings",
        "pad_token_id", "torch_dtype", "transformers_version", "use_cache", "_attn_implementation",
    }
)  # fmt: skip
"""Keys of a config that change nothing a weight computes."""
SHOWN = 5
"""Differences that a refusal names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a weight lies and what it is."""

    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    """Of its first byte among the file's, so that a disk is read in order."""

    @property
    def floating(self) -> bool:
        """Whether it is a weight and no table of numbers."""
        return self.dtype.is_floating_point

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(torch.Size(self.shape).numel())


class Source:
    """A model folder, a checkpoint, or a run, which stands for its newest checkpoint."""

    def __init__(self, path: Path) -> None:
        """Read the headers. Raises ValueError for a folder without whole safetensors."""
        self.asked = path
        self.folder = model_folder(path.expanduser())
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        if "quantization_config" in self.config:
            raise ValueError(
                f"{path}: the model is quantised, and integers with scales do not add up; merge what it was "
                "quantised from"
            )
        self.entries: dict[str, Entry] = {}
        for file in self._files():
            self.entries |= _header(self.folder / file)
        missing = [name for name in self._listed() if name not in self.entries]
        if missing:
            raise ValueError(f"{path}: {INDEX} lists {missing[0]}, which no file holds; copy the model anew")
        self._open: tuple[str, Any] = ("", None)

    def read(self, name: str) -> Tensor:
        """One weight, as it is stored. The last file stays open."""
        file = self.entries[name].file
        if self._open[0] != file:
            self._open = (file, safe_open(self.folder / file, "pt"))
        value: Tensor = self._open[1].get_tensor(name)
        return value

    @property
    def tied(self) -> bool:
        """Whether the output head is the embeddings' matrix."""
        return bool(self.config.get("tie_word_embeddings", False))

    def identity(self) -> list[Any]:
        """What changes when its files do."""
        stats = [(name, (self.folder / name).stat()) for name in self._files()]
        return [str(self.folder.resolve()), *([name, s.st_size, s.st_mtime_ns] for name, s in stats)]

    def vocabulary(self) -> dict[str, int]:
        """Token ids by token; empty where the tokenizer is of another kind, or there is none."""
        file = self.folder / "tokenizer.json"
        if not file.is_file():
            return {}
        told = json.loads(file.read_text(encoding="utf-8"))
        found = told["model"].get("vocab", {})
        if not isinstance(found, dict):  # unigram models have a list of (token, score)
            found = {token: i for i, (token, *_) in enumerate(found)}
        return found | {token["content"]: token["id"] for token in told.get("added_tokens", ())}

    def _listed(self) -> dict[str, str]:
        file = self.folder / INDEX
        return dict(json.loads(file.read_text())["weight_map"]) if file.is_file() else {}

    def _files(self) -> list[str]:
        names = sorted(set(self._listed().values())) or [ONE]
        absent = next((name for name in names if not (self.folder / name).is_file()), None)
        if absent is not None:
            raise ValueError(
                f"{self.asked}: {absent} is missing; merging reads safetensors, give all of them"
            )
        return names


def _header(path: Path) -> dict[str, Entry]:
    """The weights of a file. ValueError when it is cut off or holds what cannot be merged."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise ValueError(f"{path}: no safetensors file, or one that is cut off; copy it anew")
        told: dict[str, Any] = json.loads(file.read(length))
    found = {}
    for name, entry in told.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name} is {entry['dtype']}, of a quantised model; merge float weights")
        begin, end = entry["data_offsets"]
        if 8 + length + end > size:
            raise ValueError(f"{path}: cut off within {name}; copy it anew")
        found[name] = Entry(path.name, DTYPES[entry["dtype"]], tuple(entry["shape"]), begin)
    return found


def weights_of(sources: Sequence[Source]) -> list[str]:
    """The weights that all sources have, in the order of the first one's files.

    An output head that is the embeddings' matrix is left out: some write it and some do not. Raises
    ValueError for checkpoints of different models, naming what differs first.
    """
    first, *others = sources
    for other in others:
        problems = [*_configs(first, other), *_tensors(first, other), *_tokens(first, other)]
        if problems:
            more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise ValueError(
                f"{other.asked} does not match {first.asked}: {'; '.join(problems[:SHOWN])}{more}. Merge "
                "checkpoints that were trained from one model"
            )
    names = sorted(first.entries, key=lambda name: (first.entries[name].file, first.entries[name].offset))
    return [name for name in names if not (first.tied and name == HEAD)]


def _configs(a: Source, b: Source) -> list[str]:
    """Keys by which the same weights would compute something else."""
    keys = sorted((a.config.keys() | b.config.keys()) - INCIDENTAL)
    return [
        f"{key} is {b.config.get(key)!r} instead of {a.config.get(key)!r}"
        for key in keys
        if a.config.get(key) != b.config.get(key)
    ]


def _tensors(a: Source, b: Source) -> list[str]:
    tied = {HEAD} if a.tied and b.tied else set()
    found = [f"it lacks {name}" for name in a.entries if name not in b.entries.keys() | tied]
    found += [f"it has {name}" for name in b.entries if name not in a.entries.keys() | tied]
    for name, entry in a.entries.items():
        other = b.entries.get(name, entry)
        if other.shape != entry.shape:
            found.append(f"{name} is {list(other.shape)} instead of {list(entry.shape)}")
        elif other.floating != entry.floating:
            found.append(f"{name} is {other.dtype} instead of {entry.dtype}")
    return found


def _tokens(a: Source, b: Source) -> list[str]:
    """Tokens that mean another row of the embeddings."""
    ours, theirs = a.vocabulary(), b.vocabulary()
    if not ours or not theirs:
        return []
    return [
        f"its tokenizer gives {token!r} the id {theirs.get(token)} instead of {ours.get(token)}"
        for token in _in_order(ours, theirs)
        if ours.get(token) != theirs.get(token)
    ]


def _in_order(*vocabularies: Mapping[str, int]) -> list[str]:
    known = {token: i for ids in reversed(vocabularies) for token, i in ids.items()}
    return sorted(known, key=lambda token: known[token])
