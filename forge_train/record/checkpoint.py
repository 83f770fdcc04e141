"""Checkpoints that are either whole or not there.

A checkpoint is a folder that `AutoModelForCausalLM.from_pretrained` understands (weights as
safetensors, tokenizer files) plus `trainer.pt` (optimizer, counters, random states) and
`manifest.json` (length and a checksum of every file). It is written aside, synced and renamed, so a
kill leaves the old one or the new one. What a disk then damages is noticed before it is used: every byte of
small files, and of large ones the length and stretches all over (terabytes would take hours to read).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from forge_train.config.gguf import refuse_gguf
from forge_train.record.model_files import quiet
from forge_train.record.pretrained import NoModel, load_pretrained
from forge_train.record.run_folder import sync_folder, write_atomic
from forge_train.refusals import first_line

STATE = "trainer.pt"
MANIFEST = "manifest.json"
ADAPTER_CONFIG = "adapter_config.json"
MOMENTS = "moments"
"""Folder of an optimizer's state, in a checkpoint or in the critic's part of it."""
_NAME = re.compile(r"(?P<replaced>\.replaced-)?step-(?P<step>\d+)")


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says which, why, and what to do."""


class NotWritten(RuntimeError):
    """A checkpoint could not be written, for example to a full disk; older ones are as they were."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint on disk.

    >>> Checkpoint(Path("runs/demo/checkpoints/step-000040"), 40).step
    40
    """

    path: Path
    step: int
    """Number of updates behind it."""

    def state(self) -> dict[str, Any]:
        """What was given to `save` as `state`, tensors on the CPU."""
        state: dict[str, Any] = torch.load(self.path / STATE, map_location="cpu", weights_only=True)
        return state

    def problem(self) -> str | None:
        """What is wrong with the files, or None. Reads at most 16 MB of each."""
        try:
            manifest = json.loads((self.path / MANIFEST).read_bytes())
            files = {
                str(name): (int(entry["bytes"]), entry["sha256"]) for name, entry in manifest["files"].items()
            }
        except FileNotFoundError:
            return f"{MANIFEST} is missing"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return f"{MANIFEST} is damaged"
        for name, (size, checksum) in files.items():
            file = self.path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
            if _checksum(file) != checksum:
                return f"{name} has another checksum than when it was written"
        return None


def save(
    folder: Path,
    step: int,
    *,
    model: Any,
    tokenizer: Any,
    state: Mapping[str, Any],
    keep: int = 2,
    pinned: int | None = None,
    also: Callable[[Path], None] | None = None,
) -> Path:
    """Write the checkpoint of `step` into `folder`, keep the `keep` newest and that of `pinned`; its path.

    model, tokenizer: anything with `save_pretrained`. state: tensors, numbers, text, None, and
    dicts, lists and tuples of them, so that loading never runs code; ValueError for anything else.
    also: called with the folder while it is written, for what does not fit into one process
    (`Learner.save_moments`).
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: at least one checkpoint must stay")
    _refuse_code(dict(state), "state")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    aside, path = folder / f".tmp-step-{step:06d}", folder / f"step-{step:06d}"
    aside.mkdir()
    with _written(aside, step):
        with quiet():
            model.save_pretrained(aside)
            tokenizer.save_pretrained(aside)
        torch.save(dict(state), aside / STATE)
        if also is not None:
            also(aside)
        _seal(aside, step)
    if path.exists():
        # A full folder cannot be replaced in one go; under its new name `latest` still finds it.
        _discard(folder / f".replaced-{path.name}")
        os.rename(path, folder / f".replaced-{path.name}")
    os.rename(aside, path)
    sync_folder(folder)
    for replaced in folder.glob(".replaced-step-*"):
        if (folder / replaced.name.removeprefix(".replaced-")).exists():
            _discard(replaced)
    for old in candidates(folder)[keep:]:
        if old.step != pinned:
            _discard(old.path)
    return path


def latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of `folder`; None when it has none at all.

    A damaged one is passed over with a warning. Raises CheckpointError when only damaged ones are left.
    """
    problems: list[str] = []
    for checkpoint in candidates(folder):
        problem = checkpoint.problem()
        if problem is None:
            for damaged in problems:
                warnings.warn(f"{damaged}; going back to {checkpoint.path}", stacklevel=2)
            return checkpoint
        problems.append(f"checkpoint {checkpoint.path} cannot be used: {problem}")
    if problems:
        lines = "\n".join(problems)
        raise CheckpointError(
            f"{lines}\nno whole checkpoint is left in {folder}: restore one from a copy, "
            "or delete these to start anew"
        )
    return None


def stands(folder: Path, step: int) -> bool:
    """Whether there is a checkpoint of `step`."""
    return any(checkpoint.step == step for checkpoint in candidates(folder))


def oldest(folder: Path, keep: int) -> int:
    """Step of the oldest of the `keep` newest, which a run may have to go back to; 0 without any."""
    return min((checkpoint.step for checkpoint in candidates(folder)[:keep]), default=0)


def load_model(path: Path | str, *, dtype: str | None = None) -> tuple[Any, Any]:
    """Model (in evaluation mode, on the CPU) and tokenizer of a checkpoint, a run, or any model folder.

    A run folder stands for its latest checkpoint. dtype: "float32", "bfloat16"; by default as saved.
    Raises CheckpointError naming the path and what is wrong with it.
    """
    folder = model_folder(Path(path).expanduser())
    try:
        with quiet():
            model, tokenizer = load_pretrained(folder, dtype=getattr(torch, dtype) if dtype else None)
    except NoModel as error:
        raise CheckpointError(str(error)) from error
    return model.eval(), tokenizer


def save_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, each process the parts it holds (torch.distributed.checkpoint).

    With several processes all must call it, on a file system that they share.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _no_advice():
        state_dict_saver.save(tensors, storage_writer=writer, no_dist=not dist.is_initialized())


def load_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Fill `tensors` in place with what `save_tensors` wrote, by however many processes.

    Raises CheckpointError for names or shapes that are not there.
    """
    try:
        with _no_advice():
            reader = HuggingFaceStorageReader(str(folder))
            state_dict_loader.load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())
    except (CheckpointException, OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: does not fit what is to be continued ({error})") from error


def model_folder(path: Path) -> Path:
    """The folder with the weights that `path` stands for; CheckpointError where there are none."""
    refuse_gguf(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; give a checkpoint, a run folder or a model folder")
    for holder in (path / "checkpoints", path):
        if not (holder / "config.json").exists() and candidates(holder):
            checkpoint = latest(holder)
            assert checkpoint is not None
            return checkpoint.path
    if (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file():
        if not (path.parent / MANIFEST).is_file():
            raise CheckpointError(
                f"{path}: an adapter, not a model; merge it into its base (peft's merge_and_unload) and give "
                "that folder"
            )
        path = path.parent  # one of ours: beside it lie the weights that have it merged
    if not (path / "config.json").is_file():
        hint = "the run has no checkpoint yet" if (path / "config.toml").exists() else "it has no config.json"
        raise CheckpointError(f"{path}: holds no model ({hint}); give a checkpoint or a model folder")
    if (path / MANIFEST).exists():
        problem = Checkpoint(path, -1).problem()
        if problem:
            raise CheckpointError(f"checkpoint {path} cannot be used: {problem}; use another one")
    return path


def candidates(folder: Path) -> list[Checkpoint]:
    """Everything in `folder` that is called a checkpoint, whole or not, newest first."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found.append((int(match["step"]), not match["replaced"], path))
    return [Checkpoint(path, step) for step, _, path in sorted(found, reverse=True)]


def _seal(folder: Path, step: int) -> None:
    """Sync every file and list it, so that damage shows."""
    files = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
        files[file.relative_to(folder).as_posix()] = {"bytes": file.stat().st_size, "sha256": _checksum(file)}
    text = json.dumps({"step": step, "files": files}, indent=1)
    write_atomic(folder / MANIFEST, text.encode())


@contextmanager
def _written(aside: Path, step: int) -> Iterator[None]:
    """What cannot be written gives its space back, and says that nothing older is lost."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, CheckpointException) as error:
        free = shutil.disk_usage(aside).free / 2**20
        shutil.rmtree(aside, ignore_errors=True)
        raise NotWritten(
            f"checkpoint of step {step} could not be written to {aside.parent} ({first_line(error)}; "
            f"{free:,.0f} MB were free); what was saved before is whole: free some, and the same command "
            "goes on from there"
        ) from error


def _discard(path: Path) -> None:
    """Delete a folder such that a kill half way leaves no half checkpoint behind."""
    if path.exists():
        doomed = path.with_name(f".tmp-old-{path.name}")
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


STRETCH = 2**18
STRETCHES = 64
"""So many stretches of so many bytes are read of a file that is larger than all of them."""


def _checksum(path: Path) -> str:
    """SHA-256 of a file, or of stretches of it from the first byte to the last.

    That sees what happens to checkpoints: a file cut off, empty pages after a power loss, another file under
    its name. A flipped bit between the stretches it does not see.
    """
    size = path.stat().st_size
    found = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        if size <= STRETCH * STRETCHES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        for i in range(STRETCHES):
            file.seek(i * (size - STRETCH) // (STRETCHES - 1))
            found.update(file.read(STRETCH))
    return found.hexdigest()


def _refuse_code(value: Any, where: str) -> None:
    """Only data: pickled objects could run code when loaded, and break when a class is renamed."""
    kind = type(value)
    if kind in (dict, OrderedDict):
        for key, item in value.items():
            _refuse_code(key, f"a key of {where}")
            _refuse_code(item, f"{where}[{key!r}]")
    elif kind in (list, tuple):
        for i, item in enumerate(value):
            _refuse_code(item, f"{where}[{i}]")
    elif value is not None and kind not in (bool, int, float, str, torch.Tensor, torch.nn.Parameter):
        raise ValueError(
            f"{where} is a {kind.__module__}.{kind.__name__}: a checkpoint holds tensors, numbers, text "
            "and dicts, lists and tuples of them; convert it"
        )


@contextmanager
def _no_advice() -> Iterator[None]:
    """No advice of the library to set up processes where there is one; others go on warning meanwhile."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"torch\.distributed is .* in a single process")
        yield
