"""An answer that cannot be used is the affair of its request: servers that are well stay in the fleet."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from forge_train.engine import EngineFailed, Sampling
from forge_train.engines.local import LocalEngine
from forge_train.engines.vllm_http import generated
from forge_train.play.episode import TokenPlayer, gather, play
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from tests.train.models import qwen3_of
from tests.train.tokens import tokenizer
from tests.vllm.double import Double
from tests.vllm.test_engine import PATIENT, ask, fleet, scene

NAN, POISON = math.nan, 9


def choice(**changed: Any) -> dict[str, Any]:
    sound: dict[str, Any] = {
        "finish_reason": "stop",
        "token_ids": [7, 2],
        "logprobs": {"content": [{"token_id": 7, "logprob": -0.5}, {"token_id": 2, "logprob": -0.5}]},
        "weight_versions": [{"version": "0", "start": 0, "end": 2}],
    }
    return sound | changed


def told(*logprobs: Any) -> dict[str, Any]:
    return {"content": [{"token_id": t, "logprob": p} for t, p in zip((7, 2), logprobs, strict=False)]}


WRONG: dict[str, Any] = {
    "a logprob that is no number": choice(logprobs=told(-0.5, NAN)),
    "an infinite one": choice(logprobs=told(-math.inf, -0.5)),
    "one as vLLM writes those": choice(logprobs=told(-0.5, -9999.0)),
    "one above 0": choice(logprobs=told(0.3, -0.5)),
    "one missing": choice(logprobs=told(-0.5, None)),
    "one in words": choice(logprobs=told(-0.5, "NaN")),
    "fewer than tokens": choice(logprobs=told(-0.5)),
    "no logprobs": choice(logprobs=None),
    "a token that there is not": choice(token_ids=[7, 16]),
    "a token below all": choice(token_ids=[-1, 2]),
    "more tokens than asked for": choice(
        token_ids=[7] * 5,
        logprobs={"content": [{"token_id": 7, "logprob": -0.5}] * 5},
        weight_versions=[{"version": "0", "start": 0, "end": 5}],
    ),
    "no token": choice(token_ids=[], logprobs=told(), weight_versions=[]),
    "an error": choice(finish_reason="error"),
    "an abort": choice(finish_reason="abort"),
}


@pytest.mark.parametrize("answer", [*WRONG, "no choice"])
def test_the_request_ends_and_every_server_stays(tmp_path: Path, answer: str) -> None:
    async def story() -> None:
        async with fleet(tmp_path, 2, attempts=4, **PATIENT) as (engine, doubles):
            engine.vocab = 16
            for double in doubles:
                poisoned(double, {"choices": [WRONG[answer]] if answer in WRONG else []})
            asked = [
                engine.complete([1, POISON], Sampling(max_tokens=4, stop=(2,)), conversation=f"{i}", seed=i)
                for i in range(3)
            ]
            failed = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(f, EngineFailed) and "makes no sense" in str(f) for f in failed), failed
            assert sum(len(double.asked) for double in doubles) == 3 * 4, "each has its attempts"
            assert engine.lost == 0 and engine.up == engine.urls
            assert (await ask(engine)).tokens == [7, 7, 7, 2], "others have their answers"

    scene(story)


def prompt(double: Double, sampling: dict[str, Any]) -> list[int]:
    """The tokens of the request with these parameters."""
    (tokens,) = [body["token_ids"] for body in double.asked if body["sampling_params"] is sampling]
    return list(tokens)


def poisoned(double: Double, answer: dict[str, Any]) -> None:
    """Requests that hold POISON are answered so, by servers that are well."""
    well = double._said

    def said(sampling: dict[str, Any]) -> dict[str, Any]:
        return answer if POISON in prompt(double, sampling) else well(sampling)

    double._said = said  # type: ignore[method-assign]


def test_another_server_may_know_better_and_is_asked_first_from_then_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(tmp_path, 2, **PATIENT) as (engine, doubles):
            odd, well = doubles
            odd.mood = "garbage"
            said = [await ask(engine, f"c{i}") for i in range(12)]
            assert all(one.tokens == [7, 7, 7, 2] for one in said)
            assert len(odd.asked) == 3 and len(well.asked) == 12, "after three it is passed by"
            assert engine.lost == 0 and set(engine.up) == {odd.url, well.url}
            odd.mood = "well"
            await engine.weights_changed(1)
            await ask(engine, "after"), await ask(engine, "the load")
            assert len(odd.asked) == 4, "new weights, and it is as good as any"

    scene(story)


def test_the_episode_has_failed_and_the_others_play_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with fleet(tmp_path, 1, attempts=2, **PATIENT) as (engine, [double]):
            engine.max_context, well, words = 400, double._said, tokenizer()

            def said(sampling: dict[str, Any]) -> dict[str, Any]:
                answer = well(sampling)
                if "Say 9." in words.decode(prompt(double, sampling)):
                    answer["choices"][0]["logprobs"]["content"][0]["logprob"] = NAN
                return answer

            double._said = said  # type: ignore[method-assign]
            player = TokenPlayer(engine, ChatML(words), Sampling(max_tokens=4))
            world = World("tests.train.worlds:Test/Echo-v0", {"turns": 1})
            played = await gather(
                play(world, player, f"train/{i}", seed=i, group=f"{i}", deadline=60.0) for i in (7, 9, 5)
            )
            assert [t.ending for t in played] == ["terminated", "failed", "terminated"]
            assert engine.lost == 0

    scene(story)


def test_in_process_it_is_the_requests_own_too_and_spreads_to_none() -> None:
    """A key that is no number stands in a page of its own; the page is wiped before another gets it."""
    engine = LocalEngine(qwen3_of(tokenizer()), max_context=128, cache_tokens=128)
    how = Sampling(max_tokens=3)

    async def story() -> None:
        before = await engine.complete([5, 6, 7], how, conversation="well", seed=0)
        forward = engine._decoder.forward

        def poison(batch: Any, pages: Any) -> Any:
            pages.keys[:, batch.pages] = pages.values[:, batch.pages] = math.nan
            return forward(batch, pages)

        engine._decoder.forward = poison  # type: ignore[method-assign]
        engine.forget("well")
        with pytest.raises(EngineFailed, match="logprob of a token is nan") as failed:
            await engine.complete([8, 9], how, conversation="ill", seed=0)
        assert not failed.value.retryable
        engine._decoder.forward = forward  # type: ignore[method-assign]
        for i in range(4):
            after = await engine.complete([5, 6, 7], how, conversation=f"{i}", seed=0)
            assert (after.tokens, after.logprobs) == (before.tokens, pytest.approx(before.logprobs))
        await engine.close()

    asyncio.run(story())


def test_what_is_sound_is_taken_as_it_is() -> None:
    sound = generated({"choices": [choice(logprobs=told(-0.5, 1e-7))]}, most=2, vocab=8)
    assert (sound.tokens, sound.logprobs, sound.versions) == ([7, 2], [-0.5, 1e-7], ["0", "0"])
