"""Supervised data: the tokens are those the policy would have seen, the batches those of the seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from forge_train import sft, tiny
from forge_train.config import SFTConfig, TinyConfig
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.trajectory import WORLD

RETAIL = {"size": "tiny", "level": 2, "prompt": "compact"}


@pytest.fixture(scope="module")
def world() -> World:
    return World("forge_envs:Forge/Retail-v0", dict(RETAIL))


def test_gold_as_tokens_reads_back_as_gold(world: World) -> None:
    task = world.tasks("train", 1)[0]
    [messages] = sft.gold_episodes(world, [task])
    renderer = ChatML(tiny.train_tokenizer(tiny.texts_of([messages]), 400))
    trajectory = sft.trajectory_of(messages, renderer)
    [segment] = trajectory.segments
    actions: dict[int, list[int]] = {}
    for token, action in zip(segment.tokens, segment.action, strict=True):
        if action != WORLD:
            actions.setdefault(action, []).append(token)
    assert [renderer.text(tokens) for tokens in actions.values()] == world.gold(task)
    assert len(trajectory.versions) == len(trajectory.rewards) == len(actions)


def test_stored_episodes_read_back_and_damage_is_named(tmp_path: Path, world: World) -> None:
    episodes = sft.gold_episodes(world, world.tasks("train", 2))
    path = tmp_path / "episodes.jsonl"
    path.write_text("".join(json.dumps({"messages": m}) + "\n" for m in episodes))
    assert sft.read_episodes(path) == episodes
    path.write_text(path.read_text() + '{"messages": [{"role": "user"}]}\n')
    with pytest.raises(ValueError, match=r"episodes\.jsonl:3"):
        sft.read_episodes(path)


def test_batches_cover_each_epoch_once_and_follow_the_seed(world: World) -> None:
    messages = sft.gold_episodes(world, world.tasks("train", 5))
    renderer = ChatML(tiny.train_tokenizer(tiny.texts_of(messages), 400))
    examples = [sft.trajectory_of(m, renderer) for m in messages]
    config = SFTConfig(epochs=2, batch=2)
    found = list(sft.batches(examples, config, seed=0))
    assert [len(b) for b in found] == [2, 2, 1, 2, 2, 1]
    for epoch in (found[:3], found[3:]):
        assert sorted(id(t) for b in epoch for t in b) == sorted(id(t) for t in examples)
    again = list(sft.batches(examples, config, seed=0))
    assert [[id(t) for t in b] for b in again] == [[id(t) for t in b] for b in found]
    assert len(list(sft.batches(examples, config.model_copy(update={"steps": 4}), seed=0))) == 4


def test_the_tiny_model_is_the_same_for_the_same_seed_and_any_text_round_trips(world: World) -> None:
    tokenizer = tiny.train_tokenizer(tiny.texts_of(sft.gold_episodes(world, world.tasks("train", 8))), 600)
    for text in ("Order #W1234567 is delivered.", "é 数 \n\t{}", "a" * 50):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    spec = TinyConfig(hidden=32, layers=1, vocab=600)
    one, same, other = (tiny.tiny_model(tokenizer, spec, seed=s).lm_head.weight for s in (0, 0, 1))
    assert one.equal(same) and not one.equal(other)


def test_tied_embeddings_are_the_head_too_and_stay_so_on_disk(world: World, tmp_path: Path) -> None:
    tokenizer = tiny.train_tokenizer(tiny.texts_of(sft.gold_episodes(world, world.tasks("train", 8))), 600)
    spec = TinyConfig(hidden=32, layers=1, vocab=600, tied=True)
    model = tiny.tiny_model(tokenizer, spec, seed=0)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert again.lm_head.weight.equal(model.lm_head.weight)
    apart = tiny.tiny_model(tokenizer, spec.model_copy(update={"tied": False}), seed=0)
    assert apart.lm_head.weight is not apart.model.embed_tokens.weight
