"""Servers on a CPU whose output head new weights would not reach: refused before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forge_train.config import VLLMConfig
from forge_train.engines.tied_head import refuse_stale_head
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.weights import AdapterTransfer, FolderTransfer, WeightTransfer
from tests.vllm.double import Double
from tests.vllm.test_engine import QUICK, scene, tiny


def model(folder: Path, **told: Any) -> str:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **told}))
    return str(folder)


def settings(path: str, device: str = "cpu", **more: Any) -> dict[str, Any]:
    return {"model_config": {"model": path, **more}, "device_config": {"device": device}}


def test_a_server_with_a_tied_head_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = model(tmp_path, tie_word_embeddings=True)

    async def start(transfer: WeightTransfer) -> None:
        double = await Double().start()
        double.settings |= settings(path)
        engine = VLLMEngine([double.url], VLLMConfig(**QUICK), max_context=32, transfer=transfer)
        try:
            await engine.start()
        finally:
            await engine.close()
            await double.stop()

    async def play() -> None:
        with pytest.raises(ValueError, match=rf"{path} on a CPU with tied .* forge-train serve {path}"):
            await start(FolderTransfer(tiny(), tmp_path / "weights"))
        await start(AdapterTransfer(lambda folder: folder.mkdir(), tmp_path / "adapters"))  # heads stay

    scene(play)


@pytest.mark.parametrize(
    "told",
    [
        lambda folder: settings(model(folder, tie_word_embeddings=False)),
        lambda folder: settings(model(folder)),  # a llama's are not tied unless it says so
        lambda folder: settings(model(folder, tie_word_embeddings=True), device="cuda"),
        lambda folder: settings(
            model(folder, tie_word_embeddings=True), hf_overrides={"tie_word_embeddings": False}
        ),
        lambda folder: settings("somebody/elses"),
        lambda folder: {},
    ],
    ids=["untied", "default", "gpu", "overridden", "unknown", "silent"],
)
def test_others_are_not(told: Any, tmp_path: Path) -> None:
    refuse_stale_head("http://one", told(tmp_path))
