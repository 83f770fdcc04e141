"""Customers played by a model behind a real vLLM server. Minutes on a busy machine.

The model is a random one, so it babbles: what is shown is that every line comes from the server, that an
episode ends as it should, and that it can be played again to the byte when the server is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.errors import MachineError
from forge_envs.people.chat import chat
from forge_envs.people.users import Brief, ModelUser
from forge_train.config import TinyConfig
from forge_train.engines.server_processes import ServerProcesses
from forge_train.engines.weights import save_policy
from forge_train.tiny import tiny_model, train_tokenizer

pytestmark = pytest.mark.slow
WORLDS = {"Forge/Retail-v0": "retail/small/train/4/0", "Forge/Airline-v0": "airline/small/train/3/0"}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PATIENT = {"deadline": 900, "attempt": 300, "attempts": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model without a chat template, which stops after a few tokens."""
    texts = [text for world, task in WORLDS.items() for text in gold(world, task)]
    tokenizer = train_tokenizer([*texts, Brief("You are Ann.", "A hat.").prompt], 600)
    model = tiny_model(tokenizer, TinyConfig(hidden=64, layers=2, heads=2, kv_heads=1), seed=0)
    with torch.no_grad():  # far from uniform, so that what it says follows from what it hears
        for parameter in model.parameters():
            parameter *= 1 if parameter.dim() == 1 else 3
    made = save_policy(model, tokenizer, tmp_path_factory.mktemp("user"), dtype=torch.float32)
    ends = [tokenizer.eos_token_id, *range(3, len(tokenizer), 5)]  # else it would babble to the limit
    (made / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return made


@contextmanager
def served(folder: Path, python: Path, *flags: str) -> Iterator[str]:
    """A server of the model; its address, up to and without /chat/completions."""
    servers = ServerProcesses(
        folder,
        python=python,
        logs=folder / "logs",
        max_context=4096,
        dtype="float32",
        flags=["--enforce-eager", "--generation-config", "auto", "--served-model-name", "user", *flags],
        env={"VLLM_CPU_KVCACHE_SPACE": "1"},
        start_s=2400.0,
    )
    with asyncio.Runner() as runner:
        runner.run(servers.start())
        try:
            yield f"{servers.urls[0]}/v1"
        finally:
            runner.run(servers.stop())


@pytest.fixture(scope="module")
def url(folder: Path, vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that was told a chat template."""
    template = tmp_path_factory.mktemp("template") / "chatml.jinja"
    template.write_text(CHATML)
    with served(folder, vllm_python, "--chat-template", str(template)) as address:
        yield address


def spec(url: str, **settings: Any) -> str:
    text = "&".join(f"{key}={value}" for key, value in {**PATIENT, **settings}.items())
    return f"openai:user@{url}#{text}"


def gold(world: str, task: str) -> list[str]:
    return list(gym.make(world, size="small").unwrapped.gold_actions(task))  # type: ignore[attr-defined]


def play(world: str, task: str, user: str, actions: list[str]) -> list[Any]:
    """Everything the world says to these actions, which are as many as it allows."""
    env = gym.make(world, size="small", user=user, max_turns=len(actions))
    log: list[Any] = [env.reset(seed=1, options={"task": task})]
    log += [env.step(action) for action in actions]
    env.close()
    return log


@pytest.mark.parametrize("world", WORLDS)
def test_gold_is_played_with_a_served_user_and_again_without_it(world: str, url: str, tmp_path: Path) -> None:
    path, task = tmp_path / "users.jsonl", WORLDS[world]
    actions = gold(world, task)
    live = play(world, task, spec(url, temperature=1.0, record=path), actions)
    for _, _, terminated, truncated, info in live[1:-1]:
        assert not terminated and not truncated and "error" not in info, info
    *_, terminated, truncated, info = live[-1]
    assert (terminated, truncated, info["outcome"]) == (False, True, 1.0), "it babbles on to the turn limit"
    replies = [m["content"] for messages, *_ in live[1:] for m in messages if m["role"] == "user"]
    assert replies and all(replies)
    stored = path.read_bytes()
    assert [json.loads(line)["reply"] for line in stored.splitlines()] == replies
    nowhere = spec("http://127.0.0.1:9/v1", temperature=1.0, replay=path)
    assert json.dumps(play(world, task, nowhere, actions)) == json.dumps(live)
    assert path.read_bytes() == stored


@pytest.mark.parametrize("world", WORLDS)
def test_an_agent_that_does_nothing_gets_to_the_turn_limit_and_earns_nothing(world: str, url: str) -> None:
    log = play(world, WORLDS[world], spec(url, temperature=1.0), ["Hello?", "Who are you?", ""])
    *_, terminated, truncated, info = log[-1]
    assert (terminated, truncated, info["outcome"]) == (False, True, 0.0) and "error" not in info


def test_the_seed_decides_what_a_served_user_says(url: str) -> None:
    model = chat(spec(url, temperature=1.0))
    brief = Brief("You are Bo.", "1. A hat.", opening="Hi.")

    def talk(seed: int) -> list[str | None]:
        user = ModelUser(brief, model, seed=seed)
        user.open()
        try:
            return [user.reply(text) for text in ("What can I do?", "Which colour?")]
        except MachineError as error:  # a random model may begin with its end, reminded or not
            assert error.kind == "empty"
            return [None]

    said = [talk(seed) for seed in range(6)]
    assert said == [talk(seed) for seed in range(6)] and len({str(lines) for lines in said}) > 1
