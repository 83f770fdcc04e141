"""Weights in a place that is small, as memory is in a container."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from forge_train.engines.weights import FolderTransfer, save_policy
from forge_train.learn.plain_weights import full_weights
from tests.train.tokens import tokenizer
from tests.vllm.test_engine import tiny


def test_a_place_without_room_is_named_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (total, used, _) = tiny(), shutil.disk_usage(tmp_path)
    size = 2 * sum(w.numel() for w in model.state_dict().values())
    transfer = FolderTransfer(model, tmp_path, dtype=torch.bfloat16)
    kind = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: kind(total, used, size - 1))
    with pytest.raises(ValueError, match=rf"{transfer.folder}.*0\.00 GB are free.*set vllm\.folder"):
        asyncio.run(transfer.publish(1))
    with pytest.raises(ValueError, match=r"set run\.out"):
        save_policy(model, tokenizer(), tmp_path / "policy", dtype=torch.bfloat16)
    assert not transfer.path(1).exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: kind(total, used, size))
    asyncio.run(transfer.publish(1))
    assert transfer.path(1).is_dir()
    transfer.close()


def test_one_version_at_a_time_needs_room(tmp_path: Path) -> None:
    transfer = FolderTransfer(tiny(), tmp_path)
    beside: list[list[Path]] = []

    def weights(dtype: torch.dtype | None) -> Iterator[Mapping[str, torch.Tensor]]:
        beside.append(list(transfer.folder.glob("version-*")))
        yield full_weights(tiny())

    transfer.weights = weights
    for version in (1, 2, 2):
        asyncio.run(transfer.publish(version))
        assert [path.name for path in transfer.folder.iterdir()] == [f"version-{version:06d}"]
    assert beside == [[], [], []]
    transfer.close()
