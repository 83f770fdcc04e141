"""The vLLM engine against servers that are late, full, wrong or gone; these speak HTTP and sample nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.config import VLLMConfig
from forge_train.engine import Completion, Engine, EngineFailed, Sampling
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.vllm_http import generated
from forge_train.engines.weights import FolderTransfer
from tests.vllm.double import Double, Mood

STOP = 2
QUICK: dict[str, Any] = {"attempt_s": 0.3, "deadline_s": 5.0, "health_s": 0.05, "load_s": 0.5, "start_s": 0.5}
PATIENT: dict[str, Any] = {"attempt_s": 30.0, "deadline_s": 60.0, "load_s": 30.0, "start_s": 30.0}
"""Where nothing is to be given up, on a busy machine."""


def tiny(head_dim: int = 4) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": head_dim}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=16, **size, **heads, tie_word_embeddings=False))


@asynccontextmanager
async def fleet(
    tmp_path: Path, count: int = 1, **config: Any
) -> AsyncIterator[tuple[VLLMEngine, list[Double]]]:
    doubles = [await Double().start() for _ in range(count)]
    engine = VLLMEngine(
        [double.url for double in doubles],
        VLLMConfig(**{**QUICK, **config}),
        max_context=32,
        transfer=FolderTransfer(tiny(), tmp_path),
        health=1.0,
    )
    try:
        await engine.start()
        yield engine, doubles
    finally:
        await engine.close()
        for double in doubles:
            await double.stop()


def scene(play: Callable[[], Awaitable[None]]) -> None:
    """Run a test's story; one that hangs is a failure."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await play()

    asyncio.run(bounded())


async def ask(engine: VLLMEngine, name: str = "a", **sampling: Any) -> Completion:
    how = Sampling(**{"stop": (STOP,), "max_tokens": 4, **sampling})
    return await engine.complete([1, 3], how, conversation=name, seed=5)


def home(doubles: list[Double]) -> Double:
    """The one that was asked."""
    return next(double for double in doubles if double.asked)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def test_says_what_the_server_said(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path) as (engine, [double]):
            assert isinstance(engine, Engine)
            assert await ask(engine) == Completion([7, 7, 7, STOP], [-0.5] * 4, "stop", 0)
            [asked] = double.asked
            assert asked["token_ids"] == [1, 3] and asked["cache_salt"] == "0"
            assert asked["sampling_params"]["seed"] == 5 and asked["sampling_params"]["ignore_eos"]
            assert (await ask(engine, stop=())).finish == "length"
            assert len((await ask(engine, max_tokens=99)).tokens) == 30, "no further than max_context"
            with pytest.raises(ValueError, match="max_context=32"):
                await engine.complete([1] * 32, Sampling(), conversation="a", seed=0)
            assert engine.counters.answered == 3 and engine.counters.retried == 0

    scene(play)


def test_a_conversation_stays_with_its_server(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2, **PATIENT) as (engine, doubles):
            for double in doubles:
                double.mood, double.delay = "late", 0.05
            await asyncio.gather(*(ask(engine, f"c{i}") for i in range(8)))
            assert [len(double.asked) for double in doubles] == [4, 4], "new ones are dealt in turn"
            for double in doubles:
                double.asked.clear()
            for _ in range(3):
                await ask(engine, "c0")
            assert sorted(len(double.asked) for double in doubles) == [0, 3]

    scene(play)


def test_no_more_requests_at_once_than_the_config_says(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, in_flight=2, **PATIENT) as (engine, [double]):
            double.mood, double.delay = "late", 0.05
            said = await asyncio.gather(*(ask(engine, f"c{i}") for i in range(7)))
            assert len(said) == 7 and double.most_at_once == 2

    scene(play)


@pytest.mark.parametrize("mood", ["deaf", "garbage", "unwell", "stale"])
def test_without_an_answer_the_engine_fails_and_names_the_server(tmp_path: Path, mood: Mood) -> None:
    async def play() -> None:
        async with fleet(tmp_path, attempts=2) as (engine, [double]):
            double.mood = mood
            with pytest.raises(EngineFailed, match=double.url) as failed:
                await ask(engine)
            assert failed.value.retryable
            assert len(double.asked) == 2 and engine.counters.failed == 1
            double.mood = "well"
            assert (await ask(engine)).version == 0, "it recovers"

    scene(play)


def test_the_deadline_holds_whatever_the_attempts_allow(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, attempts=1000, deadline_s=0.5, attempt_s=60.0) as (engine, [double]):
            double.mood = "deaf"
            with pytest.raises(EngineFailed, match=r"no answer within 0\.5 s") as failed:
                await ask(engine)
            assert double.url in str(failed.value) and failed.value.retryable

    scene(play)


def test_a_refused_request_is_not_tried_again(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            for double in doubles:
                double.mood = "refusing"
            with pytest.raises(EngineFailed, match="out of vocabulary") as failed:
                await ask(engine)
            assert not failed.value.retryable and sum(len(double.asked) for double in doubles) == 1

    scene(play)


@pytest.mark.parametrize("mood", ["deaf", "garbage", "unwell", "busy", "stale"])
def test_another_server_answers_instead(tmp_path: Path, mood: Mood) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            await ask(engine)
            bad = home(doubles)
            bad.mood = mood
            assert (await ask(engine)).tokens == [7, 7, 7, STOP]
            assert len(bad.asked) == 2
            assert engine.counters.failed == 0
            assert engine.counters.busy == (mood == "busy")

    scene(play)


def test_a_double_that_died_answers_nobody_who_had_just_connected() -> None:
    async def play() -> None:
        double = await Double().start()
        line = socket.create_connection(("127.0.0.1", double.port))
        reader, writer = await asyncio.open_connection(sock=line)
        await asyncio.sleep(0)
        await double.die()
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    scene(play)


def test_a_busy_server_is_waited_for_and_costs_no_attempt(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, attempts=1) as (engine, [double]):
            double.mood = "busy"
            asking = asyncio.create_task(ask(engine))
            await until(lambda: engine.counters.busy == 2)
            double.mood = "well"
            assert (await asking).version == 0
            assert engine.counters.retried == engine.lost == 0

    scene(play)


def test_a_killed_server_loses_nothing_and_comes_back_with_the_newest_weights(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2, attempt_s=30.0, deadline_s=60.0) as (engine, doubles):
            for double in doubles:
                double.mood, double.delay = "late", 2.0
            asking = [asyncio.create_task(ask(engine, f"c{i}")) for i in range(6)]
            await until(lambda: all(double.at_once == 3 for double in doubles))
            await doubles[0].die()
            assert len(await asyncio.gather(*asking)) == 6
            await engine.weights_changed(1)
            assert (await ask(engine)).version == 1
            before = len(doubles[0].loads)
            await doubles[0].start()
            await until(lambda: doubles[0].url in engine.up)
            assert (
                doubles[0].version == "1"
                and len(doubles[0].loads) == before + 1
                and doubles[0].loads[-1].endswith("version-000001")
            )
            doubles[0].asked.clear()
            said = await asyncio.gather(*(ask(engine, f"d{i}") for i in range(4)))
            assert doubles[0].asked and {c.version for c in said} == {1}

    scene(play)


def test_a_server_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2, in_flight=1, attempt_s=60.0, deadline_s=60.0) as (engine, doubles):
            doubles[0].mood, doubles[0].healthy = "deaf", False
            said = await asyncio.gather(*(ask(engine, f"c{i}") for i in range(6)))
            assert len(said) == 6 and len(doubles[0].asked) == 1, "those that wait for room leave too"
            assert engine.up == [doubles[1].url] and engine.lost == 1

    scene(play)


def test_requests_in_flight_are_frozen_while_weights_change(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path) as (engine, [double]):
            double.mood = "held"
            asking = asyncio.create_task(ask(engine))
            await until(lambda: double.at_once == 1)
            await engine.weights_changed(3)
            double.gate.set()
            assert double.version == "3" and not double.paused
            assert (await asking).version == 3
            assert [p.name for p in Path(double.loads[-1]).parent.iterdir()] == ["version-000003"]
            await ask(engine)
            assert double.asked[-1]["cache_salt"] == "3"

    scene(play)


def test_a_server_that_takes_no_weights_is_left_out(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            doubles[0].healthy = False
            await engine.weights_changed(1)
            doubles[0].asked.clear()
            said = await asyncio.gather(*(ask(engine, f"c{i}") for i in range(4)))
            assert not doubles[0].asked and {c.version for c in said} == {1}
            doubles[1].healthy = False
            with pytest.raises(EngineFailed, match="no server took version 2") as failed:
                await engine.weights_changed(2)
            assert all(double.url in str(failed.value) for double in doubles)

    scene(play)


def test_no_server_at_all() -> None:
    async def play() -> None:
        double = await Double().start()
        await double.die()
        engine = VLLMEngine([double.url], VLLMConfig(**QUICK), max_context=32)
        with pytest.raises(EngineFailed, match="did not answer within"):
            await engine.start()
        with pytest.raises(RuntimeError, match="closed"):
            await ask(engine)

    scene(play)
    with pytest.raises(ValueError, match=r"vllm\.urls is empty"):
        VLLMEngine([], VLLMConfig(), max_context=32)


def test_a_server_with_less_room_than_episodes_is_refused_at_the_start() -> None:
    async def play() -> None:
        double = await Double().start()
        engine = VLLMEngine([double.url], VLLMConfig(**QUICK), max_context=65)
        with pytest.raises(ValueError, match=r"takes 64 tokens and rollout\.max_context is 65"):
            await engine.start()
        await double.stop()

    scene(play)


def test_without_a_transfer_the_version_is_the_servers(tmp_path: Path) -> None:
    async def play() -> None:
        async with fleet(tmp_path) as (engine, [double]):
            sampler = VLLMEngine([double.url], VLLMConfig(**QUICK), max_context=32)
            await sampler.start()
            await engine.weights_changed(4)
            assert (await ask(sampler)).version == sampler.version == 4
            assert len(double.loads) == 2, "it loads nothing"
            await sampler.close()

    scene(play)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=5))
def test_weight_versions_become_one_version_for_each_token(runs: list[tuple[int, int]]) -> None:
    spans, at = [], 0
    for version, count in runs:
        spans.append({"version": str(version), "start": at, "end": at + count})
        at += count
    choice = {
        "finish_reason": "length",
        "token_ids": list(range(at)),
        "logprobs": {"content": [{"token_id": i, "logprob": -1.0} for i in range(at)]},
        "weight_versions": spans,
    }

    assert generated({"choices": [choice]}).versions == [
        str(version) for version, count in runs for _ in range(count)
    ]
    choice["weight_versions"] = spans[:-1]
    with pytest.raises(ValueError, match="weight_versions do not cover the tokens"):
        generated({"choices": [choice]})
