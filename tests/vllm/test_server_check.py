"""A server of another model, precision or room is told so before weights reach it; one that fails goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.config import VLLMConfig
from forge_train.engine import EngineFailed
from forge_train.engines.nccl import NCCLTransfer
from forge_train.engines.server_check import sizes_of, sizes_told
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.vllm_http import Client, ServerError
from forge_train.engines.weights import AdapterTransfer, FolderTransfer
from tests.vllm.double import Double
from tests.vllm.test_engine import PATIENT, QUICK, scene, tiny, until

TOLD = """Qwen3ForCausalLM()(
  (model): Qwen3Model()(
    (embed_tokens): VocabParallelEmbeddingWithLoRA()(
      (base_layer): VocabParallelEmbedding(num_embeddings=320, num_embeddings_per_partition=320, \
embedding_dim=64, org_vocab_size=320, num_embeddings_padded=320, tp_size=1)
    )
    (layers): ModuleList()(
      (0-1): 2 x Qwen3DecoderLayer()(
        (self_attn): Qwen3Attention()(
          (qkv_proj): MergedQKVParallelLinearWithLoRA()(
            (base_layer): QKVParallelLinear(in_features=64, output_features=128, bias=False, tp_size=1)
          )
          (attn): Attention(head_size=32, num_heads=2, num_kv_heads=1, scale=0.17, backend=CPU)
          (q_norm): RMSNorm(hidden_size=32, eps=1e-06)
        )
        (mlp): Qwen2MLP()(
          (down_proj): RowParallelLinearWithLoRA()(
            (base_layer): RowParallelLinear(in_features=192, output_features=64, bias=False, tp_size=1)
          )
        )
      )
    )
    (norm): RMSNorm(hidden_size=64, eps=1e-06)
  )
)"""
"""What vLLM 0.32 says of a tiny Qwen3, somewhat shortened."""


def model_of(**other: int) -> Any:
    sizes = {
        "vocab_size": 320, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
    }  # fmt: skip
    return Qwen3ForCausalLM(Qwen3Config(**sizes | other))


def test_what_a_server_says_is_what_our_model_is() -> None:
    theirs = sizes_told(TOLD)
    assert theirs.pop("shards") == 1
    assert sizes_of(model_of()) == theirs and len(theirs) == 9
    assert sizes_told("nothing that we know") == {}


async def refusal(tmp_path: Path, model: Any = None, **double: Any) -> str:
    """Why a server is refused; nothing may have been loaded into it."""
    server = await Double().start()
    for name, value in double.items():
        setattr(server, name, value)
    transfer = FolderTransfer(model or tiny(), tmp_path)
    sizes = None if model is None else sizes_of(model)
    engine = VLLMEngine(
        [server.url], VLLMConfig(**{**QUICK, **PATIENT}), max_context=32, transfer=transfer, sizes=sizes
    )
    try:
        with pytest.raises(ValueError) as refused:
            await engine.start()
    finally:
        await server.stop()
    assert not server.loads and not server.paused
    return str(refused.value).replace(server.url, "URL")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"hidden_size": 128}, "hidden size 64 (ours: 128)"),
        ({"num_hidden_layers": 3}, "layers 2 (ours: 3)"),
        ({"vocab_size": 400}, "vocabulary 320 (ours: 400)"),
        ({"intermediate_size": 256}, "width of the feed-forward 192 (ours: 256)"),
        ({"num_attention_heads": 4}, "query heads 2 (ours: 4)"),
        ({"num_key_value_heads": 2}, "key heads 1 (ours: 2)"),
        ({"head_dim": 16}, "head size 32 (ours: 16)"),
        ({"attention_bias": True}, "biases of queries 0 (ours: 1)"),
    ],
)
def test_another_model(tmp_path: Path, other: dict[str, int], said: str) -> None:
    async def play() -> None:
        told = await refusal(tmp_path, model_of(**other), modules=TOLD)
        assert told.startswith("URL serves another model") and said in told and "set model.path" in told

    scene(play)


def test_another_precision(tmp_path: Path) -> None:
    async def play() -> None:
        told = await refusal(tmp_path, settings={"model_config": {"dtype": "torch.float32"}})
        assert told.startswith('URL computes in float32 and vllm.dtype = "bfloat16"')
        assert "--dtype bfloat16" in told

    scene(play)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"max_lora_rank": 8, "max_loras": 2}, "up to rank 8 and model.lora_rank is 16"),
        ({"max_lora_rank": 16, "max_loras": 1}, "holds 1 adapters at once"),
    ],
)
def test_no_room_for_the_adapters(tmp_path: Path, lora: dict[str, int], said: str) -> None:
    transfer = AdapterTransfer(lambda folder: None, tmp_path, rank=16)
    with pytest.raises(ValueError, match=said):
        transfer.refuse("http://one", {"vllm_config": {"lora_config": lora}})
    transfer.refuse("http://one", {"vllm_config": {"lora_config": {"max_lora_rank": 16, "max_loras": 2}}})


@pytest.mark.parametrize(
    ("packages", "refused"),
    [
        ("nvidia-nccl-cu13==2.28.9", False),
        ("nvidia-nccl-cu13==2.28.3", False),
        ("torch==2.11\nnvidia-nccl-cu12==2.27.5", True),
        ("numpy==2.3.5", False),
    ],
)
def test_two_versions_of_nccl_do_not_meet(packages: str, refused: bool) -> None:
    async def play() -> None:
        double = await Double().start()
        double.settings["weight_transfer_config"] = {"backend": "nccl"}
        double.packages = packages
        client = Client(double.url)
        transfer = NCCLTransfer(
            tiny(), device="cpu", link=lambda unique, size: pytest.fail("too late"), nccl=lambda: (2, 28, 9)
        )
        info = await client.info(20.0)
        if refused:
            with pytest.raises(ValueError, match=r"NCCL 2\.27\.5 and the trainer 2\.28\.9.*\"folder\""):
                transfer.refuse(double.url, info)
        else:
            transfer.refuse(double.url, info)
        await client.close()
        await double.stop()

    scene(play)


@pytest.mark.parametrize("fault", ["/collective_rpc", "/update_weight_version"])
def test_a_load_that_fails_leaves_a_server_that_goes_on(tmp_path: Path, fault: str) -> None:
    async def play() -> None:
        double = await Double().start()
        client, transfer = Client(double.url), FolderTransfer(tiny(), tmp_path, dtype=torch.float32)
        await transfer.publish(1)
        await transfer.load(client, 1, 20.0)
        double.faults.add(fault)
        with pytest.raises(ServerError, match="out of memory"):
            await transfer.load(client, 1, 20.0)
        assert not double.paused and double.heard[-1] == "/resume"
        assert double.version == ("default" if fault == "/collective_rpc" else "1")
        await client.close()
        await double.stop()
        transfer.close()

    scene(play)


def test_an_interrupted_load_leaves_a_server_that_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        double = await Double().start()
        client, transfer = Client(double.url), FolderTransfer(tiny(), tmp_path)
        await transfer.publish(1)
        entered = asyncio.Event()

        async def never(folder: Path, timeout: float) -> None:
            entered.set()
            await asyncio.Event().wait()

        client.reload = never  # type: ignore[method-assign]
        loading = asyncio.create_task(transfer.load(client, 1, 20.0))
        await entered.wait()
        assert double.paused
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert not double.paused and double.version == "default"
        await client.close()
        await double.stop()
        transfer.close()

    scene(play)


def test_who_only_samples_is_told_of_a_server_that_was_left_paused() -> None:
    async def play() -> None:
        double = await Double().start()
        client = Client(double.url)
        await client.pause(20.0)
        await client.close()
        engine = VLLMEngine([double.url], VLLMConfig(**{**QUICK, **PATIENT}), max_context=32)
        with pytest.raises(EngineFailed, match=rf"{double.url} is paused.*POST {double.url}/resume"):
            await engine.start()
        await double.stop()

    scene(play)


def test_one_that_was_left_paused_or_asleep_by_a_killed_run_is_taken_over(tmp_path: Path) -> None:
    async def play() -> None:
        for asleep in (False, True):
            double = await Double().start()
            double.sleep_mode = True
            client = Client(double.url)
            await (client.sleep(2, 20.0) if asleep else client.pause(20.0))
            await client.close()
            engine = VLLMEngine(
                [double.url],
                VLLMConfig(**{**QUICK, **PATIENT}),
                max_context=32,
                transfer=FolderTransfer(tiny(), tmp_path),
            )
            await engine.start()
            assert engine.up and not double.paused and not double.sleeping and double.version == "0"
            await engine.close()
            await double.stop()

    scene(play)


def test_one_that_comes_back_as_another_model_stays_down_and_says_why(tmp_path: Path) -> None:
    async def play() -> None:
        double = await Double().start()
        double.modules = TOLD
        engine = VLLMEngine(
            [double.url], VLLMConfig(**{**QUICK, **PATIENT}), max_context=32, sizes=sizes_of(model_of()),
            transfer=FolderTransfer(tiny(), tmp_path),
        )  # fmt: skip
        await engine.start()
        loads = len(double.loads)
        await double.die()
        await until(lambda: not engine.up)
        double.modules = TOLD.replace("embedding_dim=64", "embedding_dim=96")
        await double.start()
        [server] = engine._servers.all
        await until(lambda: server.wrong)
        assert "hidden size 96 (ours: 64)" in str(engine._servers.failure("no server", []))
        assert len(double.loads) == loads and not engine.up
        await engine.close()
        await double.stop()

    scene(play)
