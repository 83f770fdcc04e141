"""A tiny Qwen3 with random weights, for examples that must run without a download."""

from pathlib import Path

import trl

from forge_envs.worlds.retail import tools
from forge_train.config import TinyConfig
from forge_train.tiny import tiny_model, train_tokenizer

_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
tokenizer = train_tokenizer([_template, Path(tools.__file__).read_text()], 2048)
tokenizer.chat_template, tokenizer.padding_side = _template, "left"
model = tiny_model(tokenizer, TinyConfig(hidden=32, layers=1, heads=2, kv_heads=1), seed=0)
