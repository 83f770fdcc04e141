"""Adapters on servers that other runs have used, or that play by older ones for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from forge_train.config import VLLMConfig
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.weights import AdapterTransfer
from tests.vllm.double import Double
from tests.vllm.test_engine import PATIENT, QUICK, ask, scene, until


@asynccontextmanager
async def run(folder: Path, double: Double, *, version: int = 0, keep: int = 2) -> AsyncIterator[VLLMEngine]:
    """The engine of one run on a server, which outlives it."""
    transfer = AdapterTransfer(lambda path: path.mkdir(), folder, keep=keep)
    engine = VLLMEngine(
        [double.url], VLLMConfig(**{**QUICK, **PATIENT}), max_context=32, transfer=transfer, version=version
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def test_a_run_plays_by_its_own_adapters_on_a_server_that_has_anothers(tmp_path: Path) -> None:
    async def play() -> None:
        double = await Double().start()
        async with run(tmp_path / "a", double) as first:
            for version in (1, 2, 3):
                await first.weights_changed(version)
        assert len(double.adapters) == 2
        async with run(tmp_path / "b", double, version=3) as second:
            for version in (3, 4):
                assert (await ask(second)).version == version
                assert double.adapters[double.asked[-1]["model"]].startswith(str(tmp_path / "b"))
                assert all(path.startswith(str(tmp_path / "b")) for path in double.adapters.values())
                await second.weights_changed(version + 1)
            assert len(double.adapters) == 2
        await double.stop()

    scene(play)


def test_a_version_that_is_published_again_is_loaded_again(tmp_path: Path) -> None:
    """After supervised training the weights are others, and no update of the run lies behind them."""

    async def play() -> None:
        double = await Double().start()
        async with run(tmp_path, double) as engine:
            await ask(engine)
            await engine.weights_changed(0)
            await ask(engine)
            before, after = (asked["model"] for asked in double.asked)
            assert before != after and list(double.adapters) == [after]
        await double.stop()

    scene(play)


@pytest.mark.parametrize("keep", [2, 4])
def test_an_action_under_way_keeps_its_adapter_for_as_many_updates_as_it_may_be_late(
    tmp_path: Path, keep: int
) -> None:
    async def play() -> None:
        double = await Double().start()
        double.settings["lora_config"] = {"max_loras": keep}
        async with run(tmp_path, double, keep=keep) as engine:
            double.mood = "held"
            asking = asyncio.create_task(ask(engine))
            await until(lambda: double.at_once == 1)
            for version in range(1, keep):
                await engine.weights_changed(version)
                assert double.asked[0]["model"] in double.adapters
            double.gate.set()
            assert (await asking).version == 0
            await engine.weights_changed(keep)
            assert double.asked[0]["model"] not in double.adapters
        await double.stop()

    scene(play)
