"""What an optimizer cannot do with a model, as far as the config tells."""

from __future__ import annotations

from forge_train.config.hyperparameters import OptimConfig
from forge_train.config.sections import ModelConfig


def refuse_optimizer(optim: OptimConfig, model: ModelConfig) -> None:
    """Raise ValueError, with the fix, for Muon on adapters and for QK-Clip where it would do nothing."""
    if optim.kind == "muon" and model.lora_rank:
        raise ValueError(
            f'optim.kind = "muon" with model.lora_rank = {model.lora_rank}: an adapter moves a matrix by a '
            "product of two, and making each orthogonal does not make that so; set optim.kind = "
            '"adamw", or model.lora_rank = 0'
        )
    if optim.qk_clip and not model.path:
        raise ValueError(
            f"optim.qk_clip = {optim.qk_clip:g}: the model built here is a Qwen3, which normalises queries "
            "and keys, so that its logits are bounded anyway; leave it out, or name another model.path"
        )
    if optim.qk_clip and model.lora_rank:
        raise ValueError(
            f"optim.qk_clip = {optim.qk_clip:g} with model.lora_rank = {model.lora_rank}: it scales weights "
            "that adapters leave frozen; leave it out"
        )
