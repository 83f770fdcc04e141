"""SmolLM2-135M through the whole trainer, in process: taught, reinforced with all weights and with LoRA."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge_train.cli import GRPO
from forge_train.learn.lora import ADAPTER
from forge_train.play.renderer import renderer_for
from forge_train.record import checkpoint
from forge_train.record.checkpoint import MOMENTS
from forge_train.record.run_folder import read_lines
from forge_train.run import train
from tests.real.runs import config, newest, overrides, steps

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
FULL = ["run.steps=2", "optim.lr=1e-5"]
LORA = ["run.steps=2", "optim.lr=1e-3", "model.lora_rank=4", "model.lora_alpha=8"]


@pytest.fixture(scope="module")
def whole(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two GRPO steps with all weights."""
    folder = tmp_path_factory.mktemp("real") / "whole"
    train(config(newest(taught), folder, *FULL))
    return folder


def test_the_renderer_writes_what_the_models_own_template_writes(smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    renderer = renderer_for(tokenizer)
    system = {"role": "system", "content": "You serve a shop's customers.\n\nBe brief: 2 + 2 = 4."}
    user = {"role": "user", "content": "  What is the status of order #W3909440?\n"}
    answer, more = "It was delivered on 12 May.", {"role": "user", "content": "Thanks – bye! é 数"}

    def theirs(*messages: dict[str, str]) -> list[int]:
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    opened = renderer.open([system, user])
    assert opened == theirs(system, user)
    assert renderer.open([user]) == theirs(user), "the template brings a system message of its own"
    said = renderer.encode_action(answer)
    went_on = [*opened, *said, *renderer.extend([more])]
    assert went_on == theirs(system, user, {"role": "assistant", "content": answer}, more)
    assert renderer.text(said) == answer


def test_supervised_training_teaches_it(taught: Path) -> None:
    losses = [e["loss"] for e in read_lines(taught / "events.jsonl") if e["event"] == "sft"]
    assert losses[-1] < losses[0] - 1
    judged = [e["pass@1"] for e in read_lines(taught / "events.jsonl") if e["event"] == "evaluation"]
    assert judged[0] == 0 and judged[-1] > 0


def test_two_steps_with_all_weights(whole: Path, taught: Path) -> None:
    for line in steps(whole):
        assert line["optimizer_steps"] == 1 and line["grad_norm"] > 0
        assert line["logprob_gap_max"] < 1e-3, "engine and learner disagree"
    sizes: Counter[str] = Counter()
    for path in whole.rglob("model*.safetensors"):  # it is written in shards
        sizes[path.parent.name] += path.stat().st_size
    assert len(sizes) == 2 and len(set(sizes.values())) == 1
    assert [p.parent.name for p in whole.rglob(MOMENTS)] == [newest(whole).name], "of the newest alone"


@pytest.mark.matrix
def test_killed_and_started_again_it_comes_to_the_same_weights(
    whole: Path, taught: Path, tmp_path: Path
) -> None:
    """Each time, tests/train does it with a small model."""
    folder = tmp_path / "killed"
    settings = overrides(newest(taught), folder, *FULL)
    command = [sys.executable, "-m", "forge_train.cli", "train", str(GRPO), *settings]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 600
    while not (folder / "metrics.jsonl").exists() or not steps(folder):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    train(config(newest(taught), folder, *FULL))
    assert steps(folder) == steps(whole)
    one, other = (AutoModelForCausalLM.from_pretrained(newest(run)).state_dict() for run in (folder, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_the_trained_folder_is_a_model_for_anybody(whole: Path) -> None:
    """Tied as it came; plain transformers gives what was sampled the probability that the engine said."""
    model, tokenizer = (kind.from_pretrained(newest(whole)) for kind in (AutoModelForCausalLM, AutoTokenizer))
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.get_input_embeddings().weight
    ours, _ = checkpoint.load_model(whole)
    renderer = renderer_for(tokenizer)
    tokens = torch.tensor([renderer.open([{"role": "user", "content": "Say a number."}])])
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, ours(tokens).logits)
    written = tokenizer.decode(
        model.generate(tokens, max_new_tokens=8, do_sample=False)[0, tokens.shape[1] :]
    )
    assert written.removesuffix("<|im_end|>").strip().isdigit()


def test_two_steps_with_lora_merged_and_apart(taught: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="adapters need peft: pip install 'forge-envs[lora]'")
    folder, base = tmp_path / "lora", newest(taught)
    train(config(base, folder, *LORA))
    for line in steps(folder):
        assert line["optimizer_steps"] == 1 and line["grad_norm"] > 0
        assert line["logprob_gap_max"] < 1e-3, "engine and learner disagree"
    saved = newest(folder)
    assert sum(p.stat().st_size for p in (saved / MOMENTS).rglob("*") if p.is_file()) < 10e6
    tokens = torch.arange(100, 116)[None]
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(base)
        before = plain(tokens).logits
        apart = peft.PeftModel.from_pretrained(plain, saved / ADAPTER)(tokens).logits
        merged = AutoModelForCausalLM.from_pretrained(saved)(tokens).logits
    assert torch.allclose(apart, merged, atol=1e-3) and not torch.allclose(before, merged, atol=1e-2)
    assert peft.PeftConfig.from_pretrained(saved / ADAPTER).base_model_name_or_path == str(base)
