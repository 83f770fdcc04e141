"""Weights that a server cannot take: it dies of them, has another run's, or was started without the flag."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from forge_train.config import VLLMConfig
from forge_train.engines.nccl import NCCLTransfer
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.weights import AdapterTransfer, FolderTransfer, WeightTransfer
from tests.vllm.double import Double
from tests.vllm.test_engine import PATIENT, QUICK, ask, fleet, scene, tiny, until


def test_a_server_that_dies_of_a_load_loses_nothing_and_comes_back_with_it(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2, **PATIENT) as (engine, doubles):
            for double in doubles:
                double.mood = "held"
            asking = [asyncio.create_task(ask(engine, f"c{i}")) for i in range(6)]
            await until(lambda: all(double.at_once == 3 for double in doubles))
            doubles[0].fatal.add("/collective_rpc")
            await engine.weights_changed(1)
            assert engine.up == [doubles[1].url] and engine.lost == 1
            assert engine.version == 1 and doubles[1].version == "1" and not doubles[1].paused
            doubles[1].gate.set()
            assert [c.version for c in await asyncio.gather(*asking)] == [1] * 6
            assert engine.counters.failed == 0 and len(doubles[1].asked) == 6
            doubles[0].fatal.clear()
            await doubles[0].start()
            await until(lambda: doubles[0].url in engine.up)
            assert doubles[0].version == "1" and doubles[0].loads[-1].endswith("version-000001")

    scene(play)


def test_the_only_server_may_die_of_a_load_and_come_back_in_time(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, **PATIENT) as (engine, [double]):
            double.fatal.add("/collective_rpc")
            loading = asyncio.create_task(engine.weights_changed(1))
            await until(lambda: engine.lost == 1)
            assert not engine.up and not loading.done()
            double.fatal.clear()
            await double.start()
            await loading
            assert engine.up == [double.url] and double.version == "1"
            assert (await ask(engine)).version == 1

    scene(play)


def test_weights_of_another_run_are_not_taken_for_ours_by_their_name(tmp_path: Path) -> None:
    """A server that was busy with something else when we began says that it has version 0."""

    async def play() -> None:
        double = await Double().start()
        double.version = "0"
        transfer = FolderTransfer(tiny(), tmp_path)
        config = VLLMConfig(**{**QUICK, **PATIENT})
        engine = VLLMEngine([double.url], config, max_context=32, transfer=transfer)
        double.faults.add("/collective_rpc")
        starting = asyncio.create_task(engine.start())
        await until(lambda: "/collective_rpc" in double.heard)
        double.faults.clear()
        await starting
        assert len(double.loads) == 1 and engine.up == [double.url]
        await engine.close()
        await double.stop()

    scene(play)


@pytest.mark.parametrize(
    ("section", "flag"),
    [("lora_config", "--enable-lora"), ("weight_transfer_config", "--weight-transfer-config")],
)
def test_a_server_without_the_flag_that_its_weights_need_is_refused_at_once(
    tmp_path: Path, section: str, flag: str
) -> None:
    transfer: WeightTransfer
    if section == "lora_config":
        transfer = AdapterTransfer(lambda path: path.mkdir(), tmp_path)
    else:
        transfer = NCCLTransfer(tiny(), device="cpu", link=lambda unique, size: pytest.fail("too late"))

    async def play() -> None:
        double = await Double().start()
        double.settings[section] = None
        engine = VLLMEngine([double.url], VLLMConfig(**QUICK), max_context=32, transfer=transfer)
        with pytest.raises(ValueError, match=rf"{double.url} was started without {flag}.*vllm\.transfer"):
            await engine.start()
        await double.stop()

    scene(play)
