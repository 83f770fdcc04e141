"""Weights on their way to servers: what is written, what is kept, and in which order a server is asked."""

from __future__ import annotations

import ast
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from forge_train.config import Config
from forge_train.engines.build import vllm_engine
from forge_train.engines.nccl import NCCLTransfer
from forge_train.engines.vllm_http import NOTHING_LOADED, Client, ServerError
from forge_train.engines.weights import AdapterTransfer, FolderTransfer, Scratch, save_policy
from forge_train.learn.plain_weights import full_weights
from tests.train.tokens import tokenizer

SIZE = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 4, "vocab_size": 16}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}


def tiny(*, tied: bool = False) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SIZE, **HEADS, tie_word_embeddings=tied))


def read(folder: Path) -> dict[str, Tensor]:
    return {name: w for path in folder.glob("*.safetensors") for name, w in load_file(path).items()}


class Recorder(Client):
    """A server of which only the order of requests is looked at."""

    def __init__(self, url: str = "http://one", *, served: tuple[str, ...] = ("m",)) -> None:
        super().__init__(url)
        self.calls: list[str] = []
        self.named = NOTHING_LOADED
        self.served = dict.fromkeys(served)

    async def _send(self, method: str, path: str, *, timeout: float, json: Any = None) -> Any:
        path = path.split("?")[0]
        self.calls.append(path)
        answer: Any = {}
        if path == "/update_weight_version":
            self.named = json["new_version"]
        if path == "/finish_weight_update":
            self.named = json["weight_version"]
        if path == "/weight_info":
            answer = {"weight_version": self.named}
        if path == "/get_world_size":
            answer = {"world_size": 2}
        if path == "/v1/load_lora_adapter":
            assert Path(json["lora_path"]).is_dir()
            self.served[json["lora_name"]] = None
        if path == "/v1/unload_lora_adapter":
            del self.served[json["lora_name"]]
        if path == "/v1/models":
            answer = {"data": [{"id": name, "max_model_len": None} for name in self.served]}
        return answer

    def _json(self, response: Any) -> Any:
        return response


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FolderTransfer]:
    transfer = FolderTransfer(tiny(), tmp_path, dtype=torch.float32)
    yield transfer
    transfer.close()
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_the_newest_version_is_on_disk_and_no_other(folder: FolderTransfer) -> None:
    model = tiny()
    for version in (3, 4):
        asyncio.run(folder.publish(version))
    assert [p.name for p in folder.folder.iterdir()] == ["version-000004"]
    written = read(folder.path(4))
    assert written.keys() == model.state_dict().keys()
    assert all(torch.equal(written[name], w) for name, w in model.state_dict().items())


def test_a_server_is_paused_loaded_named_and_resumed(folder: FolderTransfer) -> None:
    server = Recorder()
    asyncio.run(folder.publish(7))
    asyncio.run(folder.load(server, 7, 5.0))
    assert server.calls == ["/pause", "/collective_rpc", "/update_weight_version", "/resume"]
    assert server.named == "7"
    with pytest.raises(ValueError, match="version 8 is not published"):
        asyncio.run(folder.load(server, 8, 5.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tied_embeddings_are_written_twice_and_the_config_says_untied(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model = tiny(tied=True)
    path = save_policy(model, tokenizer(), tmp_path / "policy", dtype=dtype)
    assert json.loads((path / "config.json").read_text())["tie_word_embeddings"] is False
    assert model.config.tie_word_embeddings is True, "the model itself is as it was"
    written = read(path)
    assert torch.equal(written["lm_head.weight"], written["model.embed_tokens.weight"])
    assert {w.dtype for w in written.values()} == {dtype}
    again = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    tokens = torch.arange(8)[None]
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    assert torch.allclose(again(tokens).logits, model.eval()(tokens).logits, atol=tolerance)


def test_what_a_killed_process_left_in_memory_is_removed_by_the_next(tmp_path: Path) -> None:
    code = "import os, pathlib, sys; from forge_train.engines.weights import Scratch; "
    code += "s = Scratch(pathlib.Path(sys.argv[1])); (s.path / 'w').write_text('x'); os._exit(7)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 7
    assert len(list(tmp_path.glob("*/w"))) == 1
    mine = Scratch(tmp_path)
    assert len(list(tmp_path.glob("*/w"))) == 0 and mine.path.is_dir()
    other = Scratch(tmp_path)
    assert mine.path.is_dir(), "what is in use stays"
    mine.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_weights_may_come_from_elsewhere(folder: FolderTransfer) -> None:
    folder.weights = lambda dtype: iter([{n: torch.zeros_like(w) for n, w in full_weights(tiny()).items()}])
    asyncio.run(folder.publish(0))
    assert not any(w.any() for w in read(folder.path(0)).values())


def test_adapters_are_named_by_version_and_the_last_two_stay(tmp_path: Path) -> None:
    server, transfer = Recorder(), AdapterTransfer(lambda folder: folder.mkdir(), tmp_path)
    for version in range(5):
        asyncio.run(transfer.publish(version))
        asyncio.run(transfer.load(server, version, 5.0))
        assert transfer.model(version) in server.served
    newest = {transfer.model(3), transfer.model(4)}
    assert set(server.served) == {"m", *newest} == {"m"} | {p.name for p in transfer.folder.iterdir()}
    assert "/pause" not in server.calls, "requests in flight end under their own adapter"
    anew = Recorder("http://two")
    asyncio.run(transfer.load(anew, 4, 5.0))
    assert set(anew.served) == {"m", transfer.model(4)}
    transfer.close()
    with pytest.raises(ValueError, match="keep=1"):
        AdapterTransfer(lambda folder: None, keep=1)


class Wire:
    """Stands where NCCL would: the workers' ends are not there, what is sent is kept."""

    def __init__(self, unique: bytes, size: int) -> None:
        assert (unique, size) == (b"u" * 128, 3), "this process and two workers"
        self.joined = self.aborted = False
        self.sent: list[dict[str, Tensor]] = []
        self.fails = False

    def join(self) -> None:
        self.joined = True

    def send(self, tensors: Any) -> None:
        assert self.joined and not self.aborted
        if self.fails:
            raise TimeoutError
        self.sent.append(dict(tensors))

    def abort(self) -> None:
        self.aborted = True


def test_nccl_links_once_sends_while_the_server_receives_and_links_anew_after_a_restart() -> None:
    wires: list[Wire] = []

    def link(unique: bytes, size: int) -> Wire:
        wires.append(Wire(unique, size))
        return wires[-1]

    model, server = tiny(), Recorder()
    transfer = NCCLTransfer(model, device="cpu", dtype=torch.float32, link=link, unique_id=lambda: b"u" * 128)

    async def play() -> None:
        await transfer.publish(1, [server], 5.0)
        published = model.lm_head.weight.detach().clone()
        await transfer.load(server, 1, 5.0)
        init = server.calls.index("/init_weight_transfer_engine")
        update = ["/start_weight_update", "/update_weights", "/finish_weight_update", "/resume"]
        assert server.calls[0] == "/pause" and server.calls[init + 1 :] == update
        assert server.named == "1" and torch.equal(wires[0].sent[0]["lm_head.weight"], published)
        await transfer.publish(2, [server], 5.0)
        await transfer.load(server, 2, 5.0)
        assert len(wires) == 1 and len(wires[0].sent) == 2
        server.named = NOTHING_LOADED  # it was started anew
        await transfer.publish(3, [server], 5.0)
        await transfer.load(server, 3, 5.0)
        assert len(wires) == 2 and wires[0].aborted and len(wires[1].sent) == 1
        wires[1].fails = True
        await transfer.publish(4, [server], 5.0)
        with pytest.raises(ServerError, match="http://one: NCCL"):
            await transfer.load(server, 4, 5.0)
        assert wires[1].aborted and server.named == NOTHING_LOADED and server.calls[-1] == "/resume"
        await transfer.publish(5, [server], 5.0)
        await transfer.load(server, 5, 5.0)
        assert len(wires) == 3 and wires[2].sent
        transfer.close()
        assert wires[2].aborted

    asyncio.run(play())


@pytest.mark.skipif(torch.cuda.is_available(), reason="here NCCL could be had")
def test_nccl_without_a_gpu_is_refused_with_the_alternative() -> None:
    with pytest.raises(ValueError, match='"folder" works anywhere'):
        NCCLTransfer(tiny())


@pytest.mark.parametrize(
    ("vllm", "match"),
    [
        ({"python": "nowhere/python"}, "make vllm"),
        ({"transfer": "adapter"}, r"model\.lora_rank"),
    ],
)
def test_a_config_that_cannot_work_is_refused_before_anything_runs(
    tmp_path: Path, vllm: dict[str, Any], match: str
) -> None:
    config = Config.model_validate(
        {
            "worlds": [{"id": "w"}],
            "rollout": {"engine": "vllm"},
            "vllm": {**vllm, "folder": str(tmp_path / "weights")},
        }
    )
    with pytest.raises(ValueError, match=match):
        vllm_engine(config, tiny(), tokenizer(), tmp_path / "servers")
    assert not list((tmp_path / "weights").glob("*")), "nothing is left behind"


def test_vllm_is_never_imported() -> None:
    imported = set()
    for path in (Path(__file__).parents[2] / "forge_train").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    assert "httpx2" in imported and not imported & {"vllm", "forge_envs"}
