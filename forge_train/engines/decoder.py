"""The forward pass of the in-process engine: a Hugging Face decoder's own weights, plain torch layers.

One pass takes a ragged batch: rows that decode (one new token) and rows that prefill (several), packed one
after the other without padding. Shapes: T new tokens of all rows, h query heads = k kv heads x r,
d head_dim, R rows that want logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from forge_train.engines.attention import Decode, Prefill, attend_decode, attend_prefill
from forge_train.engines.pages import PAGE, Pages

SUPPORTED = ("qwen3", "qwen2", "llama")
STATIC_ROPE = ("default", "linear", "llama3")
"""Rotary frequencies that do not depend on the length of the sequence."""
WORTH_A_THREAD = 16_000_000
"""Multiplications in a product of matrices below which waking a second thread costs more than it spares.

A thread that sleeps until it is needed (OMP_WAIT_POLICY=PASSIVE) takes 0.1 ms to wake, one core of 2026 about
2 ms for four times as many; where threads wait awake, one alone is as fast within a few percent.
"""


@dataclass(slots=True)
class Ragged:
    """The input of one pass: first `singles` rows with one new token each, then those of `prefills`."""

    tokens: torch.Tensor
    positions: torch.Tensor
    pages: torch.Tensor
    """[T] the page that each token's keys and values go to."""
    wanted: torch.Tensor
    """[R] indices of the tokens whose logits are wanted."""
    singles: int
    decode: Decode | None
    prefills: list[Prefill]


class Decoder:
    """Reads `model`'s parameters at every pass and copies none, so it cannot fall behind an optimizer."""

    def __init__(self, model: nn.Module, max_context: int) -> None:
        check_supported(model)
        config: Any = model.config
        body: Any = model.model
        self.layers: list[Any] = list(body.layers)
        self.embedding: nn.Parameter = body.embed_tokens.weight
        self.norm: Any = body.norm
        self.head: Any = model.lm_head
        attention = self.layers[0].self_attn
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = attention.head_dim
        self.scale: float = attention.scaling
        self.vocab = self.embedding.shape[0]
        self.widest = max(p.numel() for p in self.layers[0].parameters())
        self.dtype, self.device = self.embedding.dtype, self.embedding.device
        # Functions of the position alone, nothing learned. The first half of the sine is negated, so
        # that rotate_half (RoFormer, arXiv 2104.09864, eq. 34) is a roll.
        positions = torch.arange(max_context, device=self.device)[None]
        cos, sin = body.rotary_emb(torch.empty(0, dtype=self.dtype, device=self.device), positions)
        half = self.head_dim // 2
        self.cos = cos[0, :, None]
        self.sin = torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], dim=-1)

    @contextmanager
    def threads(self, tokens: int) -> Iterator[None]:
        """One thread for a pass over `tokens` tokens that is too small for several."""
        before = torch.get_num_threads()
        few = before > 1 and self.device.type == "cpu" and tokens * self.widest < WORTH_A_THREAD
        if few:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if few:
                torch.set_num_threads(before)

    def forward(self, batch: Ragged, pages: Pages) -> torch.Tensor:
        """Write the new tokens' keys and values into `pages`; returns logits [R, vocab]."""
        x = F.embedding(batch.tokens, self.embedding)
        cos, sin = self.cos.index_select(0, batch.positions), self.sin.index_select(0, batch.positions)
        slots = batch.pages, batch.positions % PAGE
        for index, layer in enumerate(self.layers):
            keys, values = pages.keys[index], pages.values[index]
            h = _rms_norm(x, layer.input_layernorm)
            q, k, v = self._project(h, layer.self_attn, cos, sin)
            keys.permute(0, 3, 1, 2)[slots] = k
            values.transpose(1, 2)[slots] = v
            h = _attend(q, keys, values, batch, self.scale)
            x = x + _linear(h, layer.self_attn.o_proj)
            h = _rms_norm(x, layer.post_attention_layernorm)
            gate, up = _linear(h, layer.mlp.gate_proj), _linear(h, layer.mlp.up_proj)
            x = x + _linear(layer.mlp.act_fn(gate).mul_(up), layer.mlp.down_proj)
        return _linear(_rms_norm(x.index_select(0, batch.wanted), self.norm), self.head)

    def _project(
        self, h: torch.Tensor, attention: Any, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries [T, k, r, d]; keys and values [T, k, d]."""
        size = len(h)
        q = _linear(h, attention.q_proj).view(size, self.heads, self.head_dim)
        k = _linear(h, attention.k_proj).view(size, self.kv_heads, self.head_dim)
        v = _linear(h, attention.v_proj).view(size, self.kv_heads, self.head_dim)
        if hasattr(attention, "q_norm"):
            q, k = _rms_norm(q, attention.q_norm), _rms_norm(k, attention.k_norm)
        both = torch.cat([q, k], dim=1)
        both = torch.addcmul(both * cos, both.roll(self.head_dim // 2, -1), sin)
        q, k = both[:, : self.heads], both[:, self.heads :]
        return q.reshape(size, self.kv_heads, -1, self.head_dim), k, v


def check_supported(model: nn.Module) -> None:
    """ValueError unless `model` is a decoder that `Decoder` computes exactly."""
    config: Any = getattr(model, "config", None)
    kind = getattr(config, "model_type", type(model).__name__)
    fix = "sample it with a vLLM server instead, or extend forge_train/engines/decoder.py"
    if kind not in SUPPORTED or not hasattr(model, "lm_head"):
        raise ValueError(
            f"the local engine cannot run a {kind!r} model ({type(model).__name__}); it knows causal "
            f"language models of type {', '.join(SUPPORTED)}: {fix}"
        )
    rope = (config.rope_parameters or {}).get("rope_type", "default")
    if rope not in STATIC_ROPE:
        raise ValueError(
            f"the local engine cannot run this {kind!r} model: rotary scaling {rope!r} is not one of "
            f"{', '.join(STATIC_ROPE)}: {fix}"
        )
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        raise ValueError(
            f"the local engine cannot run this {kind!r} model: it has sliding-window layers "
            f"(sliding_window={config.sliding_window}). Set use_sliding_window=False, or {fix}"
        )


def _attend(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, batch: Ragged, scale: float
) -> torch.Tensor:
    """[T, h * d]: the rows that decode together, then those that prefill one by one."""
    parts = []
    if batch.decode is not None:
        parts.append(attend_decode(q[: batch.singles], keys, values, batch.decode, scale))
    for prefill in batch.prefills:
        parts.append(attend_prefill(q[prefill.tokens], keys, values, prefill, scale))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _linear(x: torch.Tensor, module: Any) -> torch.Tensor:
    return F.linear(x, module.weight, module.bias)


def _rms_norm(x: torch.Tensor, module: Any) -> torch.Tensor:
    return F.rms_norm(x, module.weight.shape, module.weight, module.variance_epsilon)
