"""verl's own agent-loop worker on our worlds; only its language model server is a script."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl")

from hydra import compose, initialize_config_module
from transformers import Qwen3Config
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.workers.rollout.replica import TokenOutput

from forge_envs import MachineError, TaskError
from forge_envs.adapters.verl import rows
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played
from tests.train.tokens import tokenizer

TEMPLATE = """\
{%- for message in messages %}
{%- if message.role == "tool" %}
{%- if loop.first or messages[loop.index0 - 1].role != "tool" %}{{ "<|im_start|>user" }}{% endif %}
{{- "\\n<tool_response>\\n" + message.content + "\\n</tool_response>" }}
{%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{ "<|im_end|>\\n" }}{% endif %}
{%- else %}
{{- "<|im_start|>" + message.role + "\\n" + message.content }}
{%- if loop.first and tools %}{{ "\\n# Tools" }}{% endif %}
{%- if loop.first %}{% for tool in tools or [] %}{{ "\\n" + tool | tojson }}{% endfor %}{% endif %}
{{- "<|im_end|>\\n" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""
TOKENS = tokenizer()
TOKENS.chat_template = TEMPLATE
TOKENS.pad_token = "<|endoftext|>"
HEAD = "<|im_start|>assistant"


class Server:
    """Says the n-th line in the n-th turn of every episode, and remembers what it sampled."""

    def __init__(self, lines: Sequence[str], *, logprobs: bool = True, stop: str = "completed") -> None:
        self.lines = [TOKENS.encode(line + "<|im_end|>", add_special_tokens=False) for line in lines]
        self.logprobs, self.stop = logprobs, stop
        self.prompts: list[list[int]] = []

    async def generate(self, request_id: str, *, prompt_ids: list[int], **_: Any) -> TokenOutput:
        turn = TOKENS.decode(prompt_ids).count(HEAD) - 1
        self.prompts.append(prompt_ids)
        await asyncio.sleep(0)
        sampled = self.lines[turn]
        scores = [-0.5 - turn - i / 1000 for i in range(len(sampled))]
        return TokenOutput(
            token_ids=list(sampled),
            log_probs=scores if self.logprobs else None,
            stop_reason=self.stop,
            extra_fields={"min_global_steps": turn, "max_global_steps": turn},
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    TOKENS.save_pretrained(place)
    Qwen3Config(vocab_size=len(TOKENS), architectures=["Qwen3ForCausalLM"]).save_pretrained(place)
    loops = "- name: forge\n  _target_: forge_envs.adapters.verl.ForgeAgentLoop\n"
    loops += "- name: written\n  _target_: forge_envs.adapters.verl.ForgeAgentLoop\n  template_tools: false\n"
    (place / "loops.yaml").write_text(loops)
    return place


@pytest.fixture(scope="module")
def config(model: Path) -> Any:
    rollout = "actor_rollout_ref.rollout"
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer",
            overrides=[
                f"actor_rollout_ref.model.path={model}",
                f"{rollout}.name=vllm",
                f"{rollout}.prompt_length=30000",
                f"{rollout}.response_length=20000",
                f"{rollout}.agent.agent_loop_config_path={model}/loops.yaml",
            ],
        )


def batch(*asked: dict[str, Any]) -> DataProto:
    columns = {key: np.array([row[key] for row in asked], dtype=object) for key in asked[0]}
    columns["raw_prompt"] = columns.pop("prompt")
    return DataProto(non_tensor_batch=columns, meta_info={"validate": False, "global_steps": 0})


def run(config: Any, server: Server, asked: Sequence[dict[str, Any]]) -> DataProto:
    async def rollout() -> DataProto:
        return await AgentLoopWorker(config, server).generate_sequences(batch(*asked))

    return asyncio.run(rollout())


def asked(*tasks: str, name: str = "forge") -> list[dict[str, Any]]:
    return rows(WORLD, ARGS, tasks=tasks or [TASK], agent_name=name)


@pytest.mark.parametrize("name", ["forge", "written"])
def test_a_batch_earns_what_the_same_actions_earn(
    name: str, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, server, direct = Open(monkeypatch), Server(gold()), played(gold())
    out = run(config, server, asked(name=name) * 3)
    assert out.batch["rm_scores"].sum(-1).tolist() == pytest.approx([direct["reward"]] * 3)
    assert [json.loads(told) for told in out.non_tensor_batch["forge"]] == [direct] * 3
    assert list(out.non_tensor_batch["turn_scores"]) == [direct["turn_rewards"]] * 3
    assert out.non_tensor_batch["outcome"].tolist() == [1.0] * 3
    assert out.non_tensor_batch["max_global_steps"].tolist() == [len(gold()) - 1] * 3
    assert not held.held


def test_what_was_sampled_is_what_is_trained(config: Any) -> None:
    server = Server(gold())
    out = run(config, server, asked())
    length = int(out.batch["attention_mask"][0, 30000:].sum())
    mask = out.batch["response_mask"][0][:length].bool()
    response, logprobs = out.batch["responses"][0][:length], out.batch["rollout_log_probs"][0][:length]
    assert response[mask].tolist() == [token for line in server.lines for token in line]
    expected = [-0.5 - turn - i / 1000 for turn, line in enumerate(server.lines) for i in range(len(line))]
    assert logprobs[mask].tolist() == pytest.approx(expected)
    assert not logprobs[~mask].any() and mask[0] and mask[-1]
    assert out.batch["rm_scores"][0, length - 1] == pytest.approx(played(gold())["reward"])
    for earlier, later, line in zip(server.prompts, server.prompts[1:], server.lines, strict=False):
        assert later[: len(earlier) + len(line)] == earlier + line
    final = TOKENS.decode(server.prompts[-1])
    told = [line for line in final.split(HEAD)[1:] if "<tool_response>" in line]
    assert told and final.count("# Tools") == 1


def test_a_policy_without_logprobs_has_none(config: Any) -> None:
    out = run(config, Server(gold(), logprobs=False), asked())
    assert "rollout_log_probs" not in out.batch and out.batch["rm_scores"].sum() > 1


def test_a_machine_that_fails_is_no_score(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    Failing(monkeypatch, range(1))
    with pytest.raises(MachineError, match="no answer"):
        run(config, Server(gold()), asked())
    with pytest.raises(MachineError, match="aborted"):
        run(config, Server(gold(), stop="aborted"), asked())
    assert not held.held


def test_without_room_a_world_is_graded_where_it_stands(config: Any) -> None:
    lines = gold()
    short = config.copy()
    for room in (10, 400):
        short.actor_rollout_ref.rollout.response_length = room
        out = run(short, Server(lines), asked())
        record = json.loads(out.non_tensor_batch["forge"][0])
        said = record["turn_rewards"]
        assert out.batch["responses"].shape == (1, room) and record["outcome"] == 0.0
        assert len(said) < len(lines) and out.batch["rm_scores"].sum() == pytest.approx(record["reward"])


def test_an_opening_is_never_cut(config: Any) -> None:
    short = config.copy()
    short.actor_rollout_ref.rollout.prompt_length = 100
    with pytest.raises(ValueError, match=r"the opening of retail.* tokens: prompt_length is 100"):
        run(short, Server(gold()), asked())


def test_bad_input_is_told(config: Any) -> None:
    with pytest.raises(TaskError, match="nowhere"):
        rows(WORLD, tasks=["nowhere"])
    row = asked()[0]
    row["extra_info"]["task"] = "nowhere"
    with pytest.raises(TaskError, match="nowhere"):
        run(config, Server(gold()), [row])
    assert len(rows(WORLD, n=3)) == 3


def test_the_example_runs(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["verl_loop.py", str(model)])
    runpy.run_path(str(EXAMPLES / "verl_loop.py"), run_name="__main__")
    assert "reward 1.1" in capsys.readouterr().out
