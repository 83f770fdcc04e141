"""The tiny world's policy as a transformers model, for trainers that train nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM
from world import EOS, PAD, VOCAB


def qwen(layers: int = 2, hidden: int = 16) -> Any:
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
        initializer_range=0.3,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def at_table(table: Tensor) -> Any:
    """A model without layers whose logits are the table's: one-hot in, normed to sqrt(VOCAB), head out."""
    model = qwen(layers=0, hidden=VOCAB)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(VOCAB))
        model.lm_head.weight.copy_(table.T / VOCAB**0.5)
    for parameter in [*model.model.embed_tokens.parameters(), *model.model.norm.parameters()]:
        parameter.requires_grad_(False)
    return model


def gradient_at_table(model: Any, learn: Callable[[], None]) -> Tensor:
    """What `learn` steps with, as a gradient of the table; zeros where it does not step."""
    held = [torch.zeros_like(model.lm_head.weight)]
    hook = model.lm_head.weight.register_post_accumulate_grad_hook(
        lambda p: held.__setitem__(0, p.grad.detach().clone())
    )
    learn()
    hook.remove()
    return held[0].T / VOCAB**0.5


def gradient_of_all(model: Any, learn: Callable[[], None]) -> Tensor:
    """What `learn` steps with, all parameters in one vector."""
    held: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Tensor], None]:
        return lambda p: held.__setitem__(name, p.grad.detach().clone())

    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(keep(name))
    learn()
    return torch.cat([gradient.flatten() for _, gradient in sorted(held.items())])
