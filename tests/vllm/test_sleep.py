"""Servers that give their memory to the learner and take it back: in which order, and when one does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from forge_train.config import VLLMConfig
from forge_train.engine import EngineFailed
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.weights import AdapterTransfer, FolderTransfer
from tests.vllm.double import Double
from tests.vllm.test_engine import QUICK, ask, scene, tiny, until

SLEEP = "/sleep?level=2&mode=abort"
WAKE = ["/wake_up?tags=weights", "/collective_rpc", "/update_weight_version", "/wake_up?tags=kv_cache"]


@asynccontextmanager
async def fleet(
    tmp_path: Path, count: int = 1, *, sleep_mode: bool = True, **config: Any
) -> AsyncIterator[tuple[VLLMEngine, list[Double]]]:
    doubles = [await Double().start() for _ in range(count)]
    for double in doubles:
        double.sleep_mode = sleep_mode
    engine = VLLMEngine(
        [double.url for double in doubles],
        VLLMConfig(**{**QUICK, "start_s": 60.0, "load_s": 2.0, **config}),
        max_context=32,
        transfer=FolderTransfer(tiny(), tmp_path),
        health=2.0,
        sleeps=True,
    )
    try:
        await engine.start()
        for double in doubles:
            double.heard.clear()
        yield engine, doubles
    finally:
        await engine.close()
        for double in doubles:
            await double.stop()


def test_weights_wake_before_they_are_loaded_and_the_cache_after(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            for version in (1, 2):
                await engine.sleep()
                await engine.sleep()
                assert all(double.sleeping for double in doubles)
                with pytest.raises(RuntimeError, match="asleep until they get new weights"):
                    await ask(engine)
                await engine.weights_changed(version)
                for double in doubles:
                    assert double.heard == [SLEEP, *WAKE] and not double.sleeping
                    double.heard.clear()
                assert (await ask(engine)).version == version
            await engine.weights_changed(3)
            assert doubles[0].heard[0].startswith("/pause"), "awake they are paused, as ever"

    scene(play)


def test_under_adapters_the_weights_are_kept(tmp_path: Path) -> None:
    class Shelf(AdapterTransfer):
        async def load(self, server: Any, version: int, timeout: float, *, asleep: bool = False) -> None:
            await server.name_version(str(version), timeout)

    async def play() -> None:
        double = await Double().start()
        transfer = Shelf(lambda folder: folder.mkdir(), tmp_path)
        engine = VLLMEngine([double.url], VLLMConfig(**QUICK), max_context=32, transfer=transfer)
        await engine.start()
        await engine.sleep()
        assert double.heard[-1] == "/sleep?level=1&mode=abort"
        await engine.close()
        await double.stop()

    scene(play)


def test_one_that_cannot_sleep_is_refused_at_the_start(tmp_path: Path) -> None:
    async def play() -> None:
        with pytest.raises(ValueError, match=r"cannot sleep.*--enable-sleep-mode.*\"separate\""):
            async with fleet(tmp_path, sleep_mode=False):
                pass

    scene(play)


def test_one_that_keeps_its_memory_stops_the_run_and_is_named(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            doubles[1].faults.add(SLEEP)
            with pytest.raises(EngineFailed, match=f"{doubles[1].url}.*out of memory.*keeps the memory"):
                await engine.sleep()

    scene(play)


@pytest.mark.parametrize("fault", [WAKE[0], WAKE[-1]])
def test_one_that_does_not_wake_is_left_out_until_it_does(tmp_path: Path, fault: str) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            await engine.sleep()
            doubles[0].faults.add(fault)
            await engine.weights_changed(1)
            assert engine.up == [doubles[1].url] and doubles[0].sleeping
            assert (await ask(engine)).version == 1 and not doubles[0].asked
            doubles[0].faults.clear()  # while it is tried again, perhaps
            await until(lambda: doubles[0].url in engine.up)
            heard = [path for path in doubles[0].heard if path != "/weight_info"]
            assert heard[-len(WAKE) :] == WAKE
            assert doubles[0].version == "1" and not doubles[0].sleeping

    scene(play)


def test_when_none_wakes_in_time_the_error_names_them(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path) as (engine, [double]):
            await engine.sleep()
            double.drowsy = True
            with pytest.raises(EngineFailed, match=f"no server took version 1.*{double.url}") as failed:
                await engine.weights_changed(1)
            assert failed.value.retryable

    scene(play)


def test_a_deaf_one_costs_no_more_than_its_deadline(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path) as (engine, [double]):
            double.healthy = False
            with pytest.raises(EngineFailed, match=r"no answer to /sleep.* within 2 s"):
                await engine.sleep()

    scene(play)


def test_one_that_comes_back_while_the_learner_works_goes_to_sleep_too(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            await engine.sleep()
            await doubles[0].die()
            await until(lambda: engine.up == [doubles[1].url])
            doubles[0].heard.clear()
            await doubles[0].start()
            await until(lambda: SLEEP in doubles[0].heard)
            assert engine.up == [doubles[1].url]
            await engine.weights_changed(1)
            await until(lambda: len(engine.up) == 2)
            assert doubles[0].version == "1" and not doubles[0].sleeping

    scene(play)


def test_weights_that_went_with_the_memory_are_loaded_though_their_version_is_known(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            await engine.sleep()
            doubles[0].faults.add(WAKE[0])
            await engine.weights_changed(0)
            assert doubles[0].version == "0", "the name is no news"
            loads = len(doubles[0].loads)
            doubles[0].faults.clear()
            await until(lambda: doubles[0].url in engine.up)
            assert len(doubles[0].loads) == loads + 1

    scene(play)
