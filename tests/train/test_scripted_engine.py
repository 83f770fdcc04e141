"""The scripted engine ends actions where a real one would."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from forge_train.engine import Completion, Engine, Sampling
from forge_train.engines.scripted import ScriptedEngine

STOP = 9


def ask(engine: ScriptedEngine, tokens: list[int], name: str = "a", **sampling: Any) -> Completion:
    return asyncio.run(engine.complete(tokens, Sampling(stop=(STOP,), **sampling), conversation=name, seed=5))


def test_is_an_engine() -> None:
    assert isinstance(ScriptedEngine([]), Engine)


def test_every_conversation_says_the_list_in_turn() -> None:
    engine = ScriptedEngine([[1, STOP], [2, STOP]], logprob=-0.5)
    assert ask(engine, [0], "a") == Completion([1, STOP], [-0.5, -0.5], "stop", 0)
    assert ask(engine, [0], "b").tokens == [1, STOP]
    assert ask(engine, [0], "a").tokens == [2, STOP]
    with pytest.raises(ValueError, match="asks for action 3 of 2"):
        ask(engine, [0], "a")
    engine.forget("a")
    assert ask(engine, [0], "a").tokens == [1, STOP]


def test_a_function_sees_tokens_conversation_and_seed() -> None:
    engine = ScriptedEngine(lambda tokens, name, seed: [*tokens, len(name), seed, STOP, 3])
    assert ask(engine, [7, 8], "abc").tokens == [7, 8, 3, 5, STOP]


def test_cuts_at_max_tokens_and_at_max_context() -> None:
    engine = ScriptedEngine(lambda *_: [1, 2, 3, STOP], max_context=5)
    assert ask(engine, [0], max_tokens=2) == Completion([1, 2], [0.0, 0.0], "length", 0)
    assert ask(engine, [0, 0, 0]) == Completion([1, 2], [0.0, 0.0], "length", 0)
    assert ask(engine, [0]).finish == "stop"
    for tokens in ([], [0] * 5):
        with pytest.raises(ValueError, match="max_context=5"):
            ask(engine, tokens)


def test_an_action_without_an_end_is_refused() -> None:
    for said in ([], [1, 2]):
        with pytest.raises(ValueError, match="neither ends in a stop token"):
            ask(ScriptedEngine([said]), [0])


def test_versions_and_close() -> None:
    engine = ScriptedEngine(lambda *_: [STOP], version=3)
    assert ask(engine, [0]).version == 3
    asyncio.run(engine.weights_changed(4))
    assert ask(engine, [0]).version == engine.version == 4
    asyncio.run(engine.close())
    asyncio.run(engine.close())
    with pytest.raises(RuntimeError, match="closed"):
        ask(engine, [0])


def test_latency_is_waited_for_together() -> None:
    engine = ScriptedEngine([[STOP]], latency=0.05)

    async def many() -> None:
        await asyncio.gather(
            *(engine.complete([0], Sampling(stop=(STOP,)), conversation=str(i), seed=0) for i in range(50))
        )

    start = time.perf_counter()
    asyncio.run(many())
    assert 0.05 <= time.perf_counter() - start < 1.0
