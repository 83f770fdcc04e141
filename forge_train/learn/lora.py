"""LoRA adapters (arXiv 2106.09685): a small low-rank update to each linear layer, all else frozen.

peft puts them into the model and computes with them; engines and checkpoints get plain weights in which
they are merged, under the names of the plain model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forge_train.learn.distributed import gathered

NAME = "policy"
"""What peft calls our adapter."""
ADAPTER = "adapter"
"""Folder of a checkpoint with the adapter in peft's format, beside the weights that have it merged."""


def add_lora(model: Any, *, rank: int, alpha: float, seed: int) -> None:
    """Put adapters on every linear layer but the head, in place, and freeze everything else.

    The update of a layer is alpha / rank * B @ A; A is drawn from `seed`, B begins at 0, so that nothing
    changes yet. Adapters are float32, whatever the model is: they alone are trained, and it may stay in
    bfloat16, with half the bytes.
    Raises ValueError when peft is missing or adapters are there already.
    """
    if has_lora(model):
        raise ValueError("the model has adapters already; merge them or start from the plain model")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(
            f"model.lora_rank = {rank} needs peft ({error}): pip install 'forge-envs[lora]'"
        ) from error
    model.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=NAME)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:  # peft makes them like the layer, whose rounding would swallow small updates
            parameter.data = parameter.data.float()
    model.lora = (rank, alpha)


def has_lora(model: nn.Module) -> bool:
    """Whether `add_lora` has been here."""
    return hasattr(model, "lora")


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the adapters, by parameter name. With several processes all must call it."""
    return {n: gathered(p).detach().clone() for n, p in model.named_parameters() if ".lora_" in n}


def load_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Overwrite the adapters of a model that is not spread yet. ValueError when they do not fit it."""
    mine = {n: p for n, p in model.named_parameters() if ".lora_" in n}
    wrong = [n for n in mine.keys() | state.keys() if n not in mine or n not in state]
    wrong += [n for n in mine.keys() & state.keys() if mine[n].shape != state[n].shape]
    if wrong:
        raise ValueError(
            f"the saved adapters do not fit the model, e.g. {min(wrong)}: set model.lora_rank to the one "
            "they were trained with"
        )
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(state[name])


def save_adapter(model: Any, state: Mapping[str, Tensor], folder: Path, *, base: str | None = None) -> None:
    """Write `adapter_state` in peft's format, which vLLM loads and `PeftModel.from_pretrained` reads.

    `base` is noted in it: the folder or hub name of the model that it belongs to.
    """
    from peft import LoraConfig

    rank, alpha = model.lora
    layers = sorted({name.split(".lora_")[0].rsplit(".", 1)[-1] for name in state})
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, task_type="CAUSAL_LM")
    config.base_model_name_or_path = base
    config.save_pretrained(folder)
    plain = {f"base_model.model.{name.replace(f'.{NAME}.', '.')}": v.cpu() for name, v in state.items()}
    save_file(plain, folder / "adapter_model.safetensors")
