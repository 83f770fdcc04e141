"""Adapters learn, the rest does not; engines and checkpoints see plain weights."""

from __future__ import annotations

import asyncio
import json

import pytest
import torch

from forge_train.config import LossConfig
from forge_train.engine import Sampling
from forge_train.engines.copied import CopiedEngine
from forge_train.learn.lora import adapter_state, add_lora, has_lora, load_adapter, save_adapter
from forge_train.record import checkpoint
from tests.train.ranks import Case, learner_of, model_of, plays, save

peft = pytest.importorskip("peft", reason="adapters need peft: pip install 'forge-envs[lora]'")

LORA = Case(lora=4)
IDS = torch.arange(1, 20)[None]


def trained():
    learner = learner_of(LORA, model_of(), None)
    group, advantages = plays(5)
    learner.update(group, advantages, LossConfig())
    return learner


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits


def test_a_new_adapter_changes_nothing():
    model = model_of()
    before = logits(model)
    add_lora(model, rank=4, alpha=8.0, seed=0)
    assert has_lora(model) and torch.equal(logits(model), before)


def test_only_adapters_learn():
    plain, learner = model_of().state_dict(), trained()
    start = learner_of(LORA, model_of(), None).model.state_dict()
    for name, value in learner.model.state_dict().items():
        if ".lora_" in name:
            assert not torch.equal(value, start[name]), name
        else:
            assert torch.equal(value, plain[name.replace(".base_layer.", ".")]), name
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in learner.adapter()}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_merged_weights_are_those_of_the_plain_model():
    learner, plain = trained(), model_of()
    weights = learner.full_weights()
    assert weights.keys() == plain.state_dict().keys()
    plain.load_state_dict(weights)
    assert torch.allclose(logits(plain), logits(learner.model), atol=1e-5)


def test_adapters_come_back_exactly_and_continue(tmp_path):
    learner = trained()
    save(learner, tmp_path)
    saved = checkpoint.latest(tmp_path)
    again = learner_of(LORA, model_of(), None)
    load_adapter(again.model, learner.adapter())
    again.load_moments(saved.path, **saved.state())
    group, advantages = plays(5)
    for each in (learner, again):
        each.update(group, advantages, LossConfig())
    one, other = adapter_state(learner.model), adapter_state(again.model)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_checkpoint_holds_the_plain_model(tmp_path):
    learner = trained()
    save(learner, tmp_path)
    model, _ = checkpoint.load_model(tmp_path)
    assert torch.allclose(logits(model), logits(learner.model), atol=1e-5)


def test_a_saved_adapter_is_one_for_peft(tmp_path):
    learner = trained()
    save_adapter(learner.model, learner.adapter(), tmp_path)
    theirs = peft.PeftModel.from_pretrained(model_of(), tmp_path)
    assert torch.allclose(logits(theirs), logits(learner.model), atol=1e-6)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["r"] == 4


def test_adapters_are_those_of_their_seed():
    def drawn(seed):
        model = model_of()
        torch.rand(seed)  # what was drawn before does not matter
        add_lora(model, rank=2, alpha=8.0, seed=seed)
        return torch.cat([value.flatten() for value in adapter_state(model).values()])

    assert torch.equal(drawn(3), drawn(3)) and not torch.equal(drawn(3), drawn(4))


def test_adapters_of_another_rank_are_refused():
    model = model_of()
    add_lora(model, rank=2, alpha=8.0, seed=0)
    with pytest.raises(ValueError, match=r"set model\.lora_rank"):
        load_adapter(model, trained().adapter())


def test_adapters_are_put_in_once():
    model = model_of()
    add_lora(model, rank=2, alpha=8.0, seed=0)
    with pytest.raises(ValueError, match="has adapters already"):
        add_lora(model, rank=2, alpha=8.0, seed=0)


def test_an_engine_with_a_copy_samples_from_the_merged_weights():
    async def main():
        learner = learner_of(LORA, model_of(), None)
        engine = CopiedEngine(model_of(), learner.weights, max_context=64)
        group, advantages = plays(5)
        learner.update(group, advantages, LossConfig())
        await engine.weights_changed(learner.version)
        said = await engine.complete([1, 2, 3], Sampling(max_tokens=8), conversation="c", seed=0)
        await engine.close()
        return learner, engine, said

    learner, engine, said = asyncio.run(main())
    assert said.version == 1 and not engine.shares_weights
    ids = torch.tensor([[1, 2, 3, *said.tokens]])
    with torch.no_grad():
        expected = learner.model(input_ids=ids).logits[0].log_softmax(-1)
    gaps = [
        abs(expected[2 + i, t] - p) for i, (t, p) in enumerate(zip(said.tokens, said.logprobs, strict=True))
    ]
    assert max(gaps) < 1e-4
