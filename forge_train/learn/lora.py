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
    changes yet.
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


def weight_names(model: nn.Module) -> dict[str, int]:
    """Names of the plain model's weights and their numbers of elements, in order; shared ones once."""
    return {name: value.numel() for name, value in _plain(model).items()}


def gather_weights(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
    """The plain model's weights of these names, whole, adapters merged, without gradient.

    With several processes all must call it, with the same names. Weights that are neither spread nor
    adapted are the model's own, not copies: read them before the next update.
    """
    weights = _plain(model)
    layers = dict(model.named_modules()) if has_lora(model) else {}
    return {name: _merged(weights[name], layers.get(name.removesuffix(".weight"))) for name in names}


def _plain(model: nn.Module) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in model.state_dict(keep_vars=True).items():
        if ".lora_" not in name and id(value) not in seen:
            seen.add(id(value))
            found[name.replace(".base_layer.", ".")] = value.detach()
    return found


def _merged(weight: Tensor, layer: Any) -> Tensor:
    """`weight`, with the adapter of its layer, if it has one, added."""
    if not hasattr(layer, "lora_A"):
        return gathered(weight)
    a, b = gathered(layer.lora_A[NAME].weight.detach()), gathered(layer.lora_B[NAME].weight.detach())
    scale: float = layer.scaling[NAME]
    return gathered(weight) + scale * (b @ a)
