"""The in-process engine against a fresh Hugging Face forward, whatever it has kept, shared or dropped."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from forge_train.engine import Completion, Engine, Sampling
from forge_train.engines.attention import TOGETHER
from forge_train.engines.decoder import WORTH_A_THREAD, Decoder
from forge_train.engines.local import WORTH_WAITING, LocalEngine
from forge_train.engines.pages import PAGE
from forge_train.engines.sampler import sample, uniforms

VOCAB = 97
SIZE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.3,  # far from uniform, so that a wrong key or value shows
}


def qwen3(seed: int = 0, **changes: Any) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(Qwen3Config(**{**SIZE, "head_dim": 16, **changes})).eval()


def qwen2() -> Qwen2ForCausalLM:
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(Qwen2Config(**SIZE, tie_word_embeddings=True)).eval()
    for layer in model.model.layers:
        for part in ("q_proj", "k_proj", "v_proj"):
            torch.nn.init.normal_(getattr(layer.self_attn, part).bias)
    return model


def llama() -> LlamaForCausalLM:
    torch.manual_seed(2)
    rope = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    return LlamaForCausalLM(LlamaConfig(**SIZE, rope_parameters=rope)).eval()


MODEL = qwen3()


def tokens(n: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(VOCAB), k=n)


@torch.no_grad()
def fresh(model: Any, prompt: Sequence[int], said: Completion) -> list[float]:
    """Logprobs of what was said, from one forward over the whole sequence."""
    sequence = [*prompt, *said.tokens]
    logprobs = model(torch.tensor([sequence])).logits[0].float().log_softmax(-1)
    return [logprobs[i - 1, sequence[i]].item() for i in range(len(prompt), len(sequence))]


def assert_right(model: Any, prompt: Sequence[int], said: Completion, tolerance: float = 2e-5) -> None:
    """In single precision both sides round: each is up to 1.2e-5 from the same forward in double."""
    np.testing.assert_allclose(said.logprobs, fresh(model, prompt, said), rtol=0, atol=tolerance)


def ask(
    engine: LocalEngine, prompt: Sequence[int], n: int = 8, name: str = "a", seed: int = 0, **sampling: Any
) -> Coroutine[Any, Any, Completion]:
    return engine.complete(prompt, Sampling(max_tokens=n, **sampling), conversation=name, seed=seed)


async def talk(
    engine: LocalEngine, opening: list[int], name: str, turns: int = 3, seed: int = 0
) -> list[int]:
    """A few turns, each checked; returns the whole sequence."""
    sequence, rng = list(opening), random.Random(f"{name}/{seed}")
    for turn in range(turns):
        said = await ask(engine, sequence, rng.randint(1, 40), name, seed=seed * 1000 + turn)
        assert_right(MODEL, sequence, said)
        sequence += said.tokens + rng.choices(range(VOCAB), k=rng.randint(1, 90))
    return sequence


def new(**changes: Any) -> LocalEngine:
    return LocalEngine(MODEL, **{"max_context": 640, **changes})


# ------------------------------------------------------------------------------------ the right numbers


def test_is_an_engine() -> None:
    assert isinstance(new(), Engine) and new().reproducible


@pytest.mark.parametrize("model", [MODEL, qwen3(tie_word_embeddings=True), qwen2(), llama()])
@pytest.mark.parametrize("length", [1, 2, PAGE - 1, PAGE, PAGE + 1, 200])
def test_logprobs_are_those_of_a_fresh_forward(model: Any, length: int) -> None:
    prompt = tokens(length)
    said = asyncio.run(ask(LocalEngine(model, max_context=400), prompt, 2 * PAGE + 3))
    assert len(said.tokens) == 2 * PAGE + 3 and said.finish == "length"
    assert_right(model, prompt, said)


def test_half_precision_follows_the_model() -> None:
    model = copy.deepcopy(MODEL).to(torch.bfloat16)
    prompt = tokens(150)
    said = asyncio.run(ask(LocalEngine(model, max_context=400), prompt, 20))
    assert_right(model, prompt, said, tolerance=0.15)


def test_groups_of_conversations_over_several_turns() -> None:
    engine = new()

    async def everyone() -> None:
        await asyncio.gather(*(talk(engine, tokens(150, g), f"{g}/{m}") for g in range(3) for m in range(4)))

    asyncio.run(everyone())
    assert engine.counters.copied > 9 * 140


def test_more_rows_share_a_page_than_one_product_takes() -> None:
    engine, opening = new(), tokens(2 * PAGE + 9)

    async def story() -> None:
        await asyncio.gather(*(talk(engine, opening, f"{m}", turns=1) for m in range(2 * TOGETHER + 3)))

    asyncio.run(story())


def test_requests_join_while_others_run() -> None:
    engine = new()

    async def everyone() -> None:
        first = asyncio.create_task(ask(engine, tokens(100, 1), 200, "first"))
        for late in range(4):
            while engine.counters.sampled < 15 * (late + 1):
                await asyncio.sleep(0)
            await talk(engine, tokens(70 + late, 2 + late), f"late {late}", turns=1)
            assert not first.done()
        assert_right(MODEL, tokens(100, 1), await first)

    asyncio.run(everyone())


def test_long_prompts_are_prefilled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge_train.engines.local.STEP_TOKENS", 50)
    engine = new()

    async def everyone() -> None:
        await asyncio.gather(*(talk(engine, tokens(230, g), f"{g}/{m}") for g in range(2) for m in range(3)))

    asyncio.run(everyone())
    assert engine.counters.copied >= 2 * 2 * (229 - WORTH_WAITING)


def test_a_conversation_may_take_back_what_it_said() -> None:
    engine = new()

    async def run() -> None:
        long = tokens(300)
        assert_right(MODEL, long, await ask(engine, long, 80))
        for cut in (280, 256, 130, 64, 1):
            changed = long[:cut] + tokens(20, seed=cut)
            assert_right(MODEL, changed, await ask(engine, changed, 70))
        again = tokens(300)
        assert_right(MODEL, again, await ask(engine, again, 10, name="b"))

    asyncio.run(run())


@settings(max_examples=12)
@given(
    plays=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([1, 63, 64, 65, 130]), st.integers(1, 3)),
        min_size=1,
        max_size=6,
    ),
    slots=st.integers(1, 4),
    pages=st.integers(10, 24),
)
def test_any_interleaving_is_right(plays: list[tuple[int, int, int]], slots: int, pages: int) -> None:
    """Few slots and little memory: queueing, sharing and eviction all happen."""
    engine = new(slots=slots, cache_tokens=pages * PAGE)

    async def everyone() -> None:
        await asyncio.gather(
            *(
                talk(engine, tokens(130, opening)[:length], f"{i}", turns, seed=i)
                for i, (opening, length, turns) in enumerate(plays)
            )
        )

    asyncio.run(everyone())
    for i in range(len(plays)):
        engine.forget(f"{i}")
    assert engine._pages.free == engine._pages.count == pages


# ------------------------------------------------------------------------------------- computed once


def test_a_turn_prefills_only_what_is_new() -> None:
    engine = new()

    async def run() -> None:
        prompt = tokens(100)
        said = await ask(engine, prompt, 20)
        assert (engine.counters.prefilled, engine.counters.decoded) == (100, 19)
        await ask(engine, prompt + said.tokens + tokens(30, 1), 5)
        assert (engine.counters.prefilled, engine.counters.decoded) == (100 + 1 + 30, 19 + 4)

    asyncio.run(run())


@pytest.mark.parametrize("length", [40, 64, 100, 128, 200])
def test_a_shared_opening_is_prefilled_once(length: int) -> None:
    """Every other member runs the last token only: it needs that one's logits."""
    engine = new()

    async def run() -> list[Completion]:
        return await asyncio.gather(*(ask(engine, tokens(length), 10, str(i), seed=i) for i in range(8)))

    said = asyncio.run(run())
    assert engine.counters.prefilled == length + 7
    assert engine.counters.copied == 7 * (length - 1)
    assert len({tuple(s.tokens) for s in said}) == 8
    for completion in said:
        assert_right(MODEL, tokens(length), completion)


def test_an_opening_outlives_its_conversation_until_room_is_needed() -> None:
    engine = new(cache_tokens=640)

    async def run() -> None:
        await ask(engine, tokens(200), 5, "a")
        engine.forget("a")
        await ask(engine, tokens(200), 5, "b")
        assert engine.counters.prefilled == 200 + 200 - 3 * PAGE
        engine.forget("b")
        await ask(engine, tokens(600, seed=1), 5, "c")
        engine.forget("c")
        await ask(engine, tokens(200), 5, "d")
        assert engine.counters.prefilled == 200 + 200 - 3 * PAGE + 600 + 200

    asyncio.run(run())


# ------------------------------------------------------------------------------------- limits of memory


def test_idle_conversations_make_room_and_come_back() -> None:
    engine = new(cache_tokens=640)

    async def run() -> None:
        one, two = tokens(300, 1), tokens(300, 2)
        for name, sequence in (("one", one), ("two", two)):
            sequence += (await ask(engine, sequence, 10, name)).tokens
        await ask(engine, tokens(50, 3), 10, "three")
        assert engine.counters.evictions == 1
        two += tokens(5)
        before = engine.counters.prefilled
        assert_right(MODEL, two, await ask(engine, two, 10, "two"))
        assert engine.counters.prefilled - before < 10
        one += tokens(5)
        assert_right(MODEL, one, await ask(engine, one, 10, "one"))
        assert engine.counters.evictions > 1

    asyncio.run(run())


def test_conversations_that_wait_for_each_others_memory_all_get_on() -> None:
    engine = new(cache_tokens=640)

    async def run() -> None:
        sequences = [tokens(300, i) for i in range(2)]
        for i, sequence in enumerate(sequences):
            sequence += (await ask(engine, sequence, 10, str(i))).tokens + tokens(20)
        async with asyncio.timeout(10):
            said = await asyncio.gather(*(ask(engine, sequences[i], 100, str(i)) for i in range(2)))
        for sequence, completion in zip(sequences, said, strict=True):
            assert_right(MODEL, sequence, completion)
        assert engine.counters.evictions >= 1

    asyncio.run(run())


@pytest.mark.parametrize("limits", [{"slots": 2}, {"cache_tokens": 640, "slots": 64}])
def test_requests_beyond_the_limits_wait(limits: dict[str, int]) -> None:
    engine = new(**limits)
    order: list[int] = []

    async def one(i: int) -> None:
        prompt = tokens(150, i)
        said = await ask(engine, prompt, 10 + i, str(i))
        order.append(i)
        assert_right(MODEL, prompt, said)

    async def run() -> None:
        await asyncio.gather(*(one(i) for i in range(7)))

    asyncio.run(run())
    assert order == list(range(7))


# ------------------------------------------------------------------------------------- weights


def changed_model() -> tuple[Any, LocalEngine]:
    model = copy.deepcopy(MODEL)
    return model, LocalEngine(model, max_context=640, version=4)


def disturb(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.8)


def test_new_weights_void_what_was_computed() -> None:
    model, engine = changed_model()

    async def run() -> None:
        prompt = tokens(150)
        said = await ask(engine, prompt, 20)
        assert said.version == 4
        disturb(model)
        await engine.weights_changed(5)
        prompt += said.tokens + tokens(10, 1)
        for name in ("a", "b"):
            said = await ask(engine, prompt, 20, name)
            assert said.version == engine.version == 5
            assert_right(model, prompt, said)

    asyncio.run(run())


def test_requests_in_flight_go_on_under_new_weights() -> None:
    model, engine = changed_model()
    old = copy.deepcopy(model)
    prompt = tokens(100)

    async def run() -> list[Completion]:
        asked = [asyncio.create_task(ask(engine, prompt, 60, str(i), seed=i)) for i in range(3)]
        while engine.counters.sampled < 60:
            await asyncio.sleep(0)
        engine.forget("2")
        disturb(model)
        await engine.weights_changed(5)
        return await asyncio.gather(*asked)

    for said in asyncio.run(run()):
        assert said.version == 4 and len(said.tokens) == 60
        before, after = fresh(old, prompt, said), fresh(model, prompt, said)
        switch = next(i for i in range(60) if abs(said.logprobs[i] - before[i]) > 1e-4)
        assert switch >= 19
        np.testing.assert_allclose(said.logprobs[:switch], before[:switch], atol=1e-5)
        np.testing.assert_allclose(said.logprobs[switch:], after[switch:], atol=1e-5)


# ------------------------------------------------------------------------------------- sampling


def test_a_draw_does_not_depend_on_what_else_is_in_flight() -> None:
    async def alone() -> Completion:
        return await ask(new(), tokens(90), 40, seed=77)

    async def crowded() -> Completion:
        engine = new()
        others = [asyncio.create_task(talk(engine, tokens(90, i), f"{i}", seed=i)) for i in range(7)]
        said = await ask(engine, tokens(90), 40, "mine", seed=77)
        await asyncio.gather(*others)
        return said

    one, other = asyncio.run(alone()), asyncio.run(crowded())
    assert one.tokens == other.tokens
    np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
    assert asyncio.run(alone()) == one
    assert asyncio.run(ask(new(), tokens(90), 40, seed=78)).tokens != one.tokens


def test_crowded_runs_repeat_to_the_bit() -> None:
    async def crowded() -> list[Completion]:
        engine = new(slots=5)
        return await asyncio.gather(*(ask(engine, tokens(90, i % 3), 30, str(i), seed=i) for i in range(9)))

    assert asyncio.run(crowded()) == asyncio.run(crowded())


def test_stop_tokens_and_greedy() -> None:
    prompt = tokens(60)
    greedy = asyncio.run(ask(new(), prompt, 12, temperature=0.0))
    with torch.no_grad():
        ids = torch.tensor([prompt])
        generated = MODEL.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=0
        )
    assert greedy.tokens == generated[0, len(prompt) :].tolist()
    assert_right(MODEL, prompt, greedy)
    stop = greedy.tokens[4]
    first = greedy.tokens.index(stop)
    cut = asyncio.run(ask(new(), prompt, 12, temperature=0.0, stop=(stop,)))
    assert cut.finish == "stop" and cut.tokens == greedy.tokens[: first + 1]
    assert len(cut.logprobs) == len(cut.tokens)


SAMPLINGS = [
    Sampling(),
    Sampling(temperature=0.5),
    Sampling(top_k=3),
    Sampling(top_p=0.7),
    Sampling(top_k=6, top_p=0.6, temperature=2.0),
    Sampling(top_p=1e-6),
    Sampling(temperature=0.0, top_k=5),
]


def expected(logits: list[float], sampling: Sampling) -> np.ndarray[Any, Any]:
    """The distribution in question, by definition, one token at a time."""
    scaled = np.array(logits, dtype=np.float64) / (sampling.temperature or 1.0)
    p = np.exp(scaled - scaled.max())
    order = sorted(range(len(p)), key=lambda i: -p[i])
    if not sampling.greedy:
        kept = order[: sampling.top_k or len(order)]
        p = np.array([p[i] if i in kept else 0.0 for i in range(len(p))])
        p /= p.sum()
        reached, nucleus = 0.0, []
        for i in kept:
            if reached < sampling.top_p:
                nucleus.append(i)
            reached += p[i]
        p = np.array([p[i] if i in nucleus else 0.0 for i in range(len(p))])
    return p / p.sum()


def test_draws_follow_the_truncated_distribution_and_report_it() -> None:
    """All samplings mixed in one batch; frequencies against the exact probabilities (4.5 sigma)."""
    logits = random.Random(3).choices([-2.0, -0.5, 0.0, 0.3, 1.0, 2.0], k=11)
    logits = [x + 0.01 * i for i, x in enumerate(logits)]  # no ties
    draws = 4000
    batch = [s for s in SAMPLINGS for _ in range(draws)]
    drawn, logprobs = sample(
        torch.tensor([logits]).repeat(len(batch), 1), batch, uniforms(range(len(batch)), [5] * len(batch))
    )
    for row, sampling in enumerate(SAMPLINGS):
        p = expected(logits, sampling)
        mine = slice(row * draws, (row + 1) * draws)
        np.testing.assert_allclose(logprobs[mine], np.log(p[drawn[mine]]), atol=1e-5)
        if sampling.greedy:
            assert set(drawn[mine]) == {int(p.argmax())}
        else:
            seen = np.bincount(drawn[mine], minlength=len(p)) / draws
            assert set(np.flatnonzero(seen)) <= set(np.flatnonzero(p))
            np.testing.assert_array_less(np.abs(seen - p), 4.5 * np.sqrt(p * (1 - p) / draws) + 1e-9)


def test_the_ends_of_the_unit_interval_draw_possible_tokens() -> None:
    logits = torch.tensor([[-np.inf, 0.0, 1.0, -np.inf, -np.inf]] * 2, dtype=torch.float32)
    drawn, _ = sample(logits, [Sampling()] * 2, np.array([0.0, 1 - 2.0**-53]))
    assert drawn == [1, 2]


def test_uniforms_look_uniform() -> None:
    u = uniforms(list(range(200)) * 50, [p for p in range(50) for _ in range(200)])
    assert u.min() >= 0 and u.max() < 1 and len(set(u.tolist())) == len(u)
    grid = u.reshape(50, 200)
    assert abs(u.mean() - 0.5) < 0.015
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.05


# ------------------------------------------------------------------------------------- errors and endings


def test_small_passes_take_one_thread() -> None:
    before = torch.get_num_threads()
    decoder = Decoder(qwen3(), max_context=64)
    many = (WORTH_A_THREAD - 1) // (32 * 64)  # tokens, times the widest matrix: q_proj, 4 heads of 16
    try:
        torch.set_num_threads(2)
        for tokens, expected in [(1, 1), (many, 1), (many + 1, 2)]:
            with decoder.threads(tokens):
                assert torch.get_num_threads() == expected
            assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), decoder.threads(1):
            raise KeyError("in the middle of a pass")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_context_is_a_limit() -> None:
    engine = new(max_context=100)
    said = asyncio.run(ask(engine, tokens(90), 50))
    assert len(said.tokens) == 10 and said.finish == "length"
    with pytest.raises(ValueError, match=r"100 tokens.*max_context=100: raise max_context"):
        asyncio.run(ask(engine, tokens(100), 1))


def test_bad_requests_say_what_is_wrong() -> None:
    engine = new()
    with pytest.raises(ValueError, match="nothing to continue"):
        asyncio.run(ask(engine, []))
    with pytest.raises(ValueError, match=r"from -1 to 97, the model knows 0 to 96"):
        asyncio.run(ask(engine, [-1, 97]))

    async def twice() -> None:
        await asyncio.gather(ask(engine, tokens(10)), ask(engine, tokens(11)))

    with pytest.raises(ValueError, match="'a' is already being continued"):
        asyncio.run(twice())
    with pytest.raises(ValueError, match="cache_tokens=50 cannot hold one context of max_context=640"):
        new(cache_tokens=50)
    with pytest.raises(ValueError, match="slots=0"):
        new(slots=0)


def test_models_it_cannot_run_are_refused() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11))
    with pytest.raises(ValueError, match=r"'gpt2' model.*qwen3, qwen2, llama.*vLLM"):
        LocalEngine(gpt2, max_context=64)
    dynamic = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    with pytest.raises(ValueError, match="rotary scaling 'dynamic'"):
        LocalEngine(qwen3(rope_parameters=dynamic), max_context=64)
    sliding = qwen3(use_sliding_window=True, sliding_window=16, max_window_layers=0)
    with pytest.raises(ValueError, match=r"sliding_window=16.*use_sliding_window=False"):
        LocalEngine(sliding, max_context=64)


def test_cancelled_requests_leave_the_batch() -> None:
    engine = new(slots=2)

    async def run() -> None:
        asked = [asyncio.create_task(ask(engine, tokens(80, i), 200, str(i))) for i in range(4)]
        while engine.counters.sampled < 10:
            await asyncio.sleep(0)
        asked[0].cancel()  # running
        asked[3].cancel()  # waiting
        for name in ("0", "3"):
            engine.forget(name)
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(d, asyncio.CancelledError) for d in done] == [True, False, False, True]
        for i in (1, 2):
            assert_right(MODEL, tokens(80, i), done[i])
            engine.forget(str(i))

    asyncio.run(run())
    assert engine._pages.free == engine._pages.count and not engine._busy


def test_close_fails_what_is_in_flight() -> None:
    engine = new(slots=1)

    async def run() -> list[Any]:
        asked = [asyncio.create_task(ask(engine, tokens(50, i), 400, str(i))) for i in range(3)]
        while engine.counters.sampled < 5:
            await asyncio.sleep(0)
        await engine.close()
        await engine.close()
        async with asyncio.timeout(5):
            return await asyncio.gather(*asked, return_exceptions=True)

    for error in asyncio.run(run()):
        assert isinstance(error, RuntimeError)
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(ask(engine, [1]))


def test_an_error_in_a_step_reaches_everyone_and_the_engine_goes_on() -> None:
    model, engine = changed_model()
    layer = model.model.layers[1].mlp.down_proj
    good = layer.weight

    async def run() -> None:
        asked = [asyncio.create_task(ask(engine, tokens(50, i), 100, str(i))) for i in range(3)]
        while engine.counters.sampled < 9:
            await asyncio.sleep(0)
        layer.weight = torch.nn.Parameter(torch.zeros(3, 3))
        async with asyncio.timeout(5):
            for error in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(error, RuntimeError) and "shapes" in str(error)
        layer.weight = good
        assert_right(model, tokens(50), await ask(engine, tokens(50), 10, "0"))

    asyncio.run(run())


def test_one_engine_serves_several_event_loops() -> None:
    engine = new()
    for seed in range(3):
        assert len(asyncio.run(ask(engine, tokens(20, seed), 5)).tokens) == 5
