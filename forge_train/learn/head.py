"""From hidden states to logprobs of chosen tokens, without the logits of all of them in memory at one time.

Shapes: N trained tokens, H hidden, V vocabulary, C tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from forge_train.config import OptimConfig

HEAD_MB = {"cuda": 2048.0}
"""Memory for logits by device; elsewhere 320 MB."""
BYTES_A_LOGIT = 20
"""At most, forward and backward: five copies in float32 (scaled, exponentiated, and of their gradient)."""


class Head:
    """The output head of a causal language model, as `optim.head_mb` and `optim.head_dtype` want it."""

    def __init__(self, model: Any, optim: OptimConfig, device: torch.device) -> None:
        self.model = model
        megabytes = optim.head_mb or HEAD_MB.get(device.type, 320.0)
        vocabulary = model.get_output_embeddings().weight.shape[0]
        self.rows = max(int(megabytes * 2**20) // (BYTES_A_LOGIT * vocabulary), 1)
        """Tokens of a chunk."""
        self.exact = optim.head_dtype == "float32"
        if self.exact and not isinstance(model.get_output_embeddings(), nn.Linear):
            kind = type(model.get_output_embeddings()).__name__
            raise ValueError(
                f'optim.head_dtype = "float32": the head of this model is a {kind}, not a plain matrix; '
                'set optim.head_dtype = "auto"'
            )

    def __call__(
        self, hidden_NH: Tensor, target_N: Tensor, temperature: float, pushed: bool = False
    ) -> tuple[Tensor, Tensor]:
        """`score`, a chunk at a time where all logits at once would be too large."""
        rows = max(self.rows // 2, 1) if pushed else self.rows
        if len(hidden_NH) <= rows:
            return score(self._logits, hidden_NH, target_N, temperature, pushed)
        chunks = zip(torch.split(hidden_NH, rows), torch.split(target_N, rows), strict=True)
        # The backward computes each chunk's logits again, so that only one chunk's exist.
        pieces = [
            checkpoint(score, self._logits, hidden_CH, target_C, temperature, pushed, use_reentrant=False)
            for hidden_CH, target_C in chunks
        ]
        return torch.cat([p[0] for p in pieces]), torch.cat([p[1] for p in pieces])

    def _logits(self, hidden_NH: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        if not self.exact:
            logits_NV: Tensor = head(hidden_NH)
            return logits_NV
        with torch.autocast(hidden_NH.device.type, enabled=False):
            bias = None if head.bias is None else head.bias.float()
            return F.linear(hidden_NH.float(), head.weight.float(), bias)


def score(
    logits_of: Callable[[Tensor], Tensor],
    hidden_NH: Tensor,
    target_N: Tensor,
    temperature: float,
    pushed: bool = False,
) -> tuple[Tensor, Tensor]:
    """Logprobs of the targets, float32 with gradient, and entropies of the distributions, in nats.

    These have a gradient where they are `pushed`, which takes twice the memory.
    """
    logits_NV = logits_of(hidden_NH).float()
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    normalizer_N = logits_NV.logsumexp(-1)
    logprobs_N = logits_NV.gather(-1, target_N[:, None]).squeeze(-1) - normalizer_N
    if pushed:
        probs_NV = (logits_NV - normalizer_N[:, None]).exp()
        return logprobs_N, normalizer_N - (probs_NV * logits_NV).sum(-1)
    with torch.no_grad():
        # H = log Z - sum(p * logit)
        probs_NV = (logits_NV - normalizer_N[:, None]).exp_()
        entropy_N = normalizer_N - probs_NV.mul_(logits_NV).sum(-1)
    return logprobs_N, entropy_N
