"""Tools simulated by a model behind a real vLLM server. Minutes on a busy machine.

The model is a random one, held to the form of answers by the server: what is shown is that answers come from
the server and fit what the tools declare, and that the episodes can be played again when it is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.simulator import RULES
from forge_envs.worlds.toolfolder.toolsim import ToolSimEnv
from forge_train.config import TinyConfig
from forge_train.engines.weights import save_policy
from forge_train.tiny import tiny_model, train_tokenizer
from tests.envs.tool_files import write
from tests.vllm.test_user import CHATML, PATIENT, served

pytestmark = pytest.mark.slow
LAMP = {
    "type": "object",
    "properties": {
        "lamp_id": {"type": "integer", "minimum": 0, "maximum": 9},
        "colour": {"type": "string", "enum": ["white", "amber", "blue"]},
        "on": {"type": "boolean"},
    },
    "required": ["lamp_id", "colour", "on"],
    "additionalProperties": False,
}


def lamps(folder: Path) -> str:
    """A folder of tools whose answers are short, whoever writes them."""
    one = {"type": "object", "properties": {"lamp_id": {"type": "integer"}}, "required": ["lamp_id"]}
    all_of_it = {**one, "properties": {**one["properties"], "colour": LAMP["properties"]["colour"]}}  # type: ignore[dict-item, index]
    tools = [
        {"name": "get_lamp", "description": "Read a lamp.", "inputSchema": one, "outputSchema": LAMP},
        {"name": "show_lamp", "description": "Read it, too.", "inputSchema": one, "outputSchema": LAMP},
        {"name": "set_lamp", "description": "Set a lamp.", "inputSchema": all_of_it, "outputSchema": LAMP},
    ]
    return write(folder, lamps_json={"tools": tools})


@pytest.fixture(scope="module")
def url(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a small random model."""
    tokenizer = train_tokenizer([RULES, json.dumps(LAMP), CHATML], 600)
    model = tiny_model(tokenizer, TinyConfig(hidden=64, layers=2, heads=2, kv_heads=1), seed=0)
    made = save_policy(model, tokenizer, tmp_path_factory.mktemp("simulator"), dtype=torch.float32)
    template = made / "chatml.jinja"
    template.write_text(CHATML)
    with served(made, vllm_python, "--chat-template", str(template)) as address:
        yield address


def play(tools: str, url: str, **settings: Any) -> list[Any]:
    """Everything the world says to an agent that reads two lamps of each task and tells what it read."""
    asked = {**PATIENT, "temperature": 1.0, **settings}
    spec = f"openai:user@{url}#" + "&".join(f"{key}={value}" for key, value in asked.items())
    env = gym.make(
        "Forge/ToolSim-v0", path=tools, simulator=spec, judge=spec, partial=0.3, edge=0.3
    ).unwrapped
    assert isinstance(env, ToolSimEnv)
    log: list[Any] = []
    for seed, id in enumerate(env.task_ids("train", 3)):
        log.append(env.reset(seed=seed, options={"task": id}))
        actions = [action for action in env.gold_actions(id) if "set_lamp" not in action]
        for action in actions:
            log.append(env.step(action))
            if log[-1][2] or log[-1][3]:
                break
        for message in env.playing.transcript:
            if message["role"] == "tool" and not message["content"].startswith("Error: "):
                assert misfit(json.loads(message["content"]), LAMP) is None
    return log


def test_a_recorded_run_replays_without_the_server_to_identical_episodes(url: str, tmp_path: Path) -> None:
    path, tools = tmp_path / "tools.jsonl", lamps(tmp_path / "lamps")
    live = play(tools, url, record=path)
    stored = path.read_bytes()
    assert stored and [one for messages, *_ in live for one in messages if one["role"] == "tool"]
    again = play(tools, "http://127.0.0.1:9/v1", replay=path)
    assert json.dumps(again) == json.dumps(live) and path.read_bytes() == stored
