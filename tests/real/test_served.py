"""SmolLM2-135M on real vLLM: learned through every transfer that a CPU can do, served, judged, read back.

One server of ours, of the untied copy that `serve` makes, is what runs sample from; one that anybody could
have started, straight from a trained checkpoint, shows what becomes of a tied head.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge_train import cli
from forge_train.engines.server_processes import ServerProcesses
from forge_train.play.renderer import renderer_for
from forge_train.run import train
from tests.real.runs import config, newest, steps
from tests.real.worlds import QUESTION

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CONTEXT = 256
LORA = ["model.lora_rank=4", "model.lora_alpha=8", "optim.lr=1e-3", "vllm.transfer=adapter"]
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of this module lie."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(vllm_python: Path, taught: Path, room: Path) -> Iterator[tuple[str, list[str]]]:
    """`forge-train serve` of the taught run: its address, and what it printed."""
    command = [sys.executable, "-m", "forge_train.cli", "serve", str(taught), "--port", "0", "--tools"]
    command += ["--python", str(vllm_python), "--dtype", "float32", "--max-context", str(CONTEXT)]
    command += ["--logs", str(room / "logs"), "--start-s", "900"]
    command += ["--", "--enforce-eager", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "8"]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().strip() for _ in range(7)]
        assert lines[0].startswith("serving taught;"), lines
        yield lines[4].split('"')[1], lines
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("how", [LORA, ["optim.lr=1e-5"]], ids=["lora by adapter", "all weights by folder"])
def test_two_steps_on_servers(
    how: list[str], server: tuple[str, list[str]], taught: Path, room: Path
) -> None:
    """Adapters first: they belong to the weights that the server was started with."""
    url, _ = server
    folder = room / how[-1].replace("=", "-")
    vllm = ["rollout.engine=vllm", f'vllm.urls=["{url}"]', "vllm.dtype=float32", "vllm.attempt_s=300"]
    train(config(newest(taught), folder, "run.steps=2", *vllm, "vllm.deadline_s=600", *how))
    for line in steps(folder):
        assert line["optimizer_steps"] == 1 and line["grad_norm"] > 0
        assert line["logprob_gap_max"] < 1e-2 and line["logprob_gap"] < 1e-3, "served weights are others"
    assert len(steps(folder)) == 2


def test_it_is_judged_where_it_is_served(
    server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the line that `serve` printed."""
    _, lines = server
    words = lines[6].split()
    assert words[:3] == ["forge-train", "eval", "--engine"] and ":taught@" in words[3]
    assert cli.main([*words[1:], "--tasks", "2", "--repeats", "1", "--json"]) == 0
    told = json.loads("{" + capsys.readouterr().out.partition("{")[2])
    assert told["endings"].keys() <= {"terminated", "tokens"}


def test_a_served_desk_shows_its_tools(server: tuple[str, list[str]], taught: Path) -> None:
    """Token for token what the renderer shows in training, though SmolLM2's own template omits tools."""
    url, _ = server
    renderer = renderer_for(AutoTokenizer.from_pretrained(newest(taught)))
    function = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You serve."},
        {"role": "user", "content": "Where is it?"},
    ]
    asked = {"model": "taught", "messages": messages, "tools": tools, "add_generation_prompt": True}
    told = httpx2.post(f"{url}/tokenize", json=asked, timeout=60, trust_env=False).json()
    assert told["tokens"] == renderer.open([{**messages[0], "tools": tools}, messages[1]])


@pytest.fixture(scope="module")
def strangers(vllm_python: Path, server: tuple[str, list[str]], room: Path) -> Iterator[tuple[str, Path]]:
    """vLLM as anybody starts it, from a trained checkpoint whose head is tied; and that checkpoint."""
    folder = newest(room / "optim.lr-1e-5")
    house = ServerProcesses(
        folder, name="trained", python=vllm_python, logs=room / "strangers", max_context=CONTEXT,
        dtype="float32", flags=["--enforce-eager"], env=ENVIRONMENT, start_s=900.0,
    )  # fmt: skip
    with asyncio.Runner() as runner:
        runner.run(house.start())
        yield house.urls[0], folder
        runner.run(house.stop())


@pytest.mark.matrix
def test_transformers_and_vllm_give_the_trained_folder_the_same_logprobs(strangers: tuple[str, Path]) -> None:
    url, folder = strangers
    model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    prompt = renderer_for(tokenizer).open([{"role": "user", "content": QUESTION}])
    asked = {"model": "trained", "prompt": prompt, "max_tokens": 8, "temperature": 1.0, "seed": 1}
    asked |= {"logprobs": 1, "return_token_ids": True, "stop_token_ids": [tokenizer.eos_token_id]}
    told = httpx2.post(f"{url}/v1/completions", json=asked, timeout=300, trust_env=False).json()["choices"][0]
    said = told["token_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *said]])).logits[0, len(prompt) - 1 : -1]
    ours = logits.log_softmax(-1).gather(1, torch.tensor(said)[:, None])[:, 0].tolist()
    assert told["logprobs"]["token_logprobs"] == pytest.approx(ours, abs=2e-3)


@pytest.mark.matrix
def test_a_tied_head_that_would_stay_stale_is_refused(strangers: tuple[str, Path], tmp_path: Path) -> None:
    """vLLM 0.32 on a CPU packs a tied head once: after a load it would sample from the old one."""
    url, folder = strangers
    vllm = ["rollout.engine=vllm", f'vllm.urls=["{url}"]', "vllm.dtype=float32"]
    with pytest.raises(ValueError, match=rf"{re.escape(url)} .*tied.*forge-train serve"):
        train(config(folder, tmp_path / "refused", "run.steps=1", *vllm))
