"""Faults come as often as asked, to the same requests in every run, and to nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from forge_train.engine import Engine, EngineFailed, Sampling
from forge_train.engines.scripted import ScriptedEngine
from forge_train.engines.unreliable import UnreliableEngine

STOP = 9


def unreliable(seed: int = 0, **chances: float) -> UnreliableEngine:
    inner = ScriptedEngine(lambda *_: [1, STOP], logprob=-0.5, max_context=64)
    return UnreliableEngine(inner, delay=0.0, seed=seed, **chances)


async def fate(engine: UnreliableEngine, seed: int) -> str:
    try:
        async with asyncio.timeout(3.0):
            said = await engine.complete([0], Sampling(stop=(STOP,)), conversation=f"c{seed}", seed=seed)
    except EngineFailed as failure:
        assert failure.retryable
        return "fails"
    except TimeoutError:
        return "hangs"
    assert said.tokens == [1, STOP] and said.logprobs == [-0.5, -0.5]
    return "answers"


def fates(engine: UnreliableEngine, seeds: range) -> list[str]:
    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(fate(engine, seed) for seed in seeds))  # those that hang do so together

    return asyncio.run(all_of_them())


def test_it_is_the_engine_it_wraps() -> None:
    engine = unreliable()
    assert isinstance(engine, Engine)
    assert (engine.max_context, engine.reproducible, engine.shares_weights) == (64, True, False)
    asyncio.run(engine.weights_changed(3))
    assert engine.version == engine.inner.version == 3
    engine.version = 4
    assert engine.inner.version == 4
    assert set(fates(engine, range(50))) == {"answers"} and not engine.faults
    engine.forget("c0")
    assert isinstance(engine.inner, ScriptedEngine) and engine.inner.turns["c0"] == 0
    asyncio.run(engine.close())
    with pytest.raises(RuntimeError, match="closed"):
        fates(engine, range(1))


def test_faults_come_as_often_as_asked_and_to_the_same_requests() -> None:
    engine = unreliable(fails=0.2, hangs=0.1, late=0.3)
    first = fates(engine, range(300))
    told = Counter(first)
    assert 40 <= told["fails"] <= 80 and 15 <= told["hangs"] <= 48
    assert engine.faults["fails"] == told["fails"] and engine.faults["hangs"] == told["hangs"]
    assert 65 <= engine.faults["late"] <= 115
    again = unreliable(fails=0.2, hangs=0.1, late=0.3)
    assert fates(again, range(299, -1, -1))[::-1] == first, "whatever came before"
    assert fates(unreliable(seed=1, fails=0.2, hangs=0.1), range(60)) != first[:60]


def test_chances_are_checked() -> None:
    for chances in ({"fails": -0.1}, {"fails": 0.6, "late": 0.6}):
        with pytest.raises(ValueError, match="together at most 1"):
            unreliable(**chances)
