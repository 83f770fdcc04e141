"""A Qwen3 small enough to be computed exactly, for the tests of whoever trains one."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from forge_train.config import TinyConfig
from forge_train.tiny import tiny_model, train_tokenizer

VOCAB = 64


def qwen3(seed: int = 0, *, tied: bool = False) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(config)


def qwen3_of(tokenizer: PreTrainedTokenizerFast, seed: int = 0, ends: float = 0.8) -> Qwen3ForCausalLM:
    """One for a tokenizer; the larger `ends`, the sooner it ends what it says (about 20 tokens)."""
    shape = TinyConfig(hidden=32, layers=1, heads=2, kv_heads=1)
    model = tiny_model(tokenizer, shape, seed=seed)
    with torch.no_grad():
        common = torch.ones(shape.hidden)  # of all states, so that one output can be likelier everywhere
        model.get_input_embeddings().weight += 0.1 * common
        model.lm_head.weight *= 4
        model.lm_head.weight[tokenizer.eos_token_id] = ends * common / shape.hidden**0.5
    return model


def saved(folder: Path) -> Path:
    """A model that takes 4,096 tokens, as a folder that any program can load."""
    tokenizer = train_tokenizer(["Say 12. You repeat."], 300)
    tokenizer.save_pretrained(folder)
    tiny_model(tokenizer, TinyConfig(hidden=16, layers=1, heads=2, kv_heads=1), seed=0).save_pretrained(
        folder
    )
    return folder
