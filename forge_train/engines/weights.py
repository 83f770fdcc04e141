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
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from forge_train.engines.tied_head import refuse_stale_head
from forge_train.engines.vllm_http import NOTHING_LOADED, Client
from forge_train.learn.plain_weights import Weights, model_weights, weight_bytes
from forge_train.record.model_files import quiet, tied_head, write_model

_CONTROL = 30.0
"""Seconds for requests that move no weights."""


class WeightTransfer(Protocol):
    """Ships the learner's weights to servers, one version after the other."""

    needs: Mapping[str, str]
    """Flags that servers must be started with, by the section of vLLM's configuration that they fill."""
    keeps: bool
    """Whether a published version can be had later too; else it goes to those who are there when it is."""

    def refuse(self, url: str, info: Mapping[str, Any]) -> None:
        """Raise ValueError for a server that cannot take these weights; `info` as `Client.info` has it."""
        ...

    async def publish(self, version: int, servers: Sequence[Client] = (), timeout: float = _CONTROL) -> None:
        """Take the learner's weights as they are and call them `version`; the learner may go on after.

        `servers` are those that will load it at once.
        """
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
    `weights`: where they come from, by default `model` with its adapters merged; where processes share a
    model, `Learner.weights`.

    A bucket at a time is gathered and written, a file each. Only the newest version stays. In /dev/shm it is
    main memory all the same: where that is short, name a disk. Tied embeddings are written under both names:
    see `save_policy`.
    """

    needs: Mapping[str, str] = {}
    keeps = True

    def __init__(
        self,
        model: nn.Module,
        folder: Path | None = None,
        *,
        dtype: torch.dtype = torch.bfloat16,
        weights: Weights | None = None,
    ) -> None:
        self._model = model
        self.weights: Weights = weights or partial(model_weights, model)
        self._dtype = dtype
        self._scratch = Scratch(folder)
        self.folder = self._scratch.path

    def refuse(self, url: str, info: Mapping[str, Any]) -> None:
        """Any server of the model can read files; one with a packed head would not use all of them."""
        refuse_stale_head(url, info.get("vllm_config", {}))

    async def publish(self, version: int, servers: Sequence[Client] = (), timeout: float = _CONTROL) -> None:
        """Write the weights, in a thread; they are there whole or not at all.

        Raises ValueError when the folder has no room. Older ones go first: memory may not hold two.
        """
        await asyncio.to_thread(self._write, version)

    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        """Pause, reload from the folder, name the version, resume; see `WeightTransfer`."""
        folder = self.path(version)
        if not folder.is_dir():  # asking for it anyway would end the server's engine
            raise ValueError(f"version {version} is not published: there is no {folder}")
        async with paused(server, timeout, asleep=asleep):
            await server.reload(folder, timeout)
            await server.name_version(str(version), _CONTROL)

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
        save_weights(self._model, self.weights, aside, dtype=self._dtype, key="vllm.folder")
        aside.rename(self.path(version))


class AdapterTransfer:
    """A LoRA adapter, a few megabytes, under a new name each time it is published.

    `save(folder)` writes it in PEFT's format (`PeftModel.save_pretrained` does). Servers run with
    VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and --max-loras of at least `keep`. Requests in flight
    end under the adapter they began with, so the newest `keep` stay loaded and no action spans two versions:
    with groups that are trained up to `max_lag` updates late, an action may need 1 + `max_lag` of them.
    """

    needs: Mapping[str, str] = {"lora_config": "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"}
    keeps = True

    def __init__(
        self, save: Callable[[Path], Any], folder: Path | None = None, *, keep: int = 2, rank: int = 1
    ) -> None:
        if keep < 2:
            raise ValueError(f"keep={keep}: requests in flight need the version before; use 2 or more")
        self._save = save
        self._keep, self._rank = keep, rank
        self._scratch = Scratch(folder)
        self.folder = self._scratch.path
        self._names: dict[int, str] = {}
        """Of the versions that are kept, the newest last."""

    def refuse(self, url: str, info: Mapping[str, Any]) -> None:
        """A server with room for smaller or fewer adapters; a run would find that out at its first load."""
        lora = info["vllm_config"].get("lora_config") or {}
        if lora.get("max_lora_rank", self._rank) < self._rank:
            raise ValueError(
                f"{url} takes adapters up to rank {lora['max_lora_rank']} and model.lora_rank is "
                f"{self._rank}: start it with --max-lora-rank {self._rank} or more, or lower model.lora_rank"
            )
        if lora.get("max_loras", self._keep) < self._keep:
            raise ValueError(
                f"{url} holds {lora['max_loras']} adapters at once, and actions under way need {self._keep} "
                f"with this rollout.max_lag: start it with --max-loras {self._keep}, or lower rollout.max_lag"
            )

    async def publish(self, version: int, servers: Sequence[Client] = (), timeout: float = _CONTROL) -> None:
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


@asynccontextmanager
async def paused(server: Client, timeout: float, *, asleep: bool = False) -> AsyncIterator[None]:
    """A server that holds still while its weights change, and goes on however that ends.

    When it ends badly, its weights are of no version. One that is `asleep` does neither.
    """
    try:
        if not asleep:
            await server.pause(timeout)
        yield
    except BaseException:
        await give_back(server, timeout, asleep=asleep)
        raise
    if not asleep:
        await server.resume(_CONTROL)


async def give_back(server: Client, timeout: float, *, asleep: bool = False) -> None:
    """After a load that failed: its weights are of no version, and it goes on for whoever else uses it."""
    limit = min(timeout, _CONTROL)
    steps = [server.name_version(NOTHING_LOADED, limit)]
    steps += [] if asleep else [server.resume(limit)]
    await asyncio.gather(*steps, return_exceptions=True)  # one that died has nothing to be given


def save_policy(
    model: Any, tokenizer: Any, folder: Path, *, dtype: torch.dtype, weights: Weights | None = None
) -> Path:
    """Write a model folder to start servers from; returns it.

    Tied embeddings are written as two matrices and the config says that they are not tied: vLLM 0.32 on a CPU
    packs a tied output head once and keeps it when weights are reloaded (mean gap 1.8 nats).
    """
    weights = weights or partial(model_weights, model)
    save_weights(model, weights, folder, dtype=dtype, key="run.out (serve --logs)")
    with quiet():
        tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": False}, indent=2))
    return folder


def save_weights(model: Any, weights: Weights, folder: Path, *, dtype: torch.dtype, key: str) -> None:
    """Write `weights` as safetensors under the names a checkpoint of `model` has, floats as `dtype`.

    An output head that shares its matrix with the embeddings is written too, as a matrix of its own. Raises
    ValueError when there is no room in `folder`, which is where the setting `key` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size, free = sum(weight_bytes(model, dtype).values()), shutil.disk_usage(folder).free
    if tied_head(model):
        matrix = model.get_input_embeddings().weight
        size += matrix.numel() * dtype.itemsize
    if size > free:
        raise ValueError(
            f"{folder}: {size / 1e9:.2f} GB of weights, and {free / 1e9:.2f} GB are free there; set {key} to "
            "a place with more room (in a container memory is small: docker run --shm-size)"
        )
    write_model(model, weights(dtype), folder, untied=True)


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
