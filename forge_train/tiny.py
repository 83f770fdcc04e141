"""A small language model from nothing: a tokenizer trained on the worlds' own text, random Qwen3 weights.

Small enough that a laptop's two cores can warm-start it, play thousands of episodes with it and train
it in minutes; of the same architecture, and through the same code, as the models one really trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from forge_train.config import TinyConfig

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

# A piece is two digits, a word with the space before it, a name, or a run of punctuation; merges stay inside
# pieces. Ids are copied two digits at a time: tried beside single digits, triples and whole ids as one token,
# pairs were what a model of a million parameters learned to copy soonest. A name has no space before it, so
# that it is the same token in a sentence and in JSON, where it must be read.
PIECES = r"\d{1,2}| ?[a-z]+(?:_[a-z]+)*|[A-Z]+[a-z]*|[^A-Za-z0-9]+"


def train_tokenizer(texts: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocab` tokens with ChatML's special tokens; any text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


POSITIONS = 4096
"""Tokens that it takes where nobody asks for more."""


def tiny_model(
    tokenizer: PreTrainedTokenizerFast, spec: TinyConfig, *, seed: int, positions: int = POSITIONS
) -> Qwen3ForCausalLM:
    """A Qwen3 with random weights, fp32, on the CPU; the same for the same seed.

    It takes `positions` tokens, which decides no weight.
    """
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=spec.hidden,
        intermediate_size=3 * spec.hidden,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.hidden // spec.heads,
        max_position_embeddings=positions,
        tie_word_embeddings=spec.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def texts_of(episodes: Iterable[Sequence[Mapping[str, Any]]]) -> Iterable[str]:
    """What a tokenizer should be trained on: every message of every episode."""
    for messages in episodes:
        for message in messages:
            yield f"{message['role']}\n{message['content']}"
