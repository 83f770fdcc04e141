"""One model out of several: checked, planned, written weight by weight, and put in place when it is whole.

    headers -> do they match? -> plan -> shard by shard: read one weight of each, merge, write -> rename

A merge that is killed leaves `.OUT.merging` beside OUT and nothing at OUT; the same command goes on with the
first shard that is missing. What is dropped by chance (DARE) depends on the seed and the weight's name, so
that it does not matter where a merge was cut.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forge_train.merging.methods import MEASURED, WITHOUT_BASE, Recipe
from forge_train.merging.shards import Planned, cut, names_of, write_index, write_shard
from forge_train.merging.sources import Source, weights_of
from forge_train.record.checkpoint import ADAPTER_CONFIG, MANIFEST, STATE
from forge_train.record.model_files import INDEX
from forge_train.record.run_folder import sync_folder, write_atomic
from forge_train.seeds import derive_seed
from forge_train.show.live import Progress

PLAN = "plan.json"
RECORD = "merge.json"
"""File in the merged model that tells what it was made of."""
SHARD_BYTES = 5 * 10**9
"""Most bytes of an output file, as transformers writes them."""
NOT_COPIED = frozenset({ADAPTER_CONFIG, MANIFEST, STATE, INDEX, RECORD, PLAN})
SUFFIXES = frozenset({".json", ".jinja", ".model", ".txt", ".py", ".md"})
"""Of what goes with weights: configs, tokenizer, chat template, code."""


@dataclass(slots=True)
class Tally:
    """What experts changed, summed over entries; a shard's, or of all."""

    energy: list[float] = field(default_factory=list)
    """Sum of squares of each expert's changes."""
    merged: float = 0.0
    """That of the merged change."""
    entries: int = 0
    opposed: int = 0
    """Entries that two experts moved in opposite directions."""

    def add(self, deltas: Sequence[Tensor], change: Tensor) -> None:
        """Count one weight."""
        found = [float(delta.double().square().sum()) for delta in deltas]
        self.energy = [a + b for a, b in zip(self.energy or [0.0] * len(found), found, strict=True)]
        self.merged += float(change.double().square().sum())
        self.entries += change.numel()
        low, high = reduce(torch.minimum, deltas), reduce(torch.maximum, deltas)
        self.opposed += int(((low < 0) & (high > 0)).sum())

    def __add__(self, other: Tally) -> Tally:
        energy = (
            [a + b for a, b in zip(self.energy, other.energy, strict=True)] if self.energy else other.energy
        )
        return Tally(
            energy,
            self.merged + other.merged,
            self.entries + other.entries,
            self.opposed + other.opposed,
        )

    def as_record(self, experts: Sequence[Source]) -> dict[str, Any]:
        """What people read: lengths of the changes, and how far experts disagree."""
        return {
            "changes": {str(e.asked): math.sqrt(s) for e, s in zip(experts, self.energy, strict=True)},
            "merged_change": math.sqrt(self.merged),
            "entries": self.entries,
            "opposed": self.opposed / max(self.entries, 1),
        }


class Merger:
    """Merges one weight when asked for it, and counts what it saw."""

    def __init__(
        self, base: Source | None, experts: Sequence[Source], recipe: Recipe, done: Callable[[], None]
    ) -> None:
        self.base = base or experts[0]
        self.experts = experts
        self.recipe = recipe
        self.done = done
        self.tally = Tally()

    def __call__(self, one: Planned) -> Tensor:
        """The merged weight. What is no float (a table of numbers) must be the same in all."""
        stored = self.base.read(one.name)
        self.done()
        if not one.dtype.is_floating_point:
            for expert in self.experts:
                if not torch.equal(expert.read(one.name), stored):
                    raise ValueError(f"{expert.asked}: {one.name} holds integers, and others than the base's")
            return stored
        exact = torch.promote_types(stored.dtype, torch.float32)
        start = stored.to(exact)
        deltas = [expert.read(one.name).to(exact) - start for expert in self.experts]
        seed = derive_seed(self.recipe.seed, "merge", one.name)
        change = self.recipe.change(deltas, torch.Generator().manual_seed(seed))
        self.tally.add(deltas, change)
        return (start + change).to(one.dtype)


def merge(
    experts: Sequence[Path],
    out: Path,
    recipe: Recipe,
    *,
    base: Path | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, Any]:
    """Merge `experts`, all trained from `base`, into a new folder `out`; returns what `merge.json` tells.

    Weights are stored as `dtype`, by default as theirs were, the widest where they differ; merged in float32.
    Configs, tokenizer and template are those of the first expert. Raises ValueError for what does not match,
    and for an `out` that exists.
    """
    _refuse(experts, out, recipe, base)
    start = None if base is None else Source(base)
    found = [Source(path) for path in experts]
    sources = [start, *found] if start is not None else found
    planned = plan(sources, dtype)
    _hear_alike(found)
    shards = cut(planned, shard_bytes)
    told = {"recipe": asdict(recipe), "dtype": str(dtype), "shard_bytes": shard_bytes}
    aside = _aside(out, told | {"sources": [source.identity() for source in sources]})
    tally = Tally()
    with Progress(f"merge {recipe.method}", total=len(planned)) as progress:
        for shard, name in zip(shards, names_of(len(shards)), strict=True):
            record = aside / f".{name}.json"
            if record.is_file():  # it is written after the shard, which therefore is whole
                progress.advance(len(shard))
            else:
                merger = Merger(start, found, recipe, progress.advance)
                write_shard(aside / name, shard, merger)
                write_atomic(record, json.dumps(asdict(merger.tally)).encode())
            tally += Tally(**json.loads(record.read_text()))
    _copy_beside(found[0].folder, aside, planned)
    write_index(aside, shards)
    result = {
        **asdict(recipe),
        "density": recipe.kept,
        "weights": _told_weights(recipe),
        "base": base and str(base),
    }
    result |= {"experts": [str(path) for path in experts], **(tally.as_record(found) if base else {})}
    write_atomic(aside / RECORD, json.dumps(result, indent=1).encode())
    for leftover in (aside / PLAN, *aside.glob(".*.json")):
        leftover.unlink()
    os.rename(aside, out)
    sync_folder(out.parent)
    return result


def plan(sources: Sequence[Source], dtype: torch.dtype | None) -> list[Planned]:
    """Every weight of the merged model, in order. ValueError when the sources are of different models."""
    planned = []
    for name in weights_of(sources):
        entries = [source.entries[name] for source in sources]
        widest = reduce(torch.promote_types, [entry.dtype for entry in entries])
        planned.append(Planned(name, (dtype if entries[0].floating else None) or widest, entries[0].shape))
    return planned


def _refuse(experts: Sequence[Path], out: Path, recipe: Recipe, base: Path | None) -> None:
    if base is None and recipe.method not in WITHOUT_BASE:
        raise ValueError(
            f"{recipe.method} merges what experts changed: say of what with --base FOLDER, the model that "
            f"they were trained from, or use {' or '.join(sorted(WITHOUT_BASE))}"
        )
    if len(experts) < 2 and recipe.method != "task_arithmetic":
        raise ValueError(f"{len(experts)} experts: give at least two; only task_arithmetic scales one")
    if len(recipe.weights) != len(experts):
        raise ValueError(f"{len(recipe.weights)} weights for {len(experts)} experts: give one each")
    if recipe.method in MEASURED and len(set(recipe.weights)) > 1:
        raise ValueError(f"weights={list(recipe.weights)}: {recipe.method} measures its own; leave them out")
    if out.exists():
        raise ValueError(f"{out} exists; choose another folder, or remove it")


def _told_weights(recipe: Recipe) -> list[float] | None:
    return None if recipe.method in MEASURED else list(recipe.weights)


def _hear_alike(experts: Sequence[Source]) -> None:
    """Warn of experts that were spoken to in different ways: the merged model is spoken to in one."""
    first, *others = [_template(expert.folder) for expert in experts]
    for expert, template in zip(experts[1:], others, strict=True):
        if template != first:
            warnings.warn(
                f"{expert.asked} has another chat template than {experts[0].asked}; the merged model gets "
                "the latter's",
                stacklevel=3,
            )


def _template(folder: Path) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    file = folder / "tokenizer_config.json"
    told: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return told.get("chat_template")


def _aside(out: Path, told: Mapping[str, Any]) -> Path:
    """The folder to write into: a new one, or that of the same merge, which was killed."""
    aside = out.with_name(f".{out.name}.merging")
    text = json.dumps(told, indent=1, sort_keys=True)
    file = aside / PLAN
    if aside.exists() and not (file.is_file() and file.read_text() == text):
        shutil.rmtree(aside)  # of another merge, or of these files as they were before
    aside.mkdir(parents=True, exist_ok=True)
    if not file.is_file():
        write_atomic(file, text.encode())
    return aside


def _copy_beside(folder: Path, aside: Path, planned: Sequence[Planned]) -> None:
    """What a model has beside its weights; its config tells what the weights are stored as."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in SUFFIXES and file.name not in NOT_COPIED:
            shutil.copyfile(file, aside / file.name)
    config = json.loads((aside / "config.json").read_text())
    dtypes = {str(one.dtype).removeprefix("torch.") for one in planned if one.dtype.is_floating_point}
    key = "torch_dtype" if "torch_dtype" in config else "dtype"
    if len(dtypes) == 1:
        config[key] = dtypes.pop()
    write_atomic(aside / "config.json", json.dumps(config, indent=2).encode())
