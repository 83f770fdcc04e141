"""How much an update computes, and how much of what the machine could have computed in that time.

Floating-point operations of one forward pass, an addition and a multiplication counted as two:

    matrices    2 N  a position, N the weights of all matrices that a position goes through
    head        2 V H  a position whose next token is trained; nowhere else are there logits
    attention   2 h (d_qk + d_v)  a layer and pair of a query and a key that it may see

A backward pass costs the same for the gradient of what came in and again for that of the weights, if they are
trained: 6 N a position, 4 N where they are frozen (LoRA). With optim.gradient_checkpointing the blocks are
forwarded once more, nearly 8 N: torch stops before the last matrix of a block, whose product nothing needs.
Norms, activations, rotary embeddings and softmax are not counted. Source: Chowdhery et al. 2022 (PaLM, arXiv
2204.02311) appendix B, where the attention is that of all pairs; here it is that of the pairs that are there:
depth + 1 keys for a position of a tree, of which a prefix that is shared stands once.

Model FLOPs utilisation is what the update needs (nothing computed twice) over what the device can do;
hardware utilisation counts what is computed again as well (ibid.; Korthikanti et al. 2022, arXiv 2205.05198).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from forge_train.config import OptimConfig
from forge_train.learn.batch import Batch, Sample
from forge_train.learn.kernels import blocks

PEAKS = {
    "B200": (2250.0, 75.0),
    "H200": (989.4, 66.9),
    "H100 PCIe": (756.0, 51.2),
    "H100 NVL": (835.0, 60.0),
    "H100": (989.4, 66.9),
    "H800": (989.4, 66.9),
    "A100": (312.0, 19.5),
    "A800": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
    "A10G": (70.0, 31.5),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.0, 35.6),
    "MI300X": (1307.4, 163.4),
}
"""Dense TFLOP/s in bfloat16 and in float32 (tensor cores of TF32 stay off), from the vendors' data sheets, by
what stands in the name of a device; of several that do, the first."""


@dataclass(slots=True)
class Flops:
    """Work so far.

    >>> Flops(3.0, 1.0) + Flops(1.0, 0.0)
    Flops(needed=4.0, again=1.0)
    """

    needed: float = 0.0
    again: float = 0.0
    """What was computed a second time to save memory."""

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.needed + other.needed, self.again + other.again)


class Work:
    """Counts the FLOPs of a model's passes. Its weights are looked at once, before they are spread."""

    def __init__(self, model: nn.Module, *, recomputes: bool) -> None:
        """`model` is a causal language model, or anything with `backbone` and `head`."""
        own: Any = model
        head: nn.Module = own.head if hasattr(own, "backbone") else own.get_output_embeddings()
        config = (own.backbone if hasattr(own, "backbone") else own).config.get_text_config()
        share = expert_share(config)
        self.body = _matrices(model, share, apart=head)
        self.head = _matrices(head, share)
        last = sum(_matrices(block, share, last=True).all for block in blocks(model)) if recomputes else 0.0
        self.again = self.body.all - last if recomputes else 0.0
        self.layers = windows(config)
        self.pair = pair_flops(config)
        self._done = Flops()

    def forward(self, chosen: Sequence[Sample], batch: Batch) -> None:
        """Count one pass over a micro-batch of these samples, and its backward where gradients are on."""
        heads = len(torch.unique(torch.stack([batch.at_N, batch.target_N]), dim=1).T)
        passed = self.flops(batch.real, heads, lengths_of(chosen, batch), backward=torch.is_grad_enabled())
        self._done += passed

    def flops(self, positions: int, heads: int, depths: Tensor, *, backward: bool) -> Flops:
        """Of a pass over so many positions, `heads` of them with logits. depths: keys before each one."""
        pairs = sum(visible_pairs(depths, window) for window in self.layers)
        attention = float(pairs) * self.pair
        forward = 2.0 * (self.body.all * positions + self.head.all * heads) + attention
        if not backward:
            return Flops(forward)
        twice = 2.0 * (self.body.trained * positions + self.head.trained * heads) + attention
        again = 2.0 * self.again * positions + attention if self.again else 0.0
        return Flops(2 * forward + twice, again)

    def taken(self) -> Flops:
        """The work since this was last asked."""
        done, self._done = self._done, Flops()
        return done


@dataclass(frozen=True, slots=True)
class _Weights:
    all: float
    trained: float


def _matrices(
    module: nn.Module, share: float, *, apart: nn.Module | None = None, last: bool = False
) -> _Weights:
    """Weights that a position is multiplied with: of experts the `share` that it is sent to.

    Not those of `apart`, and not what is looked up; `last` is the last matrix alone, as they are listed.
    """
    looked_up = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    elsewhere = {id(p) for p in apart.parameters()} if apart is not None else set()
    found = [
        (p.numel() * (share if ".experts." in name else 1.0), p.requires_grad)
        for name, p in module.named_parameters()
        if p.ndim >= 2 and id(p) not in looked_up | elsewhere
    ]
    found = found[-1:] if last else found
    return _Weights(sum(n for n, _ in found), sum(n for n, trained in found if trained))


def expert_share(config: Any) -> float:
    """The part of its experts that a mixture asks for one token; 1 where there are none."""
    total = getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
    total = total or getattr(config, "n_routed_experts", None)
    asked = getattr(config, "num_experts_per_tok", None)
    return asked / total if total and asked else 1.0


def pair_flops(config: Any) -> float:
    """A query with a key it sees, in all heads of a layer: the score, and the value times its weight."""
    heads = int(config.num_attention_heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    scored = getattr(config, "qk_head_dim", None) or width
    valued = getattr(config, "v_head_dim", None) or width
    return 2.0 * heads * float(scored + valued)


def windows(config: Any) -> list[int | None]:
    """How far back each layer with attention sees; None is everything. Layers without are not in it."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        # Where a config names no kinds, use_sliding_window says whether the number above it means anything.
        everywhere = window if getattr(config, "use_sliding_window", True) else None
        return [everywhere] * int(config.num_hidden_layers)
    known = {"full_attention": None, "sliding_attention": window, "chunked_attention": window}
    return [known[kind] for kind in kinds if kind in known]


def lengths_of(chosen: Sequence[Sample], batch: Batch) -> Tensor:
    """Keys before each position of a batch that is not padding, int64."""
    if batch.tree is not None:
        return batch.tree.depth_T[: batch.real]
    return torch.cat([torch.arange(sample.forwarded) for sample in chosen])


def visible_pairs(depths: Tensor, window: int | None = None) -> int:
    """Pairs of a query and a key: each position sees those before it and itself, the last `window` of them.

    >>> visible_pairs(torch.tensor([0, 1, 2, 2])), visible_pairs(torch.tensor([0, 1, 2, 2]), 2)
    (9, 7)
    """
    seen = depths + 1
    return int((seen if window is None else seen.clamp(max=window)).sum())


def peak_of(optim: OptimConfig, device: torch.device, *, bfloat16: bool) -> float | None:
    """FLOP/s of one device: `optim.peak_tflops`, or what the table says; None where nobody knows."""
    if optim.peak_tflops is not None:
        return optim.peak_tflops * 1e12
    if device.type != "cuda":
        return None
    return known_peak(torch.cuda.get_device_name(device), bfloat16=bfloat16)


def known_peak(name: str, *, bfloat16: bool) -> float | None:
    """FLOP/s of a device by its name.

    >>> known_peak("NVIDIA H100 80GB HBM3", bfloat16=True), known_peak("Voodoo 2", bfloat16=True)
    (989400000000000.0, None)
    """
    found = next((peaks for part, peaks in PEAKS.items() if part.lower() in name.lower()), None)
    return None if found is None else found[not bfloat16] * 1e12
