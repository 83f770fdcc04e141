"""Muon beside AdamW: hidden matrices move by orthogonal updates, everything else as before.

    M = mu M + G;  O = NewtonSchulz5(M) * 0.2 sqrt(max(n, m));  W = W - lr (O + wd W)

Kimi K2 (arXiv 2507.20534), Algorithm 1, lines 2-6; the scale makes an update as large (in root mean square)
as one of AdamW, so that learning rates and decay carry over (Moonlight, arXiv 2502.16982, Eq. 4). Hidden
matrices are those inside the model's blocks that have two dimensions; embeddings, the output head, norms
and biases are AdamW's, as Muon's authors advise. `torch.optim.Muon` computes the same on one process, and a
test holds the two together to the bit; ours also takes weights that are spread over processes (FSDP2),
where each gathers a matrix, orthogonalises it whole and keeps its part, as Moonlight's does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from forge_train.config import OptimConfig
from forge_train.learn.distributed import gathered
from forge_train.learn.kernels import blocks

MOMENTUM = "momentum_buffer"
"""What Muon remembers of a matrix."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that maps singular values near 1 (Jordan et al. 2024)."""
STEPS = 5
SCALE = 0.2
"""Root mean square of an update of AdamW, about (Moonlight, sec. 2.2)."""


class MuonAdamW(torch.optim.AdamW):
    """One optimizer for all parameters: groups with "muon" are Muon's, the others AdamW's.

    One state by parameter, one list of groups: what sets rates, saves or moves state need not know.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """AdamW looks for its counters of steps, which Muon has none of."""
        groups = state["param_groups"]
        adamw = [group for group in groups if not group["muon"]]
        super().__setstate__({**state, "param_groups": adamw})  # type: ignore[no-untyped-call]
        self.param_groups = groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step of both."""
        assert closure is None, "nobody here computes a loss again"
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            super().step()
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._orthogonal(group)

    def _orthogonal(self, group: Mapping[str, Any]) -> None:
        momentum = group["momentum"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if MOMENTUM not in state:
                state[MOMENTUM] = torch.zeros_like(p.grad)
            # A mean instead of K2's sum: the length of M does not matter, and torch's state is this one.
            buffer = state[MOMENTUM].lerp_(p.grad, 1 - momentum)
            update = p.grad.lerp(buffer, momentum) if group["nesterov"] else buffer
            whole = orthogonal(gathered(update))
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(_like(whole, p), alpha=-group["lr"] * SCALE * max(p.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of a matrix U S V^T, by five Newton-Schulz steps in bfloat16, as `torch.optim.Muon`.

    Singular values come out between 0.7 and 1.2, which does as well as 1 (Jordan et al. 2024).
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def muon(model: nn.Module, optim: OptimConfig) -> MuonAdamW:
    """Muon for the hidden matrices of `model`, AdamW for the rest. ValueError where there are none."""
    chosen = hidden_matrices(model)
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in {id(m) for m in chosen}]
    own = {"muon": True, "momentum": optim.momentum, "nesterov": optim.nesterov}
    adam = {"muon": False, "momentum": 0.0, "nesterov": False}
    return MuonAdamW(
        [
            {"params": chosen, "weight_decay": optim.weight_decay, **own},
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": optim.weight_decay, **adam},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0, **adam},
        ],
        lr=optim.lr,
        betas=optim.betas,
        eps=optim.eps,
        fused=True,
    )


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Matrices inside the blocks, each once. ValueError for a model without, or with adapters."""
    if any(".lora_" in name for name, _ in model.named_parameters()):
        raise ValueError(
            'optim.kind = "muon" with model.lora_rank: an adapter moves a matrix by a product of two, and '
            'making each orthogonal does not make it so; set optim.kind = "adamw", or train all weights'
        )
    inside: Iterable[nn.Parameter] = (p for block in blocks(model) for p in block.parameters())
    found = {id(p): p for p in inside if p.ndim == 2 and p.requires_grad}
    if not found:
        raise ValueError(f'{type(model).__name__} has no matrix for Muon: set optim.kind = "adamw"')
    return list(found.values())


def _like(whole: Tensor, p: Tensor) -> Tensor:
    """In the precision of `p`, and this process's part of it where it is spread."""
    value = whole.to(p.dtype)
    if not isinstance(p, DTensor):
        return value
    # Every process has computed the same, so nothing is sent.
    return distribute_tensor(value, p.device_mesh, p.placements, src_data_rank=None)
