"""A tiny model that has learned one conversation half by heart: it says much of it, and not always."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import trl
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from forge_train import tiny
from forge_train.config import TinyConfig

SPEAKS = "<|im_start|>assistant\n"
TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def tokenizer_of(texts: Sequence[str], vocab: int = 2048) -> PreTrainedTokenizerFast:
    """A tokenizer of the words in `texts`, with a template that TRL knows."""
    template = (TEMPLATES / "qwen3.jinja").read_text()
    tokenizer = tiny.train_tokenizer([*texts, template], vocab)
    tokenizer.chat_template = template
    tokenizer.padding_side = "left"
    return tokenizer


def policy_of(tokenizer: PreTrainedTokenizerFast, text: str, *, short: int, whole: int) -> Qwen3ForCausalLM:
    """A model taught what the assistant says in a conversation: `short` steps on its end, then `whole`."""
    tokens, labels = [], []
    first, *turns = text.split(SPEAKS)
    pieces = [(first + SPEAKS, False)]
    for turn in turns:
        said, end, heard = turn.partition("<|im_end|>")
        pieces += [(said + end, True), (heard + SPEAKS, False)]
    for piece, ours in pieces[:-1]:
        ids = tokenizer(piece, add_special_tokens=False)["input_ids"]
        tokens += ids
        labels += ids if ours else [-100] * len(ids)
    model = tiny.tiny_model(tokenizer, TinyConfig(hidden=64, layers=1, heads=4, kv_heads=2), seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    prompt = next(i for i, label in enumerate(labels) if label >= 0)
    for start, steps in ((max(prompt - 30, 0), short), (0, whole)):
        row, taught = torch.tensor([tokens[start:]]), torch.tensor([labels[start:]])
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(row, labels=taught).loss
            loss.backward()
            optimizer.step()
    return model


def called(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """An assistant's message with one call, as chat templates take it."""
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def rendered(tokenizer: PreTrainedTokenizerFast, messages: Sequence[dict[str, Any]], **more: Any) -> str:
    """A conversation as TRL trains on it: with the template that it puts in place of the tokenizer's own."""
    template = (TEMPLATES / "qwen3_training.jinja").read_text()
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, **more)
    return text


def text_of(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]]) -> list[str]:
    """All that a tokenizer should know of a conversation."""
    return [json.dumps(message) for message in messages] * 4 + [json.dumps(tool) for tool in tools]
