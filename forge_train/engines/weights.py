"""How the learner's weights reach engines that have weights of their own.

A transfer makes one version available (`publish`) and then has servers take it (`load`), so that a server
that was away can take it later. Requests in flight go on: they are frozen while the weights change.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from forge_train.engines.vllm_http import Client
from forge_train.learn.lora import gather_weights, weight_names
from forge_train.record.checkpoint import quiet

Weights = Callable[[], Mapping[str, Tensor]]
"""The full weights by name, gathered when called."""

_CONTROL = 30.0
"""Seconds for requests that move no weights."""


class WeightTransfer(Protocol):
    """Ships the learner's weights to servers, one version after the other."""

    needs: Mapping[str, str]
    """Flags that servers must be started with, by the section of vLLM's configuration that they fill."""

    async def publish(self, version: int) -> None:
        """Take the learner's weights as they are and call them `version`; the learner may go on after."""
        ...

    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        """Have a server take the published `version`; raises ServerError and may leave it unusable.

        Servers are loaded at the same time, each from a call of its own. One that is `asleep` but for its
        weights samples nothing, and must not begin to here: it is neither paused nor resumed.
        """
        ...

    def model(self, version: int) -> str | None:
        """What requests for `version` name as their model; None: whatever the server has loaded."""
        ...

    def close(self) -> None:
        """Remove what was left for servers to read."""
        ...


class FolderTransfer:
    """Full weights through a folder of safetensors that trainer and servers both see.

    `folder`: where versions are written, by default in memory (/dev/shm) on this machine; on several
    machines a shared file system. `dtype`: that of the files; the server's own saves half the bytes.
    `weights`: gathers the full weights, by default those of `model` with its adapters merged; it may be
    replaced later, by `Learner.full_weights` where processes share a model.

    Only the newest version stays on disk. Tied embeddings are written under both names: see `save_policy`.
    """

    needs: Mapping[str, str] = {}

    def __init__(
        self,
        model: nn.Module,
        folder: Path | None = None,
        *,
        dtype: torch.dtype = torch.bfloat16,
        weights: Weights | None = None,
    ) -> None:
        self._model = model
        self.weights: Weights = weights or partial(plain_weights, model)
        self._dtype = dtype
        self._scratch = Scratch(folder)
        self.folder = self._scratch.path

    async def publish(self, version: int) -> None:
        """Write the weights, in a thread; they are there whole or not at all.

        Raises ValueError when the folder has no room. Older ones go first: memory may not hold two.
        """
        await asyncio.to_thread(self._write, version)

    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        """Pause, reload from the folder, name the version, resume; see `WeightTransfer`."""
        folder = self.path(version)
        if not folder.is_dir():  # asking for it anyway would end the server's engine
            raise ValueError(f"version {version} is not published: there is no {folder}")
        if not asleep:
            await server.pause(timeout)
        await server.reload(folder, timeout)
        await server.name_version(str(version), _CONTROL)
        if not asleep:
            await server.resume(_CONTROL)

    def model(self, version: int) -> str | None:
        """A server has one model, of one version at a time."""
        return None

    def path(self, version: int) -> Path:
        """Where a version lies while it is the newest."""
        return self.folder / f"version-{version:06d}"

    def close(self) -> None:
        """Remove the folder."""
        self._scratch.close()

    def _write(self, version: int) -> None:
        for old in self.folder.iterdir():
            shutil.rmtree(old, ignore_errors=True)
        aside = self.folder / ".writing"
        save_weights(self._model, self.weights(), aside, dtype=self._dtype, key="vllm.folder")
        aside.rename(self.path(version))


class AdapterTransfer:
    """A LoRA adapter, a few megabytes, under a new name each time it is published.

    `save(folder)` writes it in PEFT's format (`PeftModel.save_pretrained` does). Servers run with
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and --max-loras of at least `keep`. Requests in flight
    end under the adapter they began with, so the newest `keep` stay loaded and no action spans two versions:
    with groups that are trained up to `max_lag` updates late, an action may need 1 + `max_lag` of them.
    """

    needs: Mapping[str, str] = {"lora_config": "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"}

    def __init__(self, save: Callable[[Path], Any], folder: Path | None = None, *, keep: int = 2) -> None:
        if keep < 2:
            raise ValueError(f"keep={keep}: requests in flight need the version before; use 2 or more")
        self._save = save
        self._keep = keep
        self._scratch = Scratch(folder)
        self.folder = self._scratch.path
        self._names: dict[int, str] = {}
        """Of the versions that are kept, the newest last."""

    async def publish(self, version: int) -> None:
        """Write the adapter."""
        # Never a name again: a server may serve another run's adapter, or older weights, under it.
        name = f"{_ADAPTER}{version:06d}-{secrets.token_hex(4)}"
        await asyncio.to_thread(self._save, self.folder / name)
        self._names.pop(version, None)
        self._names = dict([*self._names.items(), (version, name)][-self._keep :])
        for old in self.folder.iterdir():
            if old.name not in self._names.values():
                shutil.rmtree(old, ignore_errors=True)

    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        """Load it beside those that are kept; older ones, and what another run left, are unloaded."""
        name, kept = self.model(version), set(self._names.values())
        there = await server.models(_CONTROL)  # a server that was started anew has none
        if name not in there:
            await server.load_adapter(name, self.folder / name, timeout)
        for old in there:
            if old.startswith(_ADAPTER) and old not in kept:
                await server.unload_adapter(old, _CONTROL)
        await server.name_version(str(version), _CONTROL)

    def model(self, version: int) -> str:
        """The adapter's name; raises ValueError for a version that is not, or no longer, published."""
        if version not in self._names:
            raise ValueError(f"version {version} is not published; those that are: {list(self._names)}")
        return self._names[version]

    def close(self) -> None:
        """Remove the folder."""
        self._scratch.close()


_ADAPTER = "forge-adapter-"


def save_policy(
    model: Any, tokenizer: Any, folder: Path, *, dtype: torch.dtype, weights: Weights | None = None
) -> Path:
    """Write a model folder to start servers from; returns it.

    Tied embeddings are written as two matrices and the config says that they are not tied: vLLM 0.32 on a CPU
    packs a tied output head once and keeps it when weights are reloaded (mean gap 1.8 nats).
    """
    gathered = (weights or partial(plain_weights, model))()
    save_weights(model, gathered, folder, dtype=dtype, key="run.out (serve --logs)")
    with quiet():
        tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": False}, indent=2))
    return folder


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights of `model` under the plain model's names, adapters merged; not copies."""
    return gather_weights(model, list(weight_names(model)))


def save_weights(
    model: Any, weights: Mapping[str, Tensor], folder: Path, *, dtype: torch.dtype, key: str
) -> None:
    """Write `weights` as safetensors under the names a checkpoint of `model` has, floats as `dtype`.

    An output head that shares its matrix with the embeddings is written too, as a matrix of its own. Raises
    ValueError when there is no room in `folder`, which is where the setting `key` says.
    """
    cast = {n: w.detach().to("cpu", dtype if w.is_floating_point() else w.dtype) for n, w in weights.items()}
    if getattr(model.config, "tie_word_embeddings", False):
        pair = (model.get_input_embeddings(), model.get_output_embeddings())
        names = [f"{name}.weight" for name, module in model.named_modules() if module in pair]
        matrix = next(cast[name] for name in names if name in cast)
        cast |= {name: matrix.clone() for name in names}  # where memory is shared, only one is written
    folder.mkdir(parents=True, exist_ok=True)
    size, free = sum(w.nbytes for w in cast.values()), shutil.disk_usage(folder).free
    if size > free:
        raise ValueError(
            f"{folder}: {size / 1e9:.2f} GB of weights, and {free / 1e9:.2f} GB are free there; set {key} to "
            "a place with more room (in a container memory is small: docker run --shm-size)"
        )
    with quiet():
        model.save_pretrained(folder, state_dict=cast)


class Scratch:
    """A folder of our own below `above`, by default in memory where the machine has such a place (/dev/shm).

    It ends with `close`. What a killed process left in memory is removed by the next one: a lock beside each
    folder, which ends with its process, says whose are in use.
    """

    def __init__(self, above: Path | None = None) -> None:
        shm = Path("/dev/shm")
        above = above or (shm if shm.is_dir() else Path(tempfile.gettempdir()))
        above.mkdir(parents=True, exist_ok=True)
        _sweep(above)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=above)).resolve()
        self._name = Path(f"{self.path}.lock")
        self._lock = os.open(self._name, os.O_CREAT | os.O_WRONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            self._name.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


_PREFIX = "forge-weights-"


def _sweep(above: Path) -> None:
    """Remove the folders whose processes are gone."""
    for path in above.glob(f"{_PREFIX}*.lock"):
        with suppress(OSError), path.open("w") as lock:  # BlockingIOError: it is in use
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
