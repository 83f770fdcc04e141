"""What a transfer of weights takes beside the model: one bucket, counted in bytes, on every way they go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from forge_train.config import OptimConfig
from forge_train.engines.copied import CopiedEngine
from forge_train.engines.nccl import NCCLTransfer
from forge_train.engines.weights import save_policy
from forge_train.learn import plain_weights
from forge_train.learn.learner import Learner
from forge_train.learn.lora import adapter_state, add_lora, load_adapter
from forge_train.learn.plain_weights import buckets, full_weights, gather_weights, model_weights, weight_bytes
from tests.train.counting import LiveBytes
from tests.train.test_weights import Recorder, Wire, read
from tests.train.tokens import tokenizer

HALF = torch.bfloat16
AT_ONCE = 2**17
"""Bytes of a bucket here: those of the largest weight, of about ten in all."""


def model_of(*, lora: bool = False, dtype: torch.dtype = torch.float32, tied: bool = False) -> Any:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=1024, hidden_size=64, intermediate_size=512, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, tie_word_embeddings=tied,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).to(dtype)
    if lora:
        add_lora(model, rank=4, alpha=8.0, seed=0)
        load_adapter(model, {n: torch.randn_like(p) for n, p in adapter_state(model).items()})
    return model


def test_the_counter_counts() -> None:
    there = torch.zeros(1000)
    with LiveBytes() as live:
        made = torch.zeros(500)
        view = made.view(5, 100)
        del made
        assert live.now == 2000, "a view keeps it"
        half = there.to(HALF)
        assert live.now == 4000 and live.peak == 4000
        del view, half
        there.add_(1)
    assert (live.now, live.peak) == (0, 4000)


@pytest.mark.parametrize("tied", [False, True])
def test_to_files(tmp_path: Path, tied: bool) -> None:
    model = model_of(tied=tied)
    with LiveBytes() as live:
        weights = partial(model_weights, model, at_once=AT_ONCE)
        path = save_policy(model, tokenizer(), tmp_path / "policy", dtype=HALF, weights=weights)
    total = sum(weight_bytes(model, HALF).values())
    assert 0 < live.peak <= AT_ONCE < total / 5
    assert len(list(path.glob("model-*-of-*.safetensors"))) >= 6
    written, ours = read(path), model.state_dict()
    assert {w.dtype for w in written.values()} == {HALF} and written.keys() == ours.keys()
    assert all(torch.equal(w, ours[name].to(HALF)) for name, w in written.items())
    again = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    assert all(torch.equal(w, ours[n].to(HALF).float()) for n, w in again.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
def test_with_an_adapter_merged(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """The sum is made in float32, a few rows at a time, and cast: no layer is ever whole in float32."""
    monkeypatch.setattr(plain_weights, "MERGED_AT_ONCE", 1024)
    model = model_of(lora=True, dtype=dtype)
    taken: list[str] = []
    with LiveBytes() as live:
        for bucket in model_weights(model, HALF, AT_ONCE):
            taken += bucket
            del bucket
    assert 0 < live.peak <= AT_ONCE + 4 * 1024 * 4
    layer = model.model.layers[0].mlp.up_proj
    merged = gather_weights(model, ["model.layers.0.mlp.up_proj.weight"], HALF)
    delta = 2.0 * layer.lora_B["policy"].weight.float() @ layer.lora_A["policy"].weight.float()
    expected = (layer.base_layer.weight.float() + delta).to(HALF)
    assert torch.equal(merged["model.layers.0.mlp.up_proj.weight"], expected)
    assert taken == list(full_weights(model))


def test_to_two_servers_by_nccl_and_they_get_on_together(inline: None) -> None:
    model, order = model_of(), []

    class Counted(Wire):
        def __init__(self, unique: bytes, size: int) -> None:
            super().__init__(unique, size)
            self.got: dict[str, torch.Tensor] = {}

        def send(self, tensors: Any) -> None:
            order.append((id(self), tuple(tensors)))
            for name, w in tensors.items():
                self.got[name] = torch.frombuffer(w.view(torch.int16).numpy().tobytes(), dtype=HALF)

    wires: list[Counted] = []

    def link(unique: bytes, size: int) -> Counted:
        wires.append(Counted(unique, size))
        return wires[-1]

    transfer = NCCLTransfer(
        model, device="cpu", weights=partial(model_weights, model, at_once=AT_ONCE), link=link,
        unique_id=lambda: b"u" * 128,
    )  # fmt: skip
    servers = [Recorder("http://one"), Recorder("http://two")]
    with LiveBytes() as live:
        asyncio.run(transfer.publish(1, servers, 30.0))
    assert 0 < live.peak <= AT_ONCE
    assert [server.named for server in servers] == ["1", "1"]
    dealt = [tuple(names) for names in buckets(model, HALF, AT_ONCE)]
    assert [names for _, names in order] == [names for names in dealt for _ in servers]
    for wire in wires:
        assert wire.got.keys() == model.state_dict().keys()
        assert all(torch.equal(w, model.state_dict()[n].to(HALF).flatten()) for n, w in wire.got.items())


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread would do is done at once: only this thread's tensors are counted."""

    async def to_thread(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return work(*args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)


def test_to_an_engine_with_a_copy() -> None:
    model = model_of(lora=True)
    learner, copy = Learner(model, OptimConfig()), model_of()
    engine = CopiedEngine(copy, partial(learner.weights, at_once=2 * AT_ONCE), max_context=64)
    with LiveBytes() as live:
        asyncio.run(engine.weights_changed(1))
    assert 0 < live.peak <= 2 * AT_ONCE + 3 * 4 * 2**15
    assert all(torch.equal(w, copy.state_dict()[n]) for n, w in full_weights(model).items())


def test_to_a_checkpoint(tmp_path: Path) -> None:
    model = model_of()
    learner = Learner(model, OptimConfig())
    with LiveBytes() as live:
        learner.save_pretrained(tmp_path)
    assert live.peak == 0, "they are written from where they are"
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize("at_once", [1, 1000, AT_ONCE, 2**30])
def test_buckets_have_all_weights_once_in_order(at_once: int) -> None:
    model = model_of(tied=True)
    sizes = weight_bytes(model, HALF)
    dealt = buckets(model, HALF, at_once)
    assert [name for names in dealt for name in names] == list(sizes) and "lm_head.weight" not in sizes
    assert all(sum(map(sizes.get, names)) <= at_once or len(names) == 1 for names in dealt)  # type: ignore[arg-type]
