"""A model folder as transformers and vLLM read it, written from weights that come in buckets, a file each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor
from transformers.utils import logging as transformers_logging

ONE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def write_model(
    model: Any, weights: Iterable[Mapping[str, Tensor]], folder: Path, *, untied: bool = False
) -> None:
    """Write `weights` under the names a checkpoint of `model` has, with its configs; one bucket is held.

    `untied`: an output head that shares its matrix with the embeddings is written too, as one of its own.
    """
    twins = _twins(model) if untied else {}
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, int] = {}
    count = total = 0
    for bucket in weights:
        held = {name: value.detach().to("cpu") for name, value in bucket.items()}
        del bucket
        for shard in [held, *({twins[n]: w} for n, w in held.items() if n in twins)]:
            total += sum(w.nbytes for w in shard.values())
            where |= dict.fromkeys(_write_shard(model, shard, folder, count), count)
            count += 1
        del held, shard
    _name_shards(folder, where, count, total)


def _write_shard(model: Any, shard: dict[str, Tensor], folder: Path, number: int) -> list[str]:
    """The library's own way for one part of a state dict; returns the names in the file.

    Those may differ from ours: some models are saved under older names than they are computed with.
    """
    aside = folder / ".shard"
    with quiet():
        model.save_pretrained(aside, state_dict=shard, max_shard_size="1TB")
    (aside / ONE).rename(folder / f".shard-{number}")
    for path in aside.iterdir():  # configs and code: the same each time
        path.replace(folder / path.name)
    shutil.rmtree(aside)
    with safe_open(folder / f".shard-{number}", "pt") as file:
        return list(file.keys())


def _name_shards(folder: Path, where: Mapping[str, int], count: int, total: int) -> None:
    if count == 1:
        (folder / ".shard-0").rename(folder / ONE)
        return
    names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    for i, name in enumerate(names):
        (folder / f".shard-{i}").rename(folder / name)
    index = {"metadata": {"total_size": total}, "weight_map": {n: names[i] for n, i in where.items()}}
    (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True))


def tied_head(model: Any) -> bool:
    """Whether the output head is the embeddings' matrix."""
    return bool(getattr(model.config, "tie_word_embeddings", False))


def _twins(model: Any) -> dict[str, str]:
    """The name of the matrix that embeddings and head share, and the other name that it has."""
    if not tied_head(model):
        return {}
    pair = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [f"{name}.weight" for name, module in model.named_modules() if module in pair]
    return {names[0]: names[1]} if len(names) == 2 else {}


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of the library amid ours."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
