"""What a config asks of servers, and what is refused before anything runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from forge_train.config import Config, VLLMConfig
from forge_train.engines.build import vllm_engine
from forge_train.engines.vllm_http import Client
from forge_train.learn.lora import add_lora
from tests.train.tokens import tokenizer
from tests.vllm.test_engine import scene, tiny
from tests.vllm.test_supervisor import notes

NEAR, FAR = "http://127.0.0.1:8000", "http://10.0.0.7:8000"


def config(vllm: dict[str, Any], **rollout: Any) -> Config:
    return Config.model_validate(
        {"worlds": [{"id": "w"}], "rollout": {"engine": "vllm", **rollout}, "vllm": vllm}
    )


def build(
    tmp_path: Path, vllm: dict[str, Any], *, lora: bool = False, head_dim: int = 4, **rollout: Any
) -> Any:
    model = tiny(head_dim=head_dim)
    if lora:
        add_lora(model, rank=4, alpha=8.0, seed=0)
    return vllm_engine(config(vllm, **rollout), model, tokenizer(), tmp_path / "servers")


def urls(tmp_path: Path, vllm: dict[str, Any], **options: Any) -> list[str]:
    """Where an engine that is not refused would look for its servers."""
    engine = build(tmp_path, vllm, **options)
    asyncio.run(engine.close())
    return list(engine.urls)


@pytest.mark.parametrize("transfer", ["folder", "adapter"])
def test_the_memory_of_this_machine_is_no_place_for_servers_on_others(tmp_path: Path, transfer: str) -> None:
    with pytest.raises(ValueError, match=rf'vllm\.folder = "".*{FAR} may be another.*"/dev/shm"'):
        build(tmp_path, {"urls": [NEAR, FAR], "transfer": transfer}, lora=True)
    shared = {"urls": [NEAR, FAR], "transfer": transfer, "folder": str(tmp_path / "shared")}
    assert urls(tmp_path, shared, lora=True) == [NEAR, FAR]
    near = [NEAR, "http://localhost:8001"]
    assert urls(tmp_path, {"urls": near, "transfer": transfer}, lora=True) == near


def test_workers_on_other_machines_need_servers_that_they_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray: dict[str, Any] = {"workers": "ray", "worker_count": 1}
    here = {"urls": [NEAR], "folder": str(tmp_path)}
    for alone in ("", "local", "auto", "127.0.0.1:6379"):
        monkeypatch.setenv("RAY_ADDRESS", alone)
        assert urls(tmp_path, here, **ray) == [NEAR]
    for cluster in ("10.0.0.7:6379", "ray://head:10001"):
        monkeypatch.setenv("RAY_ADDRESS", cluster)
        with pytest.raises(ValueError, match=rf"{cluster}.* do not reach {NEAR}; set vllm\.urls"):
            build(tmp_path, here, **ray)
        with pytest.raises(ValueError, match=r"set vllm\.host to the address"):
            build(tmp_path, {}, **ray)
        assert urls(tmp_path, {"urls": [FAR], "folder": str(tmp_path)}, **ray) == [FAR]
        assert urls(tmp_path, here) == [NEAR]


@pytest.mark.parametrize("url", ["localhost:8000", "10.0.0.7", "ftp://a:1", "http://", "http://a:1/v1", ""])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValidationError, match=f'"{url}" is no address of a server.*http://host:8000'):
        VLLMConfig(urls=(NEAR, url))


def test_a_server_that_is_written_in_two_ways_is_one() -> None:
    assert VLLMConfig(urls=(f"{NEAR}/",)).urls == (NEAR,)
    with pytest.raises(ValidationError, match="one server is named twice"):
        VLLMConfig(urls=(NEAR, f"{NEAR}/"))


def test_servers_have_room_for_the_adapters_that_actions_under_way_need(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        vllm = {"python": str(python), "transfer": "adapter", "folder": str(tmp_path), "start_s": 60.0}
        engine = build(tmp_path, vllm, lora=True, head_dim=32, max_lag=4, max_context=64, max_action=8)
        await engine.start()
        [note] = notes(tmp_path)
        assert note["argv"][note["argv"].index("--max-loras") + 1] == "5"
        for version in range(1, 7):
            await engine.weights_changed(version)
        client = Client(engine.urls[0])
        assert len(await client.models(30.0)) == 1 + 5, "all that groups of now began with"
        await client.close()
        await engine.close()

    scene(play)
