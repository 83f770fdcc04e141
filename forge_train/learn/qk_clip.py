"""QK-Clip: attention logits of a head that grow beyond a bound are scaled back through its weights.

Kimi K2 (arXiv 2507.20534), sec. 2.1: after an optimizer step, for each head whose largest logit
S = max q k / sqrt(d) of the step's forward passes exceeds tau, gamma = tau / S, and W_q and W_k of that head
are multiplied by sqrt(gamma) each (alpha = 1/2). Other heads are left as they are.

Where several heads share keys (GQA; K2 has none) the keys are scaled by the smallest gamma of those who
share them, as sqrt(gamma_k), and each query head by gamma / sqrt(gamma_k): its own logits shrink by its
gamma exactly, and one that needs none keeps its logits, which one factor for all would not do.

Shapes: B rows, H heads, K heads of keys, T positions, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from forge_train.learn.batch import Batch

NAME = "forge_qk"
"""Our attention in transformers' registry: another's, looked at."""
TILE = 256
"""Queries whose logits are held at once."""


class QKClip:
    """Watches a model's training forwards, and scales after a step what went too far."""

    def __init__(self, transformer: PreTrainedModel, tau: float) -> None:
        """Raises ValueError for a model to whose logits this does nothing, or whose heads it cannot tell."""
        self.tau = tau
        self.modules = [m for m in transformer.modules() if hasattr(m, "q_proj") and hasattr(m, "k_proj")]
        name = type(transformer).__name__
        if any(hasattr(module, part) for module in self.modules for part in ("q_norm", "k_norm")):
            raise ValueError(
                f"optim.qk_clip = {tau:g}: {name} normalises queries and keys, so that scaling their weights "
                "changes nothing, and its logits are bounded by the norms' weights; leave it out"
            )
        if not self.modules:
            raise ValueError(
                f"optim.qk_clip = {tau:g}: {name} has no q_proj and k_proj to scale; leave it out"
            )
        config: Any = transformer.config
        self.heads, self.width = config.num_attention_heads, head_width(config)
        inner = config._attn_implementation
        earlier: Any = getattr(self.modules[0], "qk_clip", None) if inner == NAME else None  # another stage's
        plain = inner in (NAME, "eager")  # a config may be that of a model that is looked at
        self._inner = earlier[0]._inner if earlier else AttentionInterface()["sdpa" if plain else inner]
        AttentionInterface.register(NAME, watched)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        for module in self.modules:
            module.qk_clip = [self]  # in a list: it is no part of the model
        transformer.set_attn_implementation(NAME)
        self._largest: dict[int, Tensor] = {}
        self._last_B: Tensor | None = None
        self.peak, self.clipped = 0.0, 0

    def look_at(self, batch: Batch) -> None:
        """The forward that comes is of `batch`: what stands after a row's last trained token does not
        count."""
        rows, width = batch.tokens_BT.shape
        last_B = torch.full((rows,), -1, dtype=torch.int64, device=batch.at_N.device)
        self._last_B = last_B.scatter_reduce(0, batch.at_N // width, batch.at_N % width, "amax")

    @torch.no_grad()
    def see(self, module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> None:
        """Note the largest logit of each head: query [B, H, T, D], key [B, K, T, D], after rotation.

        `mask` is the end of each position's subtree where the batch is a tree, as integers; else rows are
        causal.
        """
        assert self._last_B is not None
        query, key = query.float(), key.float()
        length, shared = query.shape[2], query.shape[1] // key.shape[1]
        at_T = torch.arange(length, device=query.device)
        key = key.repeat_interleave(shared, 1)
        largest_H = self._largest.get(id(module), query.new_full((query.shape[1],), -torch.inf))
        for tile in torch.split(at_T, TILE):
            logits = scale * query[:, :, tile] @ key.transpose(2, 3)
            seen = at_T[None, :] <= tile[:, None]
            if mask is not None and not mask.is_floating_point() and mask.dtype != torch.bool:
                seen = seen & (tile[:, None] < mask.flatten()[None, :])
            counts = tile[None, :, None] <= self._last_B[:, None, None]
            found = logits.masked_fill(~(seen[None] & counts)[:, None], -torch.inf)
            largest_H = torch.maximum(largest_H, found.amax((0, 2, 3)))
        self._largest[id(module)] = largest_H

    @torch.no_grad()
    def clip(self) -> None:
        """Scale what went too far since the last call, and forget what was seen."""
        for module in self.modules:
            largest_H = self._largest.pop(id(module), None)
            if largest_H is None:
                continue
            self.peak = max(self.peak, float(largest_H.max()))
            gamma_H = (self.tau / largest_H).where(largest_H > self.tau, torch.ones_like(largest_H))
            if not bool((gamma_H < 1).any()):
                continue
            self.clipped += int((gamma_H < 1).sum())
            query_H, key_K = factors(gamma_H, module.k_proj.out_features // self.width)
            _scale(module.q_proj, query_H, self.width)
            _scale(module.k_proj, key_K, self.width)

    def taken(self) -> dict[str, float]:
        """`qk_max`, the largest logit since the last call, and `qk_clipped`, how often a head was scaled."""
        found = {"qk_max": self.peak, "qk_clipped": float(self.clipped)}
        self.peak, self.clipped = 0.0, 0
        return found


def watched(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> Any:
    """Our entry in transformers' registry: look, then do what was done before. Scoring is not looked at."""
    held: list[QKClip] | None = getattr(module, "qk_clip", None)
    if held is None:  # made from the config of a model that is looked at
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    clip = held[0]
    if torch.is_grad_enabled():
        scale = options.get("scaling")
        clip.see(module, query, key, attention_mask, query.shape[-1] ** -0.5 if scale is None else scale)
    return clip._inner(module, query, key, value, attention_mask, **options)


def factors(gamma_H: Tensor, keys: int) -> tuple[Tensor, Tensor]:
    """What W_q of each head and W_k of each of `keys` heads of keys are multiplied with.

    >>> query_H, key_K = factors(torch.tensor([0.25, 1.0, 1.0, 1.0]), 2)
    >>> query_H, key_K
    (tensor([0.5000, 2.0000, 1.0000, 1.0000]), tensor([0.5000, 1.0000]))
    """
    key_K = gamma_H.view(keys, -1).amin(1).sqrt()
    return gamma_H / key_K.repeat_interleave(len(gamma_H) // keys), key_K


def head_width(config: Any) -> int:
    """D, which some configs tell and others do not."""
    told = getattr(config, "head_dim", None)
    return int(told or config.hidden_size // config.num_attention_heads)


def _scale(layer: Any, factor_H: Tensor, width: int) -> None:
    """Multiply the rows of each head, and its part of the bias, in place."""
    rows = factor_H.repeat_interleave(width).to(layer.weight)
    layer.weight.mul_(rows[:, None])
    if layer.bias is not None:
        layer.bias.mul_(rows)
