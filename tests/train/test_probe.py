"""The identity probe: what rounding does passes, what a stale load does never; by simulation, seeds fixed."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from forge_train.config import OptimConfig, TinyConfig
from forge_train.engine import Completion, Sampling
from forge_train.engines.copied import CopiedEngine
from forge_train.engines.identity import PROBE_TOKENS, PROBES, IdentityError, check_gap, probe
from forge_train.learn.learner import Learner
from forge_train.learn.lora import add_lora
from forge_train.tiny import tiny_model
from forge_train.trajectory import Segment, Trajectory
from tests.train.tokens import tokenizer
from tests.vllm.test_engine import fleet, scene

BF16, FP32 = 5e-2, 1e-3
"""Tolerances of a run whose engine computes in bfloat16, and of one in float32."""


def opened() -> list[list[Trajectory]]:
    groups = []
    for first in range(3):
        segment = Segment()
        segment.hear([5 + first, 6, 7])
        groups.append([Trajectory(f"{first}", segments=[segment])])
    return groups


class Rounding:
    """An engine and a learner in one, that differ by `gap()` at each token."""

    max_context = 400

    def __init__(self, gap: Callable[[], float]) -> None:
        self.gap, self.asked = gap, 0

    async def prove(self, prompts: Sequence[Any], sampling: Sampling, **how: Any) -> dict[str, Any]:
        self.asked += 1
        n = sampling.max_tokens
        return {
            "a": [Completion([1] * n, [-1.0 + self.gap() for _ in range(n)], "length", 0) for _ in prompts]
        }

    def logprobs(self, proofs: Sequence[Trajectory], *, temperature: float) -> list[list[list[float]]]:
        return [[[-1.0] * len(t.segments[0].tokens)] for t in proofs]

    def look(self, tolerance: float) -> float:
        learner: Any = SimpleNamespace(version=3, logprobs=self.logprobs)
        engine: Any = self
        return asyncio.run(probe(engine, learner, opened(), 1.0, tolerance))


def bfloat16(rng: random.Random) -> float:
    """What was seen between vLLM in bfloat16 and a learner in float32: 0.02 on average, and a tail."""
    return rng.choice((-1, 1)) * (
        rng.uniform(0.2, 0.6) if rng.random() < 0.02 else rng.expovariate(1 / 0.016)
    )


def test_rounding_of_bfloat16_is_no_verdict_in_two_thousand_loads() -> None:
    rng = random.Random(0)
    alarms = sum(alarm(Rounding(lambda: bfloat16(rng))) for _ in range(2000))
    few = [sum(abs(bfloat16(rng)) for _ in range(8)) / 8 > BF16 for _ in range(2000)]
    assert alarms == 0 and 40 < sum(few) < 400, (
        "eight tokens and no second look: an alarm in a few dozen loads"
    )


def alarm(copy: Rounding) -> bool:
    try:
        copy.look(BF16)
    except IdentityError:
        return True
    return False


def test_one_unlikely_token_is_no_verdict() -> None:
    gaps = iter([0.4] + [0.02] * 1000)
    assert Rounding(lambda: next(gaps)).look(BF16) < 0.03


def test_who_disagrees_is_looked_at_once_more_and_then_there_is_a_verdict() -> None:
    gaps = iter([0.07] * (PROBES * PROBE_TOKENS) + [0.01] * 1000)
    unlucky = Rounding(lambda: next(gaps))
    assert unlucky.look(BF16) == pytest.approx(0.04) and unlucky.asked == 2
    wrong = Rounding(lambda: 0.07)
    with pytest.raises(IdentityError, match=r"a and learner disagree.*version 3: mean gap 0\.07"):
        wrong.look(BF16)
    with pytest.raises(IdentityError, match="mean gap nan"):
        Rounding(lambda: float("nan")).look(BF16)


def test_an_update_of_few_tokens_is_not_judged_by_the_worst_of_them() -> None:
    def judged(gaps: list[float]) -> None:
        told = {
            "logprob_gap": sum(gaps) / len(gaps),
            "logprob_gap_max": max(gaps),
            "tokens_trained": len(gaps),
        }
        check_gap(told, [], 0, BF16)

    judged([0.4, 0.02, 0.02, 0.02])
    judged([0.4])
    for gaps in ([0.4, 0.4, 0.02], [0.06] * 9, [float("nan")], [float("nan"), 0.01]):
        with pytest.raises(IdentityError):
            judged(gaps)


# --------------------------------------------------------------------------------------- stale loads

SIZE = TinyConfig(hidden=32, layers=3, heads=2, kv_heads=1)
PARTS: dict[str, Callable[[str], bool]] = {
    "all": lambda name: True,
    "the head": lambda name: name.startswith("lm_head"),
    "the embedding": lambda name: "embed_tokens" in name,
    "one layer": lambda name: ".layers.1." in name,
    "half of all": lambda name: ".layers.0." in name or "embed" in name,
}


@pytest.mark.parametrize(("dtype", "tolerance", "moved"), [("float32", FP32, 0.05), ("bfloat16", BF16, 2.0)])
@pytest.mark.parametrize("part", PARTS)
def test_what_was_not_loaded_shows(dtype: str, tolerance: float, moved: float, part: str) -> None:
    learner, engine, lost = copies(dtype)
    judge(learner, engine, tolerance)
    move(learner.model, moved)
    asyncio.run(engine.weights_changed(1))
    judge(learner, engine, tolerance)
    move(learner.model, moved)
    lost.append(PARTS[part])
    asyncio.run(engine.weights_changed(2))
    with pytest.raises(IdentityError, match="engine in process and learner disagree"):
        judge(learner, engine, tolerance)


def test_another_adapter_shows() -> None:
    model = tiny_model(tokenizer(), SIZE, seed=0)
    served = copy.deepcopy(model)
    add_lora(model, rank=4, alpha=32.0, seed=1)
    learner = Learner(model, OptimConfig())
    other: list[bool] = []

    def weights() -> Iterator[dict[str, Tensor]]:
        if other:
            move(model, 0.5, of="lora_B")
        yield from learner.weights()
        if other:
            move(model, 0.5, of="lora_B")

    engine = CopiedEngine(served, weights, max_context=64)
    move(model, 0.5, of="lora_B")
    asyncio.run(engine.weights_changed(1))
    judge(learner, engine, FP32)
    other.append(True)
    asyncio.run(engine.weights_changed(2))
    with pytest.raises(IdentityError):
        judge(learner, engine, FP32)


def copies(dtype: str) -> tuple[Learner, CopiedEngine, list[Callable[[str], bool]]]:
    """A learner, an engine in another precision, and what its next loads leave out."""
    model = tiny_model(tokenizer(), SIZE, seed=0)
    lost: list[Callable[[str], bool]] = []

    def weights() -> Iterator[dict[str, Tensor]]:
        yield {n: w for n, w in model.state_dict().items() if not any(part(n) for part in lost)}

    served = copy.deepcopy(model).to(getattr(torch, dtype))
    return Learner(model, OptimConfig()), CopiedEngine(served, weights, max_context=64), lost


def move(model: Any, share: float, of: str = "") -> None:
    """Change every weight by about `share` of the size of its tensor's."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if of in name:
                weight += share * torch.randn_like(weight) * weight.std().clamp(min=0.02)


def judge(learner: Learner, engine: CopiedEngine, tolerance: float) -> None:
    gap = asyncio.run(probe(engine, learner, opened(), 1.0, tolerance))
    assert gap <= tolerance
    engine._proved = False


# ------------------------------------------------------------------------------------------ checksums


@pytest.mark.parametrize("always", [False, True])
def test_servers_that_hold_different_weights_are_named_with_the_tensor(tmp_path: Any, always: bool) -> None:
    async def story() -> None:
        async with fleet(tmp_path, 3, checksums=always) as (engine, doubles):
            for i, double in enumerate(doubles):
                double.checksums = {"embed": "new", "head": "old" if i == 1 else "new"}
            told = await engine.differing(engine.urls, doubted=not always)
            assert list(told) == [doubles[1].url] and "1 of 2 tensors" in told[doubles[1].url]
            assert "head" in told[doubles[1].url]
            doubles[1].checksums = None
            assert await engine.differing(engine.urls, doubted=True) == {}, "an older vLLM has none"

    scene(story)


def test_of_two_servers_it_is_the_one_that_did_not_change(tmp_path: Any) -> None:
    async def story() -> None:
        async with fleet(tmp_path, 2) as (engine, doubles):
            for double in doubles:
                double.checksums = {"head": "0"}
            assert await engine.differing(engine.urls, doubted=True) == {}
            doubles[0].checksums = {"head": "1"}
            assert await engine.differing(engine.urls, doubted=False) == {}, "nobody asked"
            told = await engine.differing(engine.urls, doubted=True)
            assert list(told) == [doubles[1].url] and "those of the load before" in told[doubles[1].url]

    scene(story)
